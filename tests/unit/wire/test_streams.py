"""Streams: what each entry of a journal means to those who watch, and the cursors that resume a stream."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from stepflow.errors import InputError
from stepflow.model import journal
from stepflow.model.events import Wait
from stepflow.model.failures import Failure
from stepflow.model.payloads import Payload
from stepflow.model.runs import RunRecord
from stepflow.model.states import PauseReason, RunStatus
from stepflow.wire import records, streams
from stepflow.wire.records import View
from stepflow.wire.streams import START, Position, encode_positions, parse_cursor, parse_positions

AT = datetime(2026, 1, 31, 12, 0, 0, 5000, UTC)
VIEW = View(text=lambda payload: bytes(payload.data))
FAILURE = Failure(type="ValueError", message="no luck")
ONE = Payload(msgspec.Raw(b"1"))
RUN = RunRecord(
    id="r1",
    workflow_id="order",
    status=RunStatus.COMPLETED,
    input=ONE,
    output=ONE,
    failure=FAILURE,
    created_at=AT,
    created_pos=1,
)
STEP: dict[str, Any] = {"at": AT, "key": "pay"}

TABLE: list[tuple[journal.Entry, str | None, dict[str, Any]]] = [
    (journal.Claimed(at=AT, worker="w", takeover=True), "run:resumed", {"takeover": True}),
    (journal.Resumed(at=AT), "run:resumed", {"takeover": False}),
    (journal.AttemptStarted(at=AT, attempt=2), "run:retrying", {"attempt": 2}),
    (
        journal.RunAttemptFailed(at=AT, attempt=1, failure=FAILURE, retry_at=AT),
        "run:retrying",
        {"attempt": 1, "wakeAt": "2026-01-31T12:00:00.005Z"},
    ),
    (journal.Continued(at=AT, input=ONE, generation=2), "run:continued", {"generation": 2}),
    (journal.CancelRequested(at=AT), "run:cancelling", {}),
    (journal.RunTimedOut(at=AT), None, {}),
    (
        journal.Suspended(at=AT, waits=(Wait(event_id="e", after=0, name="n"),)),
        "run:suspended",
        {"wakeAt": None, "waits": [{"eventId": "e", "name": "n", "until": None}]},
    ),
    (
        journal.Paused(at=AT, reason=PauseReason.STUCK, detail="d"),
        "run:paused",
        {"reason": "stuck", "detail": "d"},
    ),
    (
        journal.StepCompleted(**STEP, function="f", value=ONE, attempts=2),
        "step:complete",
        {"result": 1, "attempt": 2},
    ),
    (journal.StepFailed(**STEP, function="f", failure=FAILURE), "step:failed", {"stepName": "pay"}),
    (journal.StepIntended(**STEP, function="f"), None, {}),
    (
        journal.AttemptFailed(**STEP, function="f", attempt=1, failure=FAILURE, retry_at=AT),
        None,
        {},
    ),
    (journal.StepInterrupted(**STEP, function="f"), "step:failed", {"error": None}),
    (journal.TimerFired(**STEP, delay=5, sleep=True), "step:complete", {"result": None}),
    (journal.TimerFired(**STEP, delay=5), None, {}),
    (journal.EventReceived(**STEP, event_id="e", pos=1, payload=ONE), "step:complete", {"result": 1}),
    (journal.EventTimedOut(**STEP, event_id="e"), "step:failed", {"error": None}),
    (journal.EventSent(**STEP, event_id="e"), "step:complete", {"result": None}),
    (journal.ChildStarted(**STEP, child_id="c", workflow_id="w"), None, {}),
    (journal.ChildStarted(**STEP, child_id="c", workflow_id="w", detached=True), "step:complete", {}),
    (
        journal.ChildEnded(
            at=AT, key="pay~end", child_id="c", workflow_id="w", pos=1, status=RunStatus.COMPLETED, value=ONE
        ),
        "step:complete",
        {"key": "pay", "stepName": "pay", "result": 1},
    ),
    (
        journal.ChildEnded(
            at=AT,
            key="pay~end",
            child_id="c",
            workflow_id="w",
            pos=1,
            status=RunStatus.FAILED,
            failure=FAILURE,
        ),
        "step:failed",
        {"key": "pay", "error": {"type": "ValueError", "message": "no luck"}},
    ),
    (journal.Ended(at=AT, status=RunStatus.COMPLETED), "execution:complete", {"data": 1}),
    (
        journal.Ended(at=AT, status=RunStatus.FAILED),
        "execution:failed",
        {"error": {"type": "ValueError", "message": "no luck"}},
    ),
    (journal.Ended(at=AT, status=RunStatus.CANCELLED), "execution:cancelled", {}),
]


@pytest.mark.parametrize(("entry", "name", "data"), TABLE)
def test_each_entry_is_told_as_the_specification_says(
    entry: journal.Entry, name: str | None, data: dict[str, Any]
) -> None:
    event = streams.journal_event(entry, RUN, VIEW)

    if name is None:
        assert event is None
        return
    assert event is not None
    written = msgspec.json.decode(records.encode(event))
    assert (streams.event_name(event), written["type"], written["runId"]) == (name, name, "r1")
    assert written["at"] == "2026-01-31T12:00:00.005Z"
    assert {**written, **data} == written


@pytest.mark.parametrize("status", [RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELLED])
def test_a_run_ends_at_the_instant_of_its_record_not_when_its_worker_decided_it(status: RunStatus) -> None:
    durable = AT + timedelta(minutes=5)  # the storage was away meanwhile

    event = streams.journal_event(journal.Ended(at=AT, status=status), replace(RUN, ended_at=durable), VIEW)

    assert event is not None
    assert event.at == durable


def test_every_kind_of_entry_is_in_the_table() -> None:
    assert {type(entry) for entry, _, _ in TABLE} == set(get_args(journal.Entry))


@pytest.mark.parametrize(("entry", "name", "data"), TABLE)
def test_each_event_comes_back_as_it_was_sent(
    entry: journal.Entry, name: str | None, data: dict[str, Any]
) -> None:
    event = streams.journal_event(entry, RUN, VIEW)
    if event is None:
        return

    back = streams.read_event(streams.event_name(event), records.encode(event))

    assert type(back) is type(event)
    assert back is not None
    assert (back.run_id, back.at) == ("r1", AT)


def test_every_event_has_its_place_in_the_list_and_the_union() -> None:
    assert set(streams.EVENT_TYPES) == set(get_args(streams.StreamEvent))


def test_an_event_of_a_newer_server_is_nobody_s_error() -> None:
    assert streams.read_event("step:dreaming", b"{}") is None


def test_a_value_is_hidden_from_those_who_may_not_see_it() -> None:
    hiding = View(text=VIEW.text, values=False)

    for entry, name, _ in TABLE:
        if name is not None:
            event = streams.journal_event(entry, RUN, hiding)
            assert b"no luck" not in records.encode(event)
            assert b'"result":1' not in records.encode(event)
            assert b'"data":1' not in records.encode(event)
            assert b'"detail":"d"' not in records.encode(event)


def test_what_the_journal_tells_late_is_told_as_something_transient() -> None:
    start = streams.transient_event(journal.StepIntended(**STEP, function="f"), "r1", VIEW)
    retry = streams.transient_event(
        journal.AttemptFailed(**STEP, function="f", attempt=2, failure=FAILURE, retry_at=AT), "r1", VIEW
    )

    assert isinstance(start, streams.StepStart)
    assert isinstance(retry, streams.StepRetry)
    assert (retry.attempt, retry.wake_at) == (2, AT)
    assert streams.transient_event(journal.Resumed(at=AT), "r1", VIEW) is None


# ------------------------------------------------------------------ cursors
@given(st.integers(1, 10**18), st.integers(0, 10**8))
def test_a_place_is_read_from_its_own_text(seq: int, place: int) -> None:
    assert parse_cursor(str(Position(seq, place))) == (seq, place)


def test_the_beginning_is_written_as_0() -> None:
    assert parse_cursor("0") == START
    assert str(START) == "0"


@pytest.mark.parametrize(
    "text", ["", "a", "1", "-1.0", "1.-1", "1.0\n", "٣.0", "9" * 20 + ".0", "1.0.0", " 1.0"]
)
def test_anything_else_is_no_cursor(text: str) -> None:
    with pytest.raises(InputError):
        parse_cursor(text)


@given(
    st.dictionaries(
        st.text(min_size=1, max_size=5), st.builds(Position, st.integers(0, 10**9), st.integers(-1, 99))
    )
)
def test_places_in_several_runs_are_one_cursor(positions: dict[str, Position]) -> None:
    cursor = encode_positions(positions)

    assert parse_positions(cursor, list(positions)) == positions
    assert parse_positions(cursor, [*positions, "another run"]) is None
    assert parse_positions("0", ["a", "b"]) == {"a": START, "b": START}


@pytest.mark.parametrize("text", ["", "a b", "x" * 9000, "AAAA", "a", "ké"])
def test_what_is_no_cursor_of_several_runs_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        parse_positions(text, ["a"])
