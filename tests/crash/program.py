"""The program that is killed: workflows that use everything, and a driver that may be run again and again.

Whatever happens to the processes that run it, each run must end as ``EXPECTED`` says: the oracle is the program alone.
"""

from __future__ import annotations

import asyncio
import faulthandler
import logging
import os
import sqlite3
from collections.abc import Awaitable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from stepflow import (
    ChildFailedError,
    FatalError,
    OperationRefusedError,
    Retry,
    RetryAfter,
    RunCancelledError,
    RunFailedError,
    RunHandle,
    RunPausedError,
    Stepflow,
    StepInterruptedError,
    continue_as,
    current_run,
    failpoints,
    now,
    sleep,
    sleep_until,
    step,
    transaction,
    wait_for_event,
    workflow,
)
from stepflow._runtime import driver
from stepflow.model.journal import ChildStarted, Suspended
from tests.crash.ledger import effect, open_ledger

log = logging.getLogger(__name__)
SHORT = timedelta(milliseconds=3)
PATIENCE = 20.0
"""Seconds that a process has for all of its runs."""

T = TypeVar("T")


# ------------------------------------------------------------------ steps
@step
async def add(a: int, b: int) -> int:
    effect()
    return a + b


@step
def multiply(a: int, b: int) -> int:
    effect()
    return a * b


@step(executor="inline")
def negate(a: int) -> int:
    effect()
    return -a


@step(retry=Retry(attempts=6))
async def third_time_lucky() -> int:
    effect()
    if current_run().step.attempt < 3:
        raise RetryAfter(SHORT)
    return 3


@step(retry=Retry(attempts=4, delay="4ms", jitter=False))
def second_time_lucky() -> int:
    effect()
    if current_run().step.attempt < 2:
        raise ValueError("not yet")
    return 2


@step(at_most_once=True)
async def pay(amount: int) -> int:
    effect()
    return amount


@step
async def broken() -> None:
    effect()
    raise FatalError("broken for good")


@step
async def note(text: str) -> str:
    effect()
    return text


# ------------------------------------------------------------------ workflows
@workflow
async def chain(count: int) -> int:
    total = 0
    for number in range(count):
        total = await add(total, number)
        total = await multiply(total, 1)
    return await negate(total)


@workflow
async def retrying() -> list[int]:
    return [await third_time_lucky(), await second_time_lucky()]


@workflow(retry=Retry(attempts=4, delay="4ms", jitter=False))
async def from_the_top() -> list[int]:
    attempt = current_run().attempt
    kept = await step.run("kept", add, 1, 1)
    fresh = await step.run(f"attempt-{attempt}", add, attempt, 0)
    if attempt < 3:
        raise ValueError("again")
    return [kept, fresh]


@workflow
async def side_by_side(width: int) -> list[int]:
    gathered = await asyncio.gather(*(add(number, number) for number in range(width)))
    async with asyncio.TaskGroup() as group:
        quick = group.create_task(multiply(2, 3), name="quick")
        slow = group.create_task(slower(4), name="slow")
    mapped = await step.map("square", squared, range(width), concurrency=3)
    return [*gathered, quick.result(), slow.result(), *mapped]


async def slower(number: int) -> int:
    await sleep(SHORT)
    return await multiply(number, number)


@step
def squared(number: int) -> int:
    effect()
    return number * number


@workflow
async def sleeper() -> str:
    await sleep("first", SHORT)
    early = await note("early")
    await sleep_until("second", now() + SHORT)
    await asyncio.sleep(0.003)
    late = await note("late")
    return f"{early} {late}"


@workflow
async def listener(name: str) -> list[Any]:
    first = await wait_for_event(f"{name}/first", type=int)
    heard = await step.run("heard", add, first, 1)
    second = await wait_for_event(f"{name}/first", name="again", type=int)
    nothing = await wait_for_event(f"{name}/never", timeout=SHORT, default="nothing")
    return [heard, second, nothing, await note("listened")]


@workflow
async def teller(name: str) -> str:
    await note("about to tell")
    await step.send_event(f"{name}/first", 10)
    await sleep("between", SHORT)
    await step.send_event(f"{name}/first", 20)
    return await note("told")


@workflow
async def child(number: int) -> int:
    await sleep("nap", SHORT)
    if number < 0:
        await broken()
    return await multiply(number, 10)


@workflow
async def parent() -> list[Any]:
    one = await step.invoke(child, 1)
    started = [await step.start(child, 2), await step.start(child, 3)]
    others = await asyncio.gather(*(asyncio.create_task(handle.result()) for handle in started))
    try:
        await step.invoke(child, -1)
    except ChildFailedError:
        others.append(await negate(5))
    return [one, *others]


@workflow
async def once() -> list[str]:
    outcomes: list[str] = []
    for amount in range(3):
        try:
            await pay(amount)
            outcomes.append("paid")
        except StepInterruptedError:
            outcomes.append("unknown")
    await note("billed")
    return outcomes


class Count(msgspec.Struct):
    generation: int
    total: int


@workflow
async def counter(count: Count) -> int:
    total = await step.run(f"generation-{count.generation}", add, count.total, count.generation)
    await sleep("pause", SHORT)
    if count.generation < 4:
        continue_as(Count(count.generation + 1, total))
    return total


@workflow
async def cleaner() -> None:
    try:
        await note("begun")
        await wait_for_event("cleaner/never")
    finally:
        for number in range(3):
            await step.run(f"clean-{number}", add, number, number)


@workflow
async def holder() -> None:
    await note("holding")
    await step.invoke(cleaner)


@workflow
async def pausable() -> int:
    total = 0
    for number in range(6):
        total = await add(total, number)
        await asyncio.sleep(0.002)
    return total


@workflow
async def failing() -> None:
    await note("doomed")
    await broken()


@workflow(timeout="30ms")
async def overdue() -> None:
    try:
        await wait_for_event("overdue/never")
    finally:
        await note("too late")


@step
async def book(place: int) -> int:
    effect()
    async with transaction(sqlite3.Connection) as tx:
        tx.execute("CREATE TABLE IF NOT EXISTS books (run_id TEXT, place INTEGER)")
        tx.execute("INSERT INTO books VALUES (?, ?)", (current_run().id, place))
        await asyncio.sleep(0)
    return place


@workflow
async def bookkeeper(count: int) -> list[int]:
    """Entries in a table of its own, beside other steps of the same run."""
    first = [await book(place) for place in range(count)]
    rest = await asyncio.gather(*(book(count + place) for place in range(count)), add(1, 2))
    return [*first, *rest]


WORKFLOWS = [
    chain, retrying, from_the_top, side_by_side, sleeper, listener, teller, child, parent, once, counter, cleaner,
    holder, pausable, failing, overdue, bookkeeper,
]  # fmt: skip

EXPECTED: dict[str, Any] = {
    "chain": -10,
    "retrying": [3, 2],
    "from-the-top": [2, 3],
    "side-by-side": [0, 2, 4, 6, 8, 6, 16, 0, 1, 4, 9, 16],
    "sleeper": "early late",
    "listener": [11, 20, "nothing", "listened"],
    "listener-2": [7, 7, "nothing", "listened"],
    "teller": "told",
    "parent": [10, 20, 30, -5],
    "once": ["paid", "paid", "paid"],
    "counter": 10,
    "cleaner": "cancelled",
    "holder": "cancelled",
    "forced": "cancelled",
    "pausable": 15,
    "failing": "failed: stepflow.errors.FatalError",
    "overdue": "failed: stepflow.errors.RunTimeoutError",
    "later": -3,
    "bookkeeper": [0, 1, 2, 3, 4, 5, 3],
}
"""What becomes of each run that the driver starts. ``once`` may also say ``unknown`` of a payment that a crash interrupted."""

_KEYS = {
    "retrying": "third_time_lucky second_time_lucky",
    "from-the-top": "kept attempt-1 attempt-2 attempt-3",
    "side-by-side": "add add:2 add:3 add:4 add:5 multiply slow/multiply square[0] square[1] square[2] square[3] square[4]",
    "sleeper": "note note:2",
    "listener": "heard note",
    "listener-2": "heard note",
    "teller": "note note:2",
    "parent": "negate",
    "once": "pay pay:2 pay:3 note",
    "counter": "generation-1 generation-2 generation-3 generation-4",
    "cleaner": "note clean-0 clean-1 clean-2",
    "holder": "note",
    "forced": "note",
    "pausable": "add add:2 add:3 add:4 add:5 add:6",
    "failing": "note broken",
    "overdue": "note",
    "later": "add add:2 add:3 multiply multiply:2 multiply:3 negate",
    "bookkeeper": "book book:2 book:3 book:4 book:5 book:6 add",
}
STEPS_THAT_RUN = {(run_id, key) for run_id, keys in _KEYS.items() for key in keys.split()}
"""The steps of the runs that are named, whatever happens."""

_KEYS_OF_OTHERS = {
    "chain": "add add:2 add:3 add:4 add:5 multiply multiply:2 multiply:3 multiply:4 multiply:5 negate",
    "the children of parent": "multiply multiply multiply broken",
    "the child of holder": "note clean-0 clean-1 clean-2",
    "the child of forced": "note clean-0 clean-1 clean-2",
}
STEPS_OF_OTHERS = sorted(key for keys in _KEYS_OF_OTHERS.values() for key in keys.split())
"""The keys of the steps of all other runs, whose ids the engine makes."""


# ------------------------------------------------------------------ the driver
async def drive(app: Stepflow) -> dict[str, Any]:
    """Start everything, send, cancel, pause and resume; return what became of each run. Safe to repeat."""
    runs: dict[str, RunHandle[Any]] = {
        "listener-2": await app.trigger(listener, "listener-2", id="listener-2"),
        "later": await app.trigger(chain, 3, id="later", delay=SHORT),
        "chain": await app.trigger(chain, 5, idempotency_key="chain"),
    }
    starts: list[tuple[Any, Any, str]] = [
        (retrying, None, "retrying"),
        (from_the_top, None, "from-the-top"),
        (side_by_side, 5, "side-by-side"),
        (sleeper, None, "sleeper"),
        (listener, "listener", "listener"),
        (teller, "listener", "teller"),
        (parent, None, "parent"),
        (once, None, "once"),
        (counter, Count(1, 0), "counter"),
        (bookkeeper, 3, "bookkeeper"),
        (cleaner, None, "cleaner"),
        (holder, None, "holder"),
        (holder, None, "forced"),
        (pausable, None, "pausable"),
        (failing, None, "failing"),
        (overdue, None, "overdue"),
    ]
    handles = await asyncio.gather(*(app.trigger(flow, given, id=id) for flow, given, id in starts))
    runs.update({id: handle for (_, _, id), handle in zip(starts, handles, strict=True)})
    async with asyncio.TaskGroup() as group:
        group.create_task(tell(app, runs["listener-2"]))
        group.create_task(cancel_when_asleep(app, runs["cleaner"]))
        group.create_task(cancel_with_child(app, runs["holder"], force=False))
        group.create_task(cancel_with_child(app, runs["forced"], force=True))
        group.create_task(pause_and_resume(app, runs["pausable"]))
        outcomes = {
            name: group.create_task(outcome(handle)) for name, handle in runs.items() if name != "pausable"
        }
    outcomes["pausable"] = asyncio.create_task(outcome(runs["pausable"]))
    return {name: await task for name, task in outcomes.items()}


async def tell(app: Stepflow, run: RunHandle[Any]) -> None:
    """One event early, the other when the run waits for it; each twice, which is once."""
    for number, when in enumerate((None, asleep), start=6):
        if when is not None:
            await when(run)
        for _ in range(2):
            with suppress(OperationRefusedError):
                await app.notify("listener-2/first", number, id=f"told-{number}")


async def asleep(run: RunHandle[Any]) -> None:
    """Until the run has been suspended, or has ended."""
    async for event in run.events():
        if isinstance(event.entry, Suspended):
            return


async def cancel_when_asleep(app: Stepflow, run: RunHandle[Any]) -> None:
    await asleep(run)
    with suppress(OperationRefusedError):
        await app.cancel(run.id)


async def cancel_with_child(app: Stepflow, run: RunHandle[Any], *, force: bool) -> None:
    """Cancel a parent when its child is asleep, too, and wait for the end of the child, which hears of it."""
    async for event in run.events():
        if isinstance(event.entry, ChildStarted):
            child = app.handle(event.entry.child_id)
            break
    else:
        raise AssertionError(f"{run.id} ended, and has never had a child")
    await asleep(child)
    with suppress(OperationRefusedError):
        await app.cancel(run.id, force=force)
    assert await outcome(child) == "cancelled"


async def pause_and_resume(app: Stepflow, run: RunHandle[Any]) -> None:
    with suppress(OperationRefusedError):
        await app.pause(run.id)
    with suppress(RunPausedError):
        await run.result()
    with suppress(OperationRefusedError):
        await app.resume(run.id)


async def outcome(run: RunHandle[Any]) -> Any:
    try:
        return await run.result()
    except RunFailedError as error:
        return f"failed: {error.type}"
    except RunCancelledError:
        return "cancelled"


async def in_time(app: Stepflow, work: Awaitable[T]) -> T:
    """Wait for the work, but not for ever: which runs it waited for is the most useful thing to know then."""
    try:
        async with asyncio.timeout(PATIENCE):
            return await work
    except TimeoutError:
        left = (await app.list_runs(status=["queued", "running", "suspended", "paused"])).items
        log.error("these runs did not end: %s", [await app.get_run(run.id) for run in left])
        raise


def prepare(*, ledger: str, phase: str, news: str | None = None) -> None:
    """What every process of a test does first."""
    # A process that hangs says where, and ends before the test does.
    faulthandler.dump_traceback_later(1_800 if os.environ.get("STEPFLOW_FULL") == "1" else 50, exit=True)
    open_ledger(Path(ledger), phase, None if news is None else Path(news))


async def everything(
    url: str, ledger: str, phase: str, failpoint: tuple[str, int] | None = None, cold: bool = False
) -> None:
    """Run it all; killed at the n-th hit of a failpoint, if one is named.

    ``cold``: nothing is worth waiting for in memory, so every sleep and every retry suspends its run.
    """
    prepare(ledger=ledger, phase=phase)
    if cold:
        driver.HOT = timedelta(0)
    if failpoint is not None:
        failpoints.kill_at(*failpoint)
    async with Stepflow(url, workflows=WORKFLOWS, grace="5s", worker=True) as app:
        outcomes = await in_time(app, drive(app))
    expected = dict(EXPECTED)
    if set(outcomes["once"]) <= {"paid", "unknown"} and len(outcomes["once"]) == 3 and phase != "first":
        outcomes["once"] = expected["once"]
    wrong = {name: (outcomes[name], expected[name]) for name in expected if outcomes[name] != expected[name]}
    assert not wrong, f"run: (outcome, expected) {wrong}"
