"""What is told while runs execute: log lines once and only when durable, facts to hooks in order, and no harm from either."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from typing import Any

import pytest

from stepflow import Retry, RunFailedError, current_run, sleep, step, wait_for_event, workflow
from stepflow.hooks import (
    EventSent,
    Fact,
    RunCreated,
    RunEnded,
    RunPaused,
    RunResumed,
    RunRetried,
    RunStarted,
    RunSuspended,
    StepFinished,
    StepRetried,
    StepStarted,
    WorkerStarted,
    WorkerStopped,
)
from stepflow.storage.memory import MemoryStorage
from stepflow.storage.writes import Action, ControlRun
from tests.runtime.living import living, settle, until

ONCE = Retry(attempts=1)


@step
async def note(what: str) -> str:
    current_run().log.info("in step %s", what)
    return what


@workflow
async def logs(word: str) -> str:
    log = current_run().log
    log.info("begins with %s", word, colour="red")
    await note(word)
    log.info("after the step")
    await sleep("1h")
    log.warning("after the sleep")
    return word


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.DEBUG, "stepflow.run")
    return caplog


def said(lines: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in lines.records if record.name == "stepflow.run"]


# ------------------------------------------------------------------ logs
async def test_every_line_appears_once_however_often_the_code_is_replayed(
    lines: pytest.LogCaptureFixture,
) -> None:
    storage = MemoryStorage()
    async with living(logs, storage=storage) as world:
        run = await world.app.trigger(logs, "x")
        await world.reaches(run, "suspended")
        clock = world.clock
    async with living(logs, storage=storage, clock=clock) as later:
        await later.pass_time("1h")
        await later.app.handle(run.id).result()

    assert said(lines) == ["begins with x", "in step x", "after the step", "after the sleep"]
    first = next(record for record in lines.records if record.getMessage() == "begins with x")
    assert (first.run_id, first.colour) == (run.id, "red")  # type: ignore[attr-defined]


async def test_a_line_waits_until_what_led_to_it_is_durable(lines: pytest.LogCaptureFixture) -> None:
    async with living(logs) as world:
        gate = world.storage.hold("write")
        triggering = asyncio.create_task(world.app.trigger(logs, "x"))
        await gate.reached()
        assert said(lines) == []
        gate.open()
        run = await triggering
        await world.reaches(run, "suspended")
        assert said(lines)[0] == "begins with x"
        gate = world.storage.hold("write")
        world.clock.advance("1h")
        await gate.reached()
        assert "after the sleep" not in said(lines)
        gate.open()
        await run.result()
        assert said(lines)[-1] == "after the sleep"


async def test_lines_of_a_commit_that_was_fenced_are_never_written(lines: pytest.LogCaptureFixture) -> None:
    async with living(logs) as world:
        run = await world.app.trigger(logs, "x")
        await world.reaches(run, "suspended")
        gate = world.storage.hold("write")
        world.clock.advance("1h")
        await gate.reached()
        await world.app._opened.storage.inner.write([force(run.id)], now=world.clock.now())  # type: ignore[union-attr]
        gate.open()
        await settle()

        assert "after the sleep" not in said(lines)


def force(run_id: str) -> Any:
    return ControlRun(run_id=run_id, action=Action.FORCE_CANCEL)


# ------------------------------------------------------------------ hooks
def told(facts: list[Fact], run_id: str | None = None) -> list[str]:
    """The facts' names, with the step's name and attempt."""
    names = []
    for fact in facts:
        if run_id is not None and getattr(fact, "run_id", run_id) != run_id:
            continue
        name = type(fact).__name__
        if isinstance(fact, StepStarted | StepFinished | StepRetried):
            name += f" {fact.name} {fact.attempt}"
        names.append(name)
    return names


@step(retry=Retry(attempts=3, delay="1s", jitter=False))
async def flaky() -> str:
    if current_run().step.attempt < 3:
        raise ConnectionError("flaky")
    return "well"


@workflow(retry=Retry(attempts=2, delay="1h", jitter=False, max_delay="1h"))
async def eventful() -> str:
    await flaky()
    await wait_for_event("go")
    if current_run().attempt == 1:
        raise ValueError("first attempt")
    await step.send_event("gone")
    return "done"


async def test_hooks_hear_the_life_of_a_run_in_order() -> None:
    async with living(eventful) as world:
        run = await world.app.trigger(eventful)
        for _ in range(2):
            await world.pass_time("2s")
        await world.reaches(run, "suspended")
        await world.app.notify("go")
        await world.sleep_over(run)
        assert await run.result() == "done"

        facts = list(world.facts)
        assert told(facts) == [
            "WorkerStarted",
            "RunCreated",
            "RunStarted",
            "StepStarted flaky 1",
            "StepRetried flaky 1",
            "StepStarted flaky 2",
            "StepRetried flaky 2",
            "StepStarted flaky 3",
            "StepFinished flaky 3",
            "RunSuspended",
            "EventSent",
            "RunResumed",
            "RunRetried",
            "RunStarted",
            "EventSent",
            "RunEnded",
        ]
        by_type = {type(fact): fact for fact in facts}
        suspended, retried, ended = by_type[RunSuspended], by_type[RunRetried], by_type[RunEnded]
        assert isinstance(suspended, RunSuspended)
        assert suspended.waits_for == ("go",)
        assert isinstance(retried, RunRetried)
        assert (retried.attempt, retried.error.message) == (1, "first attempt")
        assert isinstance(ended, RunEnded)
        assert (ended.status, ended.error) == ("completed", None)
        assert ended.duration == world.clock.now() - (await world.record(run)).created_at
        started = [fact.attempt for fact in facts if isinstance(fact, RunStarted)]
        assert started == [1, 2]
    assert isinstance(world.facts[-1], WorkerStopped)
    assert world.facts[0] == WorkerStarted(
        at=world.facts[0].at,
        worker_id=world.facts[0].worker_id,  # type: ignore[union-attr]
        queues=("default",),
    )


async def test_a_fact_waits_until_its_commit_is_durable() -> None:
    @workflow
    async def short() -> str:
        return await note("x")

    async with living(short) as world:
        gate = world.storage.hold("write", done=True)
        triggering = asyncio.create_task(world.app.trigger(short))
        await gate.reached()
        assert told(world.facts) == ["WorkerStarted"]
        last = world.storage.hold("write", done=True)
        gate.open()
        run = await triggering
        await last.reached()
        assert "StepFinished note 1" not in told(world.facts)
        assert not any(isinstance(fact, RunEnded) for fact in world.facts)
        last.open()
        await run.result()
        assert told(world.facts)[-2:] == ["StepFinished note 1", "RunEnded"]


async def test_hooks_hear_of_failures_pauses_and_takeovers() -> None:
    @step(retry=ONCE)
    async def fails() -> None:
        raise LookupError("lost")

    @workflow
    async def failing() -> None:
        await fails()

    @workflow
    async def waiting() -> None:
        await wait_for_event("go")

    async with living(failing, waiting) as world:
        run = await world.app.trigger(failing)
        with pytest.raises(RunFailedError):
            await run.result()
        [finished] = [fact for fact in world.facts if isinstance(fact, StepFinished)]
        [ended] = [fact for fact in world.facts if isinstance(fact, RunEnded)]
        assert finished.error is not None
        assert ended.error is not None
        assert (finished.error.message, ended.error.type, ended.status) == ("lost", "LookupError", "failed")
        assert [fact.queue for fact in world.facts if isinstance(fact, RunCreated)] == ["default"]


async def test_hooks_hear_of_a_pause_and_of_a_resumption() -> None:
    gate = asyncio.Event()

    @step
    async def slow() -> None:
        await gate.wait()

    @workflow
    async def is_slow() -> None:
        await slow()
        await note("then")

    async with living(is_slow) as world:
        run = await world.app.trigger(is_slow)
        await settle()
        await world.app.pause(run.id)
        await settle()
        gate.set()
        await world.reaches(run, "paused")
        await world.app.resume(run.id)
        await run.result()

        assert [fact.reason for fact in world.facts if isinstance(fact, RunPaused)] == ["requested"]
        assert [fact.takeover for fact in world.facts if isinstance(fact, RunResumed)] == [False]


async def test_a_hook_that_raises_disturbs_nobody(caplog: pytest.LogCaptureFixture) -> None:
    def broken(fact: Fact) -> None:
        raise RuntimeError("broken hook")

    async with living(logs, hooks=[broken]) as world:
        run = await world.app.trigger(logs, "x")
        assert await world.ends(run) == "x"
        assert any(isinstance(fact, RunEnded) for fact in world.facts), "the next hook is told all the same"

    complaints = [record for record in caplog.records if record.name == "stepflow.hooks"]
    assert len(complaints) == 1


async def test_a_log_whose_disk_is_full_disturbs_nobody(capfd: pytest.CaptureFixture[str]) -> None:
    full = logging.FileHandler("/dev/full")
    logger = logging.getLogger("stepflow")
    logger.addHandler(full)
    try:
        async with living(logs) as world:
            run = await world.app.trigger(logs, "x")
            assert await world.ends(run) == "x"
    finally:
        logger.removeHandler(full)
        with contextlib.suppress(OSError):  # what it could not write it tries to write once more
            full.close()

    assert "No space left on device" in capfd.readouterr().err, "logging says so, as it does"


async def test_events_from_outside_are_told_once_though_sent_twice() -> None:
    async with living(logs) as world:
        for _ in range(3):
            await world.app.notify("go", id="same")
        assert len([fact for fact in world.facts if isinstance(fact, EventSent)]) == 1


# ------------------------------------------------------------------ a loop that stands still
async def test_a_step_that_blocks_the_loop_is_named(caplog: pytest.LogCaptureFixture) -> None:
    warned = [False]

    class Heard(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            warned[0] = warned[0] or "blocks the event loop" in record.getMessage()

    @step(name="number-cruncher")
    async def blocks() -> None:
        began = time.monotonic()
        while not warned[0] and time.monotonic() - began < 15:
            sum(range(10_000))

    @workflow
    async def is_blocked() -> None:
        await blocks()

    handler = Heard()
    logging.getLogger("stepflow.worker").addHandler(handler)
    try:
        async with living(is_blocked) as world:
            await (await world.app.trigger(is_blocked)).result()
    finally:
        logging.getLogger("stepflow.worker").removeHandler(handler)

    [warning] = [r.getMessage() for r in caplog.records if "blocks the event loop" in r.getMessage()]
    assert "step 'number-cruncher'" in warning
    assert "test_observing.py" in warning


async def test_a_busy_loop_is_not_a_blocked_one(caplog: pytest.LogCaptureFixture) -> None:
    @workflow
    async def quick(n: int) -> str:
        return await note(str(n))

    async with living(quick) as world:
        await asyncio.gather(*[(await world.app.trigger(quick, n)).result() for n in range(300)])
        await until(lambda: True)

    assert [r for r in caplog.records if "blocks the event loop" in r.getMessage()] == []
