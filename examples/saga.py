"""When a later step fails for good, the earlier ones are undone, in reverse. Prints::

booked flight
booked hotel
cancelled hotel
cancelled flight
trip not possible: no cars left
"""

from __future__ import annotations

import asyncio

from stepflow import FatalError, Stepflow, step, workflow


@step
async def book(what: str) -> str:
    if what == "car":
        raise FatalError("no cars left")  # retrying would not help, so no retry follows
    print(f"booked {what}")
    return what


@step
async def cancel(what: str) -> None:
    print(f"cancelled {what}")


@workflow
async def trip(parts: list[str]) -> str:
    booked: list[str] = []
    try:
        for part in parts:
            booked.append(await book(part))
    except FatalError as error:
        for part in reversed(booked):
            await cancel(part)
        return f"trip not possible: {error}"
    return "trip booked"


async def main() -> None:
    async with Stepflow("sqlite:///saga.db", workflows=[trip]) as app:
        run = await app.trigger(trip, ["flight", "hotel", "car"])
        print(await run.result())


asyncio.run(main())
