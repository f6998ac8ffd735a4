"""What worker processes run in the tests with many runs, zombies and crashes inside of bodies."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections import Counter
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Any

from stepflow import (
    Retry,
    Stepflow,
    StepInterruptedError,
    continue_as,
    current_run,
    failpoints,
    sleep,
    step,
    wait_for_event,
    workflow,
)
from tests.crash.ledger import effect
from tests.crash.pipes import hold, pass_gate
from tests.crash.program import SHORT, add, multiply, note, prepare


# ------------------------------------------------------------------ of which there are many
@workflow
async def errand(number: int) -> int:
    """Four steps, a short sleep, and a child for every tenth."""
    first = await add(number, 1)
    one, two = await asyncio.gather(add(first, 1), multiply(first, 2))
    await sleep("nap", SHORT)
    if number % 10 == 0:
        one += await step.invoke(little, number)
    return await add(one, two)


@workflow
async def little(number: int) -> int:
    return await multiply(number, 0)


def errand_result(number: int) -> int:
    return (number + 2) + 2 * (number + 1)


# ------------------------------------------------------------------ for zombies
@step
def gate() -> str:
    """In the process that was told to, waits until the test opens the gate."""
    effect()
    if _gate is not None:
        pass_gate(_gate)
    return "open"


@workflow(retry=Retry(attempts=2, delay="1ms", jitter=False))
async def marathon() -> list[Any]:
    """Passes every place where a process may fall asleep, and then the gate."""
    one = await note("one")
    if current_run().attempt == 1:
        raise ValueError("again")
    await sleep("nap", SHORT)
    go = await wait_for_event("marathon/go", type=int)
    small = await step.invoke(little, go)
    await gate()
    two = await note("two")
    return [one, go, small, two]


MARATHON = ["one", 7, 0, "two"]


@workflow
async def rounds(number: int) -> str:
    """Goes on as itself once, and passes the gate then."""
    await note("round")
    if number == 1:
        continue_as(2)
    await gate()
    return await note("done")


@workflow(queue="probe")
async def probe() -> str:
    """Shows that a process is awake."""
    for _ in range(3):
        await step.run("awake", note, "awake")
    return "awake"


# ------------------------------------------------------------------ for crashes inside of bodies
@step
async def crash_once(amount: int) -> int:
    effect()
    _die_in("first")
    return amount


@step(at_most_once=True)
def charge(amount: int) -> int:
    effect()
    _die_in("first")
    return amount


@step
async def always_crash() -> None:
    effect()
    os._exit(137)


@workflow
async def crash_in_step() -> int:
    return await add(await crash_once(1), await add(2, 3))


@workflow
async def charge_once() -> str:
    try:
        await charge(5)
    except StepInterruptedError:
        return await note("unknown")
    return await note("charged")


@workflow
async def crash_loop() -> None:
    await note("fuse")
    await always_crash()


@workflow
async def five_at_once() -> list[int]:
    """Five steps; in the first process, the last two never end."""
    return await asyncio.gather(*(step.run(f"part-{n}", part, n) for n in range(5)))


@step
async def part(number: int) -> int:
    effect()
    if number >= 3 and _phase == "first":
        await asyncio.Event().wait()
    return number


@workflow
async def compensating() -> str:
    undone: list[str] = []
    try:
        await note("did")
        raise ValueError("undo it")
    except ValueError:
        undone = [await step.run(f"undo-{n}", undo, n) for n in range(3)]
    return " ".join(undone)


@step
async def undo(number: int) -> str:
    effect()
    if number == 1:
        _die_in("first")
    return f"undid-{number}"


# ------------------------------------------------------------------ in processes of their own
@step(executor="process")
def hold_and_return(tether: str) -> int:
    hold(tether)
    return os.getpid()


@step(executor="process")
def hold_for_ever(tether: str) -> None:
    hold(tether)
    threading.Event().wait()


@workflow
async def in_processes(tether: str) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(hold_for_ever(tether))
        group.create_task(hold_and_return(tether))


# ------------------------------------------------------------------ the processes
WORKFLOWS = [
    errand, little, marathon, rounds, probe, crash_in_step, charge_once, crash_loop, five_at_once, compensating,
    in_processes,
]  # fmt: skip

_phase = ""
_gate: str | None = None


def _die_in(phase: str) -> None:
    if _phase == phase:
        os._exit(137)


async def serve(
    url: str,
    ledger: str,
    phase: str,
    news: str | None = None,
    gate: str | None = None,
    lease: str = "30s",
    queues: Sequence[str] | None = None,
    concurrency: int = 1000,
    stop_at: tuple[str, int] | None = None,
    stop_until: str = "",
    failpoint: tuple[str, int] | None = None,
) -> None:
    """Work until SIGTERM. ``stop_at``: this process stops itself (SIGSTOP) at the n-th hit of a failpoint.

    ``failpoint``: it ends there, as by ``kill -9``.
    """
    global _phase, _gate
    prepare(ledger=ledger, phase=phase, news=news)
    _phase, _gate = phase, gate
    if stop_at is not None:
        _stop_at(*stop_at, until=Path(stop_until))
    if failpoint is not None:
        failpoints.kill_at(*failpoint)
    app = Stepflow(
        url, workflows=WORKFLOWS, lease=lease, queues=queues, concurrency=concurrency, grace="5s", worker=True
    )
    async with app:
        # One that came before `serve_forever` listens has waited (tests/crash/forking.py).
        asyncio.get_running_loop().call_soon(signal.pthread_sigmask, signal.SIG_UNBLOCK, {signal.SIGTERM})
        await app.serve_forever()


async def run_errands(
    url: str,
    ledger: str,
    phase: str,
    runs: int,
    worker: bool,
    news: str | None = None,
    told: str | None = None,
) -> None:
    """Start so many errands (those that are there already are not started twice) and wait for all of them.

    ``told``: a file that gets the id of each run whose start was acknowledged.
    """
    prepare(ledger=ledger, phase=phase, news=news)
    acknowledged = None if told is None else os.open(told, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    async with Stepflow(url, workflows=WORKFLOWS, worker=worker, grace="5s") as app:

        async def one(number: int) -> int:
            run = await app.trigger(errand, number, id=f"errand-{number}")
            if acknowledged is not None:
                os.write(acknowledged, f"{run.id}\n".encode())
            return await run.result()

        results = await asyncio.gather(*(one(number) for number in range(runs)))
    assert results == [errand_result(number) for number in range(runs)]


async def write_on(url: str, ledger: str, phase: str, told: str, news: str) -> None:
    """Start errands and send events for ever, side by side; what was acknowledged goes to the file ``told``."""
    prepare(ledger=ledger, phase=phase, news=news)
    acknowledged = os.open(told, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    numbers = count()
    async with Stepflow(url, workflows=WORKFLOWS, worker=True) as app:

        async def start_and_send() -> None:
            for number in numbers:
                run = await app.trigger(errand, number, id=f"errand-{number}")
                os.write(acknowledged, f"{run.id}\n".encode())
                await app.notify(f"event/{number}", "x" * (number % 997))
                os.write(acknowledged, f"event/{number}\n".encode())
                assert await run.result() == errand_result(number)
                os.write(acknowledged, f"{run.id}:ended\n".encode())

        async with asyncio.TaskGroup() as group:
            for _ in range(25):
                group.create_task(start_and_send())


async def finish_errands(url: str, ledger: str, phase: str, known: list[str]) -> None:
    """Work until all errands that were acknowledged, and all that are there besides, have ended as they should."""
    prepare(ledger=ledger, phase=phase)
    numbers = {
        run_id: int(run_id.split("-")[1])
        for run_id in known
        if run_id.startswith("errand-") and ":" not in run_id
    }
    async with Stepflow(url, workflows=WORKFLOWS, worker=True) as app:
        for run_id, number in numbers.items():
            assert await app.handle(run_id).result() == errand_result(number)
        left = await app.list_runs(status=["queued", "running", "suspended"])
        for run in left.items:
            await app.handle(run.id).result()


def read_acknowledged(path: Path) -> set[str]:
    return set(path.read_text().split()) if path.exists() else set()


def _stop_at(name: str, nth: int, until: Path) -> None:
    """Stop this process there, again and again until that file exists: see ``stop_without_a_lock`` in the tests."""
    hits: Counter[str] = Counter()

    def act() -> None:
        hits[name] += 1
        while hits[name] == nth and not until.exists():
            os.kill(os.getpid(), signal.SIGSTOP)

    failpoints.arm(name, act)
