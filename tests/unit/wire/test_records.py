"""Records: runs and steps as they travel, within their limits and in both directions."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepflow.model.events import Wait
from stepflow.model.failures import Failure
from stepflow.model.payloads import Payload
from stepflow.model.runs import ParentLink, RunRecord
from stepflow.model.states import PauseReason, RunStatus
from stepflow.model.steps import StepKind, StepStatus, StepView
from stepflow.wire import records
from stepflow.wire.records import Run, View, instant, omitted_size, run_item, run_record, step_records

AT = datetime(2026, 1, 31, 12, 0, 0, 123_999, UTC)


def text(payload: Payload) -> bytes:
    return bytes(payload.data)


def payload(value: Any) -> Payload:
    return Payload(msgspec.Raw(msgspec.json.encode(value)))


VIEW = View(text=text)


def a_run(**changes: Any) -> RunRecord:
    run = RunRecord(
        id="r1",
        workflow_id="order",
        status=RunStatus.FAILED,
        input=payload({"a": 1}),
        created_at=AT,
        created_pos=1,
        failure=Failure(type="ValueError", message="no luck", traceback="line 1"),
    )
    return msgspec.structs.replace(run, **changes)


def a_step(number: int, value: Any = None) -> StepView:
    return StepView(
        key=f"s{number}",
        name=f"s{number}",
        kind=StepKind.STEP,
        status=StepStatus.COMPLETED,
        attempts=1,
        started_at=None,
        ended_at=AT,
        result=payload(value),
    )


def as_json(record: object) -> Any:
    return msgspec.json.decode(records.encode(record))


def test_names_are_camel_case_and_times_have_milliseconds() -> None:
    written = as_json(run_record(a_run(), [a_step(1)], VIEW))

    assert written["workflowId"] == "order"
    assert written["createdAt"] == "2026-01-31T12:00:00.123Z"
    assert written["steps"][0]["endedAt"] == "2026-01-31T12:00:00.123Z"


@given(st.datetimes(timezones=st.just(UTC)), st.integers(-14 * 60, 14 * 60))
def test_a_time_travels_in_utc_and_comes_back(at: datetime, minutes: int) -> None:
    try:
        elsewhere = at.astimezone(timezone(timedelta(minutes=minutes)))
    except OverflowError:
        return  # no such date there

    back = records.decode(records.encode(instant(elsewhere)), datetime)

    assert at - back < timedelta(milliseconds=1)
    assert back <= at


def test_a_run_comes_back_as_it_was_sent() -> None:
    run = a_run(
        status=RunStatus.PAUSED,
        waits=(Wait(event_id="e", after=3, name="n", until=AT),),
        tags={"a": "b"},
        parent=ParentLink(run_id="p", key="k"),
        pause_reason=PauseReason.POISONED,
        pause_detail="ten workers",
        due_at=AT,
        output=payload([1]),
    )

    back = records.decode(records.encode(run_record(run, [a_step(1, "x")], VIEW)), Run)

    assert (back.id, back.status, back.input, back.output) == ("r1", "paused", {"a": 1}, [1])
    assert (back.waits[0].event_id, back.tags, back.parent_id) == ("e", {"a": "b"}, "p")
    assert (back.pause_reason, back.pause_detail, back.steps[0].result) == ("poisoned", "ten workers", "x")
    assert back.wake_at == AT.replace(microsecond=123_000)


def test_what_a_newer_server_adds_is_ignored() -> None:
    sent = {**as_json(run_record(a_run(), [], VIEW)), "status": "dreaming", "colour": "blue"}

    assert records.decode(msgspec.json.encode(sent), Run).status == "dreaming"


def test_a_value_over_its_limit_is_left_out_with_its_size() -> None:
    long = "x" * records.VALUE_LIMIT
    run = a_run(input=payload(long), output=payload(long))

    bounded = as_json(run_record(run, [a_step(1, long)], VIEW))
    whole = as_json(run_record(run, [a_step(1, long)], View(text=text, whole=True)))

    assert bounded["input"] == bounded["output"] == {"omitted": len(long) + 2}
    assert (whole["input"], whole["output"]) == (long, long)
    assert whole["steps"][0]["result"] == {"omitted": len(long) + 2}
    assert omitted_size(bounded["input"]) == len(long) + 2


@pytest.mark.parametrize("value", [None, {}, {"omitted": "x"}, {"omitted": 1, "b": 2}, [1]])
def test_what_only_looks_like_it_was_not_left_out(value: Any) -> None:
    assert omitted_size(value) is None


def test_the_last_steps_travel_and_the_others_are_counted() -> None:
    steps = [a_step(number) for number in range(records.STEPS_LIMIT + 3)]

    run = run_record(a_run(), steps, VIEW)

    assert [step.key for step in run.steps] == [step.key for step in steps[3:]]
    assert run.steps_omitted == 3
    assert len(step_records(steps, VIEW)) == len(steps)


def test_a_traceback_and_values_are_for_those_who_may_see_them() -> None:
    run = a_run(output=payload(1), pause_detail="the value 5")

    shown = run_record(run, [a_step(1, 5)], View(text=text, tracebacks=True))
    plain = run_record(run, [a_step(1, 5)], VIEW)
    hidden = run_record(run, [a_step(1, 5)], View(text=text, values=False, tracebacks=True))

    assert shown.error is not None
    assert plain.error is not None
    assert hidden.error is not None
    assert (shown.error.traceback, plain.error.traceback) == ("line 1", "")
    assert (hidden.input, hidden.output, hidden.steps[0].result, hidden.pause_detail) == (
        None,
        None,
        None,
        "",
    )
    assert (hidden.error.type, hidden.error.message, hidden.error.traceback) == ("ValueError", "", "")


def test_a_listed_run_has_neither_values_nor_steps() -> None:
    assert {"input", "output", "steps"}.isdisjoint(as_json(run_item(a_run(failure=None), VIEW)))


def test_what_has_no_form_on_the_wire_is_not_sent() -> None:
    with pytest.raises(NotImplementedError, match="object"):
        records.encode(object())
