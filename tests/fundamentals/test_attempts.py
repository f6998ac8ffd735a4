"""Attempts of a whole run, and ``continue_as``: what a new beginning keeps of what was recorded before it."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from stepflow._engine.commands import ContinueAs, Undecodable, WasCancelled
from stepflow._engine.execution import ContinueSignal, Execution, RunFacts
from stepflow.errors import DeserializationError
from stepflow.model.journal import (
    AttemptStarted,
    CancelRequested,
    Claimed,
    Continued,
    Ended,
    Entry,
    Paused,
    Resumed,
    StepCompleted,
    Suspended,
    TimerFired,
)
from stepflow.model.states import PauseReason, RunStatus
from stepflow.primitives import continue_as, current_run, random, sleep, step, uuid4, wait_for_event
from tests.fundamentals.driving import (
    RUN_ID,
    T0,
    Driver,
    History,
    World,
    assert_replays,
    decode,
    drive,
    encode,
    rebuild,
    resume,
    try_again,
)

HOUR = timedelta(hours=1)


async def body(what: str) -> str:
    return what


def run(name: str) -> Any:
    return step.run(name, body, name)


class Switch:
    """Fails a workflow until it is mended."""

    def __init__(self) -> None:
        self.mended = False

    def check(self) -> None:
        if not self.mended:
            raise ValueError("not yet")


def second_attempt(history: History, switch: Switch) -> History:
    switch.mended = True
    history.world.bodies.clear()
    again = try_again(history)
    for prefix in range(len(history.entries) + 1, len(again.entries) + 1):
        resumed = resume(again, prefix, slices=1 + prefix % 3)
        assert resumed.entries == again.entries
        assert resumed.told == again.told
    return again


def execution_of(main: Any, **facts: Any) -> Execution:
    return Execution(
        RunFacts(run_id=RUN_ID, workflow_id="w", **facts),
        lambda payload: main(decode(payload, Any)) if "input" in facts else main(),
        encode=encode,
        decode=decode,
        rebuild=rebuild,
    )


# ------------------------------------------------------------------ a new attempt
def test_steps_that_succeeded_are_not_run_again() -> None:
    switch = Switch()

    async def main() -> list[str]:
        first = [await run("x"), await run("x")]
        switch.check()
        return [*first, await run("y")]

    history = drive(main)
    again = try_again(history)
    switch.mended = True
    history.world.bodies.clear()
    third = try_again(again)

    assert third.value == ["x", "x", "y"]
    assert history.world.bodies == ["y"]
    assert third.left_over == ()


def test_steps_that_failed_are_run_again() -> None:
    attempts: list[int] = []

    async def moody() -> int:
        attempts.append(1)
        if len(attempts) <= 2:
            raise ValueError("not yet")
        return len(attempts)

    async def main() -> Any:
        return [await run("x"), await step(retry=2).run("moody", moody)]

    history = drive(main)
    assert isinstance(history.error, ValueError)

    again = try_again(history)

    assert again.value == ["x", 3]


def test_a_kept_result_is_delivered_when_it_is_asked_for_and_unused_ones_are_no_divergence() -> None:
    switch = Switch()

    async def main() -> list[str]:
        if not switch.mended:
            await asyncio.gather(run("a"), run("b"), run("c"))
            switch.check()
        return [await run("c"), await run("new"), await run("a")]

    again = second_attempt(drive(main), switch)

    assert again.value == ["c", "new", "a"]
    assert [key for key in again.keys if key == "new"] == ["new"]
    assert again.left_over == ()


def test_sleeps_that_ended_are_kept_and_plain_timers_are_not() -> None:
    switch = Switch()

    async def main() -> float:
        await sleep("long", HOUR)
        await asyncio.sleep(60)
        switch.check()
        return asyncio.get_running_loop().time()

    again = second_attempt(drive(main), switch)

    assert again.value == 3600 + 60 + 60
    assert [entry.key for entry in again.entries if isinstance(entry, TimerFired)] == [
        "long",
        "@timer",
        "@timer",
    ]


def test_events_that_were_received_are_kept_and_timeouts_are_not() -> None:
    switch = Switch()

    async def main() -> list[Any]:
        got = [await wait_for_event("paid"), await wait_for_event("late", timeout=5, default=None)]
        switch.check()
        return [*got, await wait_for_event("paid")]

    world = World(events=[(1, "paid", "one"), (2, "paid", "two"), (7, "late", "late")])

    again = second_attempt(drive(main, world=world), switch)

    assert again.value == ["one", "late", "two"]


def test_events_are_sent_once_over_all_attempts() -> None:
    switch = Switch()

    async def main() -> str:
        await step.send_event("seen", 1)
        switch.check()
        return await run("x")

    again = second_attempt(drive(main), switch)

    assert again.value == "x"
    assert [key for key in again.keys if key == "seen"] == ["seen"]


def test_children_that_ended_well_and_detached_ones_are_kept_and_others_begin_anew() -> None:
    switch = Switch()

    async def main() -> list[Any]:
        detached = await step.start("free", None, detached=True)
        good = await step.invoke("good", None)
        try:
            bad = await step.invoke("bad", None)
        except Exception:  # whatever: it is the first attempt that meets it
            bad = "failed"
        switch.check()
        return [detached.id, good, bad]

    world = World(
        children={"good": (RunStatus.COMPLETED, "well"), "bad": (RunStatus.FAILED, ValueError("no"))}
    )
    history = drive(main, world=world)
    world.children["bad"] = (RunStatus.COMPLETED, "better")

    again = second_attempt(history, switch)

    assert again.value[1:] == ["well", "better"]
    assert sorted(command.workflow_id for command in world.started.values()) == ["bad", "bad", "free", "good"]
    assert again.value[0] in world.started


def test_a_child_that_was_still_running_begins_anew() -> None:
    async def main() -> Any:
        child = await step.start("slow", None)
        await run("x")
        return await child.result()

    history = drive(main, world=World(children_take=None))
    assert history.outcome is None

    again = try_again(history)

    assert len(history.world.started) == 2
    assert again.outcome is None


def test_a_cancel_of_an_earlier_attempt_does_not_reach_the_next() -> None:
    async def main() -> str:
        return await run("x")

    cancelled = drive(main, world=World(takes=lambda command: 9, cancel_after=1))
    assert cancelled.outcome == WasCancelled()

    assert try_again(cancelled).value == "x"


def test_the_runs_timeout_counts_from_its_first_start() -> None:
    async def main() -> str:
        return await run("x")

    late = drive(main, world=World(takes=lambda command: 99), timeout=timedelta(seconds=10))

    again = try_again(late)

    assert type(again.outcome).__name__ == "TimedOut"


def test_random_values_are_the_same_in_every_attempt() -> None:
    switch = Switch()
    drawn: list[Any] = []

    async def main() -> list[Any]:
        drawn.append([random().random(), str(uuid4()), current_run().attempt])
        switch.check()
        return []

    second_attempt(drive(main), switch)

    assert drawn[0][:2] == drawn[1][:2]
    assert (drawn[0][2], drawn[1][2]) == (1, 2)


def test_an_attempt_that_is_begun_live_goes_on_with_later_rows() -> None:
    async def main() -> str:
        return await run("x")

    history = drive(main)
    driver = Driver(main, RunFacts(run_id=RUN_ID, workflow_id="w", attempt=2), World())
    driver.execution.replay(history.entries)
    driver.execution.advance([AttemptStarted(at=T0 + HOUR, attempt=2)])

    outcome = driver.execution.outcome
    driver.execution.evict()

    assert getattr(outcome, "value", None) == "x"


def test_rows_of_an_attempt_that_was_begun_live_belong_to_it() -> None:
    async def main() -> str:
        return await run("x")

    execution = execution_of(main, attempt=2)
    execution.replay([Claimed(at=T0, worker="w")])
    begun = execution.advance([AttemptStarted(at=T0, attempt=2)])
    (command,) = begun.commands
    ended = StepCompleted(key="x", at=T0 + HOUR, function=command.function, value=encode("x"))

    outcome = execution.replay([Suspended(at=T0), Claimed(at=T0, worker="w"), ended]).outcome
    execution.evict()

    assert getattr(outcome, "value", None) == "x"


# ------------------------------------------------------------------ going on with a new input
@pytest.mark.parametrize("started_at", [None, T0])
def test_a_continued_run_begins_with_its_new_input_and_keeps_its_place_among_the_events(
    started_at: Any,
) -> None:
    async def main(number: int) -> None:
        paid = await wait_for_event("paid")
        continue_as([number, paid])

    execution = execution_of(main, input=encode(1), started_at=started_at)
    execution.replay(
        [
            Continued(at=T0, input=encode(7), generation=3, cursors={"paid": 40}),
            Claimed(at=T0 + HOUR, worker="w"),
        ]
    )

    first = execution.digest("x")
    takers = [execution.mailbox.taker("paid", pos) is None for pos in (40, 41)]
    execution.evict()

    assert takers == [True, False]
    assert (execution.generation, execution.input, execution.started_at) == (3, encode(7), T0)
    assert first != execution_of(main, input=encode(1)).digest("x")


def test_a_continued_run_may_have_a_second_attempt() -> None:
    async def main(number: int) -> Any:
        return [number, await run("x")]

    execution = execution_of(main, input=encode(1), attempt=2)
    entries: list[Entry] = [
        Continued(at=T0, input=encode(7), generation=1),
        Claimed(at=T0, worker="w"),
        Ended(at=T0, status=RunStatus.FAILED),
        Claimed(at=T0, worker="w"),
        AttemptStarted(at=T0 + HOUR, attempt=2),
    ]
    (command,) = execution.replay(entries).commands
    ended = StepCompleted(key="x", at=T0 + HOUR, function=command.function, value=encode("x"))

    outcome = execution.advance([ended]).outcome
    execution.evict()

    assert getattr(outcome, "value", None) == [7, "x"]


def test_continue_as_in_the_body_of_a_task_group_continues_the_run() -> None:
    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(run("slow"))
            await run("quick")
            continue_as(2)

    history = drive(main, world=World(takes=lambda command: 9 if command.name == "slow" else 1))

    assert history.outcome == ContinueAs(encode(2))
    assert history.withdrawn == ["slow"]
    assert_replays(history)


def test_continue_as_beside_an_error_is_that_error() -> None:
    async def fails() -> None:
        try:
            await run("slow")
        finally:
            raise ValueError("on the way out")

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(fails())
            await run("quick")
            continue_as(2)

    history = drive(main, world=World(takes=lambda command: 9 if command.name == "slow" else 1))

    assert isinstance(history.error, BaseExceptionGroup)
    assert {type(error) for error in history.error.exceptions} == {ContinueSignal, ValueError}


# ------------------------------------------------------------------ what moves nothing, and what can't be read
def test_pauses_and_suspensions_change_nothing() -> None:
    async def main() -> str:
        return await run("x")

    history = drive(main)
    between: list[Entry] = [
        Suspended(at=T0 + HOUR),
        Paused(at=T0 + HOUR, reason=PauseReason.REQUESTED),
        Resumed(at=T0 + HOUR),
    ]
    history.entries[1:1] = between

    assert resume(history, len(history.entries)).value == "x"


def test_a_cancel_that_came_before_main_began_cancels_it_before_its_first_line() -> None:
    lines: list[str] = []

    async def main() -> None:
        lines.append("first")

    execution = execution_of(main, started_at=T0)
    execution.replay([CancelRequested(at=T0), Claimed(at=T0, worker="w")])

    assert execution.outcome == WasCancelled()
    assert lines == []
    execution.evict()


def test_an_input_that_can_not_be_read_stops_the_run() -> None:
    def main(payload: Any) -> Any:
        raise DeserializationError("expected int")

    execution = Execution(
        RunFacts(run_id=RUN_ID, workflow_id="w"), main, encode=encode, decode=decode, rebuild=rebuild
    )

    outcome = execution.advance([Claimed(at=T0, worker="w")]).outcome
    execution.evict()

    assert outcome == Undecodable("the run's input: expected int")
