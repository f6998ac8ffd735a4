"""Workflows that the tests of the command line run; copied into a folder of each test."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass
from pathlib import Path

from stepflow import Retry, sleep, step, wait_for_event, workflow


@dataclass
class Order:
    id: str
    total: int


@step
async def price(order: Order) -> int:
    sys.stdout.write(f"pricing {order.id}\n")
    return order.total * 2


@step
def note_down(name: str) -> str:
    """Leaves a trace outside of the journal: how often it really ran."""
    with Path("ran.txt").open("a", encoding="utf-8") as ran:
        ran.write(f"{name}\n")
    return name


@step
def hold(name: str) -> str:
    """Says that it runs, then waits until someone writes to the pipe ``gate``, if there is one."""
    note_down.__wrapped__(name)
    sys.stdout.write(f"{name} runs\n")
    sys.stdout.flush()
    if Path("gate").exists():
        Path("gate").read_text(encoding="utf-8")
    return name


@step(retry=1)
def break_down() -> None:
    raise ValueError("the \x1b[31mgateway [bold]said no")


@step(retry=Retry(attempts=2, delay="1ms", jitter=False))
def stumble() -> str:
    if not Path("stumbled").exists():
        Path("stumbled").touch()
        raise ConnectionError("lost")
    return "up again"


@workflow
async def buy(order: Order) -> dict[str, int]:
    return {"paid": await price(order)}


@workflow
async def three_steps() -> list[str]:
    return [await note_down("one"), await hold("two"), await note_down("three")]


@workflow
async def breaks() -> None:
    await break_down()


@workflow
async def stumbles() -> str:
    return await stumble()


@workflow
async def approval(order: str) -> str:
    await sleep("think", "1ms")
    return await wait_for_event(f"approval/{order}", type=str)


@workflow
async def times_two(number: int) -> int:
    return number * 2


@workflow
async def family(numbers: list[int]) -> list[int]:
    async with asyncio.TaskGroup() as group:
        children = [group.create_task(step.invoke(times_two, number)) for number in numbers]
    return [child.result() for child in children]
