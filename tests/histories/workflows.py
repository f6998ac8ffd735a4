"""The workflows whose recorded runs every later version must be able to replay. Never change one: add another."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta

import stepflow
from stepflow import (
    EventTimeoutError,
    FatalError,
    Retry,
    StepFailedError,
    continue_as,
    sleep,
    step,
    wait_for_event,
    workflow,
)


@dataclass
class Order:
    id: str
    total: int


@step(retry=Retry(attempts=3, delay="1m", jitter=False))
async def charge(order: Order) -> str:
    return f"charged {order.total}"


@step
async def label(word: str) -> str:
    return word.upper()


@step(retry=1)
async def fail(word: str) -> None:
    raise ValueError(word)


@workflow
async def in_sequence(order: Order) -> list[str]:
    return [await charge(order), await label("a"), await label("b")]


@workflow
async def with_sleeps() -> str:
    await sleep("rest", "3d")
    await sleep(timedelta(hours=1))
    await asyncio.sleep(30)
    return str(stepflow.now())


@workflow
async def at_once(words: list[str]) -> list[str]:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(label(word), name=f"of-{word}") for word in words]
    return [*await asyncio.gather(*map(label, words)), *(task.result() for task in tasks)]


@workflow
async def mapped(words: list[str]) -> list[str]:
    return await step.map("label", label, words, key=str, concurrency=2)


@workflow
async def retried(order: Order) -> str:
    return await charge(order)


@workflow
async def failing() -> None:
    await fail("a mistake")


@workflow
async def compensating(order: Order) -> str:
    await charge(order)
    try:
        await fail("out of stock")
    except (ValueError, StepFailedError):
        await step.run("refund", label, "refund")
        return "refunded"
    return "shipped"


@workflow
async def with_events() -> list[str]:
    first = await wait_for_event("approval", type=str)
    try:
        second = await wait_for_event("second-approval", timeout="1h", type=str)
    except EventTimeoutError:
        second = "nobody"
    return [first, second, await wait_for_event("third", timeout="1d", default="none", type=str)]


@workflow
async def with_children(words: list[str]) -> list[str]:
    handle = await step.start(child, words[0])
    return [await step.invoke(child, words[1]), await handle.result()]


@workflow
async def child(word: str) -> str:
    await sleep("1d")
    return await label(word)


@workflow
async def continuing(left: int) -> str:
    await sleep("1d")
    if left:
        continue_as(left - 1)
    return await label("done")


@workflow(retry=Retry(attempts=2, delay="1h", max_delay="1h", jitter=False))
async def tried_again(order: Order) -> str:
    paid = await charge(order)
    return paid + await step.run("ready", label, "ready?")


@workflow
async def timed_out() -> str:
    try:
        async with asyncio.timeout(3600):
            await wait_for_event("never", type=str)
    except TimeoutError:
        return await label("too late")
    raise FatalError("it came")


@workflow
async def cancelled() -> None:
    try:
        await sleep("30d")
    finally:
        await label("cleaning up")


@workflow
async def with_dice() -> list[str]:
    dice = stepflow.random()
    await sleep("rest", 60 + dice.randrange(1000))
    return [str(stepflow.uuid4()), await step.run(f"face-{dice.randrange(6)}", label, "x")]


@workflow
async def once() -> str:
    return await step(at_most_once=True).run("charge", label, "only once")


@workflow
async def waiting() -> str:
    await label("before")
    return await wait_for_event("a-long-time", timeout="30d", type=str)
