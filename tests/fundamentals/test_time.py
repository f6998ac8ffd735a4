"""Time: logical, from the journal, and never of the clock."""

from __future__ import annotations

import asyncio
import math
from datetime import timedelta

import pytest

from stepflow._engine.commands import Raised
from stepflow._engine.execution import RunFacts
from stepflow.model.journal import (
    AttemptFailed,
    Claimed,
    StepCompleted,
    StepIntended,
    Suspended,
)
from stepflow.primitives import sleep, step, wait_for_event
from tests.fundamentals.barely import CLAIMED, FAILURE, body, charge, completed, execution_of, run
from tests.fundamentals.driving import (
    RUN_ID,
    T0,
    Driver,
    World,
    drive,
)


def test_time_begins_with_the_first_claim_and_never_steps_back() -> None:
    async def main() -> list[float]:
        loop = asyncio.get_running_loop()
        times = [loop.time()]
        for name in ("a", "b", "c"):
            await run(name)
            times.append(loop.time())
        return times

    execution = execution_of(main)
    execution.advance([CLAIMED])
    for key, after in (("a", 5.0), ("b", 2.0), ("c", 7.000001)):
        report = execution.advance([completed(execution, key, after)])
    outcome = report.outcome
    execution.evict()

    assert getattr(outcome, "value", None) == [0, 5, 5, 7.000001]


def test_before_its_first_claim_a_run_has_no_time() -> None:
    execution = execution_of(charge)

    before = execution.time()
    execution.advance([CLAIMED])
    execution.evict()

    assert before == 0
    assert execution.now == T0


def test_a_claim_of_another_worker_does_not_begin_time_anew() -> None:
    async def main() -> float:
        await run("x")
        return asyncio.get_running_loop().time()

    execution = execution_of(main)
    execution.replay([CLAIMED, Suspended(at=T0), Claimed(at=T0 + timedelta(hours=1), worker="w2")])
    outcome = execution.advance([completed(execution, "x", 3_601)]).outcome
    execution.evict()

    assert getattr(outcome, "value", None) == 3_601


def test_nothing_is_recorded_before_what_was_recorded_last() -> None:
    def recorded() -> list[float]:
        instants = [execution.at(T0 + timedelta(seconds=seconds)) for seconds in (2, 5, 7)]
        return [(instant - T0).total_seconds() for instant in instants]

    execution = execution_of(charge)
    execution.advance([CLAIMED])
    at_first = recorded()
    execution.replay([Claimed(at=T0 + timedelta(seconds=3), worker="w2")])
    after_a_claim = recorded()
    execution.advance([completed(execution, "x", 6)])
    after_a_step = recorded()
    execution.evict()

    assert [at_first, after_a_claim, after_a_step] == [[2, 5, 7], [3, 5, 7], [6, 6, 7]]


def test_a_timer_that_fires_late_is_recorded_when_it_does() -> None:
    async def main() -> float:
        await asyncio.sleep(2)
        return asyncio.get_running_loop().time()

    execution = execution_of(main)
    execution.advance([CLAIMED])

    entry = execution.due_entry(T0 + timedelta(seconds=9))
    assert entry is not None
    outcome = execution.advance([entry]).outcome
    execution.evict()

    assert entry.at == T0 + timedelta(seconds=9)
    assert getattr(outcome, "value", None) == 9


@pytest.mark.parametrize("seconds", [0.1, 1 / 3, 2.01, 2.07, 3_600.000001])
def test_a_plain_timer_is_due_after_exactly_the_microseconds_asked_for(seconds: float) -> None:
    async def main() -> None:
        await asyncio.sleep(seconds)

    execution = execution_of(main)
    (command,) = execution.advance([CLAIMED]).commands
    due = execution.due_at()
    execution.evict()

    assert getattr(command, "delay", None) == round(seconds * 1_000_000)
    assert due == T0 + timedelta(microseconds=round(seconds * 1_000_000))


def test_failed_attempts_move_no_time() -> None:
    execution = execution_of(charge)
    execution.advance([CLAIMED])
    (command,) = execution.pending()
    later = T0 + timedelta(seconds=5)
    failed = AttemptFailed(
        key="x", at=later, function=command.function, attempt=1, failure=FAILURE, retry_at=later
    )

    report = execution.advance([failed])

    assert report.accepted == [failed]
    assert (execution.now, command.attempts, command.retry_at) == (T0, 1, later)
    execution.evict()


def test_intents_move_no_time() -> None:
    async def main() -> None:
        await step(at_most_once=True).run("x", body)

    execution = execution_of(main)
    (command,) = execution.advance([CLAIMED]).commands
    intended = StepIntended(key="x", at=T0 + timedelta(seconds=5), function=command.function)

    report = execution.advance([intended])

    assert report.accepted == [intended]
    assert (execution.now, command.intended) == (T0, True)
    execution.evict()


def test_a_takeover_holds_timers_off_until_their_delay_or_five_seconds_have_passed() -> None:
    async def main() -> None:
        await asyncio.gather(
            asyncio.sleep(2), asyncio.sleep(10), sleep("30s"), wait_for_event("e", timeout=8)
        )

    crashed = T0 + timedelta(seconds=12)
    execution = execution_of(main)
    execution.replay([CLAIMED, Claimed(at=crashed, worker="w2", takeover=True)])
    fired: list[tuple[float, str]] = []
    while execution.outcome is None:
        due = execution.due_at()
        assert due is not None
        assert execution.due_entry(due - timedelta(microseconds=1)) is None
        entry = execution.due_entry(due)
        assert entry is not None
        fired.append(((due - T0).total_seconds(), entry.key))
        report = execution.advance([entry])
        if isinstance(report.outcome, Raised):
            break
    execution.evict()

    assert fired == [(14, "sleep/@timer"), (17, "sleep:2/@timer"), (17, "e")]


def test_a_takeover_does_not_wake_timers_that_were_given_up() -> None:
    async def main() -> None:
        given_up = asyncio.create_task(asyncio.sleep(2))
        await asyncio.sleep(0)
        given_up.cancel()
        await asyncio.sleep(60)

    execution = execution_of(main)
    execution.advance([CLAIMED])

    execution.replay([Claimed(at=T0 + timedelta(seconds=1), worker="w2", takeover=True)])

    assert execution.due_at() == T0 + timedelta(seconds=60)
    assert len(execution.timers.armed) == 1
    execution.evict()


def test_a_sleep_until_the_end_of_time_never_ends() -> None:
    async def main() -> str:
        endless = asyncio.create_task(asyncio.sleep(math.inf))
        try:
            async with asyncio.timeout(5):
                await endless
        except TimeoutError:
            return await run("end")
        return "never"

    assert drive(main).value == "done"


def test_many_timeouts_that_never_pass_are_forgotten() -> None:
    async def main() -> None:
        async with asyncio.timeout(3_600):
            for _ in range(500):
                async with asyncio.timeout(86_400):
                    await run("x")
            await wait_for_event("never")

    driver = Driver(main, RunFacts(run_id=RUN_ID, workflow_id="w"), World()).begin()
    while len([entry for entry in driver.entries if isinstance(entry, StepCompleted)]) < 500:
        happening = driver._next()
        assert happening is not None
        entry = happening.make(driver.now)
        assert entry is not None
        driver._deliver(entry)

    assert driver.execution.due_at() == T0 + timedelta(hours=1)
    assert len(driver.execution.timers.armed) <= 65
    assert isinstance(driver.run().error, TimeoutError)
