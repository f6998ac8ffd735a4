"""The records of the model: journal entries in their stored form, payloads, failures, states, runs and pages."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepflow.model import journal
from stepflow.model.events import Event, NewEvent, Wait
from stepflow.model.failures import Failure
from stepflow.model.journal import Entry, JournalRow, decode_entries, encode_entries
from stepflow.model.pages import Page
from stepflow.model.payloads import NULL, Payload
from stepflow.model.runs import NewRun, ParentLink, RunFilter, RunRecord
from stepflow.model.states import PauseReason, RunStatus
from stepflow.model.steps import Run, StepKind, StepStatus, StepView

AT = datetime(2024, 2, 29, 12, 30, 0, 123456, tzinfo=UTC)
LATER = AT + timedelta(days=1)
VALUE = Payload(msgspec.Raw(b'{"a":[1,"\\u0000"]}'))
FAILURE = Failure(type="ValueError", message="bad", traceback="tb", rebuilt=True, args=VALUE)

ENTRIES: tuple[Entry, ...] = (
    journal.Claimed(at=AT, worker="w1", takeover=True, python="3.11.7"),
    journal.AttemptStarted(at=AT, attempt=2),
    journal.RunAttemptFailed(at=AT, attempt=1, failure=FAILURE, retry_at=LATER),
    journal.Continued(at=AT, input=VALUE, generation=1, cursors={"shipped/1": 7}),
    journal.CancelRequested(at=AT),
    journal.RunTimedOut(at=AT),
    journal.Suspended(at=AT, wake_at=LATER, waits=(Wait(event_id="e", after=3, name="n", until=LATER),)),
    journal.Paused(at=AT, reason=PauseReason.POISONED, detail="10 crashes"),
    journal.Resumed(at=AT),
    journal.Ended(at=AT, status=RunStatus.COMPLETED, left_over=("a", "b")),
    journal.StepCompleted(
        at=AT, key="a/charge:2", function="shop.charge", value=VALUE, attempts=3, started_at=AT
    ),
    journal.StepFailed(at=AT, key="k", function="f", failure=FAILURE, attempts=2, started_at=AT),
    journal.AttemptFailed(at=AT, key="k", function="f", attempt=1, failure=FAILURE, retry_at=LATER),
    journal.StepIntended(at=AT, key="k", function="f"),
    journal.StepInterrupted(at=AT, key="k", function="f"),
    journal.TimerFired(at=AT, key="k", delay=1_500_000, sleep=True),
    journal.EventReceived(at=AT, key="k", event_id="e", pos=9, payload=VALUE),
    journal.EventTimedOut(at=AT, key="k", event_id="e"),
    journal.EventSent(at=AT, key="k", event_id="e"),
    journal.ChildStarted(at=AT, key="k", child_id="c", workflow_id="w", detached=True),
    journal.ChildEnded(
        at=AT,
        key="k",
        child_id="c",
        workflow_id="w",
        pos=4,
        status=RunStatus.FAILED,
        value=VALUE,
        failure=FAILURE,
    ),
)


def test_every_kind_of_entry_is_tried_here() -> None:
    assert [type(entry) for entry in ENTRIES] == list(get_args(Entry))


def test_every_kind_of_entry_comes_back_as_it_was() -> None:
    assert decode_entries(encode_entries(ENTRIES)) == ENTRIES
    assert decode_entries(encode_entries(ENTRIES).decode()) == ENTRIES


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: type(entry).__name__)
def test_an_entry_with_its_defaults_comes_back_as_it_was(entry: Any) -> None:
    needed = {field.name for field in msgspec.structs.fields(entry) if field.required}
    bare = type(entry)(**{name: getattr(entry, name) for name in needed})

    stored = encode_entries((bare,))

    assert decode_entries(stored) == (bare,)
    assert set(json.loads(stored)[0]) == needed | {"kind"}


def test_the_names_in_the_stored_form_never_change() -> None:
    # Journals outlive releases: a kind that is renamed here makes the runs of yesterday unreadable.
    assert [entry["kind"] for entry in json.loads(encode_entries(ENTRIES))] == [
        "claimed", "attempt-started", "run-attempt-failed", "continued", "cancel-requested", "run-timed-out", "suspended",
        "paused", "resumed", "ended", "step-completed", "step-failed", "attempt-failed", "step-intended", "step-interrupted",
        "timer-fired", "event-received", "event-timed-out", "event-sent", "child-started", "child-ended",
    ]  # fmt: skip


def test_a_value_is_readable_json_inside_its_row() -> None:
    stored = json.loads(encode_entries((ENTRIES[10],)))

    assert stored[0]["value"] == {"data": {"a": [1, "\x00"]}}
    assert stored[0]["at"] == "2024-02-29T12:30:00.123456Z"


@settings(deadline=None)
@given(
    at=st.datetimes(timezones=st.just(UTC)),
    key=st.text(),
    value=st.recursive(st.none() | st.integers() | st.text(), st.lists, max_leaves=5),
    attempts=st.integers(1, 2**40),
)
def test_any_completed_step_comes_back_exactly(at: datetime, key: str, value: Any, attempts: int) -> None:
    entry = journal.StepCompleted(
        at=at,
        key=key,
        function="f",
        value=Payload(msgspec.Raw(msgspec.json.encode(value))),
        attempts=attempts,
    )

    (found,) = decode_entries(encode_entries((entry,)))

    assert found == entry
    assert isinstance(found, journal.StepCompleted)
    assert msgspec.json.decode(found.value.data) == value


@pytest.mark.parametrize(
    "text",
    ["", "{}", "null", "[", '[{"kind":"unheard-of","at":"2024-01-01T00:00:00Z"}]', '[{"kind":"resumed"}]', '[{"at":"2024-01-01T00:00:00Z"}]',
     '[{"kind":"resumed","at":"yesterday"}]', '[{"kind":"timer-fired","at":"2024-01-01T00:00:00Z","key":"k","delay":"1"}]'],
)  # fmt: skip
def test_what_is_no_journal_is_refused(text: str) -> None:
    with pytest.raises(msgspec.DecodeError):
        decode_entries(text)


def test_a_field_that_a_later_release_added_is_passed_over() -> None:
    stored = '[{"kind":"resumed","at":"2024-01-01T00:00:00Z","by":"ann"}]'

    assert decode_entries(stored) == (journal.Resumed(at=datetime(2024, 1, 1, tzinfo=UTC)),)


def test_a_row_holds_the_entries_of_one_commit() -> None:
    row = JournalRow(run_id="r", seq=3, writer="w", write_id="x", entries=ENTRIES[:2])

    assert msgspec.json.decode(msgspec.json.encode(row), type=JournalRow) == row


# ------------------------------------------------------------------ payloads and failures
def test_a_payload_knows_its_size_and_is_equal_by_what_it_holds() -> None:
    assert VALUE.size == len(bytes(VALUE.data))
    assert Payload(msgspec.Raw(b"1")) == Payload(msgspec.Raw(b"1"))
    assert Payload(msgspec.Raw(b"1")) != Payload(msgspec.Raw(b"1"), "zlib")
    assert Payload(msgspec.Raw(b"1")) != Payload(msgspec.Raw(b"2"))
    assert bytes(NULL.data) == b"null"


def test_the_tag_of_a_plain_payload_takes_no_space() -> None:
    assert msgspec.json.encode(NULL) == b'{"data":null}'
    assert msgspec.json.encode(Payload(msgspec.Raw(b'"QQ=="'), "aes")) == b'{"data":"QQ==","codec":"aes"}'


@pytest.mark.parametrize(
    "failure", [FAILURE, Failure(type="X", message=""), Failure(type="X", message="\x00", allowed=True)]
)
def test_a_failure_comes_back_as_it_was(failure: Failure) -> None:
    assert msgspec.json.decode(msgspec.json.encode(failure), type=Failure) == failure


def test_records_can_not_be_changed() -> None:
    for record, name in (
        (VALUE, "codec"),
        (FAILURE, "type"),
        (ENTRIES[0], "worker"),
        (Wait(event_id="e", after=0), "after"),
    ):
        with pytest.raises(AttributeError):
            setattr(record, name, "x")


# ------------------------------------------------------------------ states
def test_three_states_are_ends() -> None:
    assert {status for status in RunStatus if status.ended} == {
        RunStatus.COMPLETED,
        RunStatus.FAILED,
        RunStatus.CANCELLED,
    }


def test_states_and_reasons_are_stored_under_these_names() -> None:
    assert [*RunStatus] == ["queued", "running", "suspended", "paused", "completed", "failed", "cancelled"]
    assert [*PauseReason] == [
        "requested",
        "non-determinism",
        "poisoned",
        "undecodable",
        "unknown-code",
        "stuck",
    ]
    assert [*StepKind] == ["step", "sleep", "event", "child"]
    assert [*StepStatus] == ["running", "retrying", "completed", "failed", "waiting", "cancelled"]


# ------------------------------------------------------------------ events, runs, pages
def test_events_come_back_as_they_were() -> None:
    for event in (
        NewEvent(event_id="e", payload=VALUE),
        NewEvent(event_id="e", payload=VALUE, run_id="r", dedup_id="d", once=True),
        Event(event_id="e", pos=1, payload=VALUE, at=AT),
        Event(event_id="e", pos=1, payload=VALUE, at=AT, run_id="r", dedup_id="d"),
    ):
        assert msgspec.json.decode(msgspec.json.encode(event), type=type(event)) == event


def new_run(**changes: Any) -> NewRun:
    return NewRun(**{"id": "r", "workflow_id": "w", "input": NULL, "created_at": AT, "due_at": AT, **changes})


def test_a_run_on_its_way_in_has_plain_defaults_that_nobody_shares() -> None:
    one, other = new_run(), new_run(parent=ParentLink(run_id="p", key="k"))

    assert (one.queue, one.priority, one.tags, one.parent) == ("default", 0, {}, None)
    assert one.tags is not other.tags
    assert other.parent == ParentLink(run_id="p", key="k", detached=False)


def test_a_stored_run_is_told_by_what_changed() -> None:
    record = RunRecord(
        id="r", workflow_id="w", status=RunStatus.QUEUED, input=NULL, created_at=AT, created_pos=1, due_at=AT
    )

    running = msgspec.structs.replace(record, status=RunStatus.RUNNING, worker="w1", seq=1, due_at=None)

    assert running != record
    assert (record.seq, record.first_seq, record.attempt, record.waits) == (0, 1, 1, ())


def test_an_empty_filter_names_nothing() -> None:
    assert all(not getattr(RunFilter(), name) for name in RunFilter.__struct_fields__)


def test_a_page_says_whether_there_is_another() -> None:
    assert Page(items=[1]).next_cursor is None
    assert Page(items=[1], next_cursor="c").next_cursor == "c"


def test_a_run_as_people_see_it_holds_its_steps() -> None:
    step = StepView(
        key="a:2",
        name="a",
        kind=StepKind.STEP,
        status=StepStatus.COMPLETED,
        attempts=1,
        started_at=AT,
        ended_at=AT,
    )
    run = Run(
        id="r", workflow_id="w", status=RunStatus.RUNNING, input=None, output=None, error=None, attempt=1, created_at=AT,
        started_at=AT, ended_at=None, wake_at=None, waits=(), queue="default", priority=0, version=None, parent=None,
        pause_reason=None, pause_detail="", seq=1, steps=[step],
    )  # fmt: skip

    assert run.steps[0].name == "a"
    assert run.tags == {}
