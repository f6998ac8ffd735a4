"""The table of states and the end of a child: pure, so looked at in full."""

from __future__ import annotations

import itertools

import msgspec
import pytest

from stepflow.model.children import child_event_id, ended_payload, read_ended
from stepflow.model.failures import Failure
from stepflow.model.payloads import Payload
from stepflow.model.states import PauseReason, RunStatus
from stepflow.model.transitions import (
    OWNER_MOVES,
    TABLE,
    Action,
    Already,
    EndCancelled,
    Erase,
    QueueForCancel,
    Refuse,
    decide,
)

STATUSES = list(RunStatus)


def test_the_table_knows_every_status_and_every_action() -> None:
    assert set(TABLE) == set(itertools.product(RunStatus, Action))


def test_every_refusal_says_what_would_work_or_why_not() -> None:
    assert all(decision.reason for decision in TABLE.values() if isinstance(decision, Refuse))


@pytest.mark.parametrize("status", STATUSES)
def test_only_what_ended_or_stands_still_is_deleted(status: RunStatus) -> None:
    deletes = isinstance(decide(status, Action.DELETE, started=True), Erase)

    assert deletes == (status.ended or status is RunStatus.PAUSED)


@pytest.mark.parametrize("status", STATUSES)
def test_a_forced_cancel_ends_whatever_has_not_ended(status: RunStatus) -> None:
    decision = decide(status, Action.FORCE_CANCEL, started=True)

    assert isinstance(decision, EndCancelled) == (not status.ended)


def test_a_completed_run_stays_completed() -> None:
    for action in set(Action) - {Action.DELETE}:
        assert isinstance(decide(RunStatus.COMPLETED, action, started=True), Refuse)


@pytest.mark.parametrize("status", [RunStatus.QUEUED, RunStatus.PAUSED])
def test_a_cancel_lets_a_run_clean_up_only_if_it_began(status: RunStatus) -> None:
    assert isinstance(decide(status, Action.CANCEL, started=True), QueueForCancel)
    assert decide(status, Action.CANCEL, started=False) == EndCancelled()


@pytest.mark.parametrize("reason", list(PauseReason))
def test_a_cancel_lets_a_run_clean_up_only_if_its_code_can_run(reason: PauseReason) -> None:
    decision = decide(RunStatus.PAUSED, Action.CANCEL, started=True, pause_reason=reason)

    can_run = reason in (PauseReason.REQUESTED, PauseReason.STUCK)
    assert decision == (QueueForCancel(resumed=True) if can_run else EndCancelled())


def test_asking_twice_is_asking_once() -> None:
    assert decide(RunStatus.CANCELLED, Action.CANCEL, started=True) == Already()
    assert decide(RunStatus.PAUSED, Action.PAUSE, started=True) == Already()


def test_no_owner_moves_a_run_that_ended() -> None:
    assert not any(before.ended for before, _, _ in OWNER_MOVES)
    assert {after for _, _, after in OWNER_MOVES} == set(RunStatus)


# ------------------------------------------------------------------ a child's end as an event
@pytest.mark.parametrize(
    ("status", "output", "failure"),
    [
        (RunStatus.COMPLETED, Payload(msgspec.Raw(b'{"a" :  1}'), "zip+json"), None),
        (RunStatus.FAILED, None, Failure(type="E", message="\0 ü", args=Payload(msgspec.Raw(b"[1]")))),
        (RunStatus.CANCELLED, None, None),
    ],
)
def test_the_end_of_a_child_survives_its_journey(
    status: RunStatus, output: Payload | None, failure: Failure | None
) -> None:
    assert read_ended(ended_payload(status, output, failure)) == (status, output, failure)


def test_the_payload_of_a_child_s_end_is_plain_json() -> None:
    payload = ended_payload(RunStatus.COMPLETED, Payload(msgspec.Raw(b"[1, 2]")), None)

    assert payload.codec == "json"
    assert msgspec.json.decode(payload.data) == {"status": "completed", "output": {"data": [1, 2]}}


def test_anything_else_is_no_end_of_a_child() -> None:
    with pytest.raises(msgspec.ValidationError):
        read_ended(Payload(msgspec.Raw(b'{"status":"sideways"}')))


def test_a_child_has_an_event_id_of_its_own() -> None:
    assert child_event_id("c1") == "run/c1"
