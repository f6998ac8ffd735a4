"""Folding: what people see of a run's steps, made out of every kind of entry."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from stepflow.model.events import Wait
from stepflow.model.failures import Failure
from stepflow.model.folding import fold_steps
from stepflow.model.ids import CHILD_EVENT_PREFIX
from stepflow.model.journal import (
    AttemptFailed,
    AttemptStarted,
    ChildEnded,
    ChildStarted,
    Claimed,
    Continued,
    Entry,
    EventReceived,
    EventSent,
    EventTimedOut,
    StepCompleted,
    StepFailed,
    StepIntended,
    StepInterrupted,
    Suspended,
    TimerFired,
)
from stepflow.model.payloads import NULL, Payload
from stepflow.model.states import RunStatus
from stepflow.model.steps import StepView

T0 = datetime(2026, 1, 1, tzinfo=UTC)
T1, T2, T3 = (T0 + timedelta(seconds=seconds) for seconds in (1, 2, 3))
FAILURE = Failure(type="ValueError", message="no")
VALUE = Payload(msgspec.Raw(b"7"))


def done(key: str, *, at: datetime = T1) -> StepCompleted:
    return StepCompleted(key=key, at=at, function="m:f", value=VALUE)


def failed(key: str) -> StepFailed:
    return StepFailed(key=key, at=T1, function="m:f", failure=FAILURE)


def started(key: str, *, detached: bool = False) -> ChildStarted:
    return ChildStarted(key=key, at=T1, child_id="c", workflow_id="bill", detached=detached)


def ended(key: str, status: RunStatus = RunStatus.COMPLETED) -> ChildEnded:
    return ChildEnded(key=key, at=T2, child_id="c", workflow_id="bill", pos=1, status=status)


def only(*entries: Entry) -> StepView:
    """The single step that the entries make."""
    (view,) = fold_steps(entries)
    return view


def looks(entries: list[Entry]) -> list[tuple[str, str]]:
    return [(view.key, view.status.value) for view in fold_steps(entries)]


@pytest.mark.parametrize(
    ("entry", "kind", "status"),
    [
        (done("k"), "step", "completed"),
        (failed("k"), "step", "failed"),
        (StepInterrupted(key="k", at=T1, function="m:f"), "step", "failed"),
        (
            AttemptFailed(key="k", at=T1, function="m:f", attempt=1, failure=FAILURE, retry_at=T2),
            "step",
            "retrying",
        ),
        (StepIntended(key="k", at=T1, function="m:f"), "step", "running"),
        (TimerFired(key="k", at=T1, delay=1, sleep=True), "sleep", "completed"),
        (EventReceived(key="k", at=T1, event_id="e", pos=1, payload=VALUE), "event", "completed"),
        (EventTimedOut(key="k", at=T1, event_id="e"), "event", "failed"),
        (EventSent(key="k", at=T1, event_id="e"), "event", "completed"),
        (started("k"), "child", "waiting"),
        (started("k", detached=True), "child", "completed"),
        (ended("k~end"), "child", "completed"),
    ],
    ids=lambda part: type(part).__name__ if isinstance(part, msgspec.Struct) else part,
)
def test_every_entry_of_a_command_is_seen_as_one_step(entry: Entry, kind: str, status: str) -> None:
    view = only(entry)

    assert (view.key, view.name, view.kind, view.status) == ("k", "k", kind, status)


@pytest.mark.parametrize(
    "entry",
    [
        Claimed(at=T0, worker="w"),
        Suspended(at=T0),
        TimerFired(key="@timer", at=T0, delay=1),
    ],
    ids=lambda entry: type(entry).__name__,
)
def test_what_befalls_the_run_and_plain_timers_are_no_steps(entry: Entry) -> None:
    assert fold_steps([entry]) == []


def test_a_step_that_ended_shows_when_it_began_and_ended_its_attempts_and_its_result() -> None:
    view = only(StepCompleted(key="k", at=T3, function="m:f", value=VALUE, attempts=2, started_at=T1))

    assert (view.started_at, view.ended_at, view.attempts) == (T1, T3, 2)
    assert (view.result, view.error) == (VALUE, None)


def test_a_step_that_failed_shows_its_failure() -> None:
    view = only(StepFailed(key="k", at=T3, function="m:f", failure=FAILURE, attempts=3, started_at=T2))

    assert (view.started_at, view.ended_at, view.attempts) == (T2, T3, 3)
    assert (view.result, view.error) == (None, FAILURE)


def test_a_step_that_is_tried_again_shows_the_attempt_that_failed_and_has_no_end() -> None:
    view = only(
        AttemptFailed(key="k", at=T1, function="m:f", attempt=2, failure=FAILURE, retry_at=T2),
    )

    assert (view.attempts, view.error, view.ended_at) == (2, FAILURE, None)


def test_a_received_event_shows_what_it_carried() -> None:
    view = only(EventReceived(key="k", at=T2, event_id="e", pos=1, payload=VALUE))

    assert (view.result, view.ended_at) == (VALUE, T2)


def test_the_last_entry_of_a_step_counts_and_its_place_is_that_of_the_first() -> None:
    entries: list[Entry] = [StepIntended(key="a", at=T0, function="m:f"), done("b"), done("a", at=T2)]

    assert looks(entries) == [("a", "completed"), ("b", "completed")]


@pytest.mark.parametrize(
    ("end", "status"),
    [
        (RunStatus.COMPLETED, "completed"),
        (RunStatus.FAILED, "failed"),
        (RunStatus.CANCELLED, "cancelled"),
    ],
)
def test_the_end_of_a_child_belongs_to_the_step_that_started_it(end: RunStatus, status: str) -> None:
    view = only(started("task/bill:2"), ended("task/bill:2~end", end))

    assert (view.key, view.name, view.status) == ("task/bill:2", "bill", status)
    assert (view.started_at, view.ended_at) == (T1, T2)


def test_a_child_that_ended_shows_its_result_or_its_failure() -> None:
    good = ChildEnded(
        key="k~end", at=T2, child_id="c", workflow_id="w", pos=1, status=RunStatus.COMPLETED, value=VALUE
    )
    bad = ChildEnded(
        key="k~end", at=T2, child_id="c", workflow_id="w", pos=1, status=RunStatus.FAILED, failure=FAILURE
    )

    assert (only(started("k"), good).result, only(started("k"), bad).error) == (VALUE, FAILURE)


def test_a_new_attempt_forgets_what_did_not_succeed() -> None:
    entries: list[Entry] = [done("kept"), failed("gone"), started("going"), AttemptStarted(at=T2, attempt=2)]

    assert looks(entries) == [("kept", "completed")]
    assert looks([*entries, done("gone", at=T3)]) == [("kept", "completed"), ("gone", "completed")]


def test_a_continued_run_begins_with_no_steps() -> None:
    entries: list[Entry] = [done("old"), Continued(at=T2, input=NULL, generation=1), done("new", at=T3)]

    assert looks(entries) == [("new", "completed")]


def test_waits_for_events_are_seen_under_their_name_and_waits_for_children_are_not() -> None:
    waits = [
        Wait(event_id="paid", after=0),
        Wait(event_id="seen", after=0, name="look"),
        Wait(event_id=f"{CHILD_EVENT_PREFIX}c", after=0),
    ]

    views = fold_steps([done("a")], waits)

    assert [(view.name, view.kind, view.status) for view in views] == [
        ("a", "step", "completed"),
        ("paid", "event", "waiting"),
        ("look", "event", "waiting"),
    ]
