"""A run waits for a person, and goes on without one when nobody answers in time. Prints::

order 1: approved by Grace
order 2: nobody answered
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from stepflow import Stepflow, wait_for_event, workflow


@dataclass
class Decision:
    by: str


@workflow
async def approve(order: int) -> str:
    decision = await wait_for_event(f"approval/{order}", type=Decision, timeout="1s", default=None)
    return f"order {order}: " + (f"approved by {decision.by}" if decision else "nobody answered")


async def main() -> None:
    async with Stepflow("sqlite:///approval.db", workflows=[approve]) as app:
        first = await app.trigger(approve, 1)
        second = await app.trigger(approve, 2)
        await app.notify("approval/1", Decision(by="Grace"))  # from any process that opens the storage
        print(await first.result())
        print(await second.result())


asyncio.run(main())
