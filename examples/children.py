"""A workflow starts others and waits for all of them, with nothing but asyncio's own TaskGroup. Prints::

{'north': 30, 'south': 12}
"""

from __future__ import annotations

import asyncio

from stepflow import Stepflow, step, workflow

SALES = {"north": [10, 20], "south": [12]}


@step
def read_sales(region: str) -> list[int]:
    return SALES[region]


@workflow
async def region_total(region: str) -> int:
    return sum(await read_sales(region))


@workflow
async def company(regions: list[str]) -> dict[str, int]:
    async with asyncio.TaskGroup() as group:
        totals = {region: group.create_task(step.invoke(region_total, region)) for region in regions}
    return {region: total.result() for region, total in totals.items()}


async def main() -> None:
    async with Stepflow("sqlite:///children.db", workflows=[company, region_total]) as app:
        run = await app.trigger(company, ["north", "south"])
        print(await run.result())


asyncio.run(main())
