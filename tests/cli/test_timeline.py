"""Bars: a run's time, computed from its journal."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from stepflow.cli.timeline import STILL, WAIT, WORK, Bar, Scale, Segment, bars, draw
from stepflow.model.events import Wait
from stepflow.model.folding import fold_steps
from stepflow.model.journal import (
    ChildEnded,
    ChildStarted,
    Claimed,
    Ended,
    Entry,
    EventReceived,
    StepCompleted,
    Suspended,
    TimerFired,
)
from stepflow.model.payloads import NULL, Payload
from stepflow.model.states import RunStatus
from stepflow.model.steps import Run

T0 = datetime(2026, 1, 1, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def a_run(
    entries: list[Entry],
    *,
    started_at: datetime | None = T0,
    ended_at: datetime | None = None,
    status: RunStatus = RunStatus.RUNNING,
) -> Run:
    return Run(
        id="r1", workflow_id="w", status=status, input=None, output=None, error=None, attempt=1,
        created_at=T0, started_at=started_at, ended_at=ended_at, wake_at=None, waits=(), queue="default", priority=0,
        version=None, parent=None, pause_reason=None, pause_detail="", seq=1, steps=fold_steps(entries),
    )  # fmt: skip


def spans(rows: list[Bar]) -> dict[str, list[tuple[float, float, str]]]:
    return {
        row.key: [
            ((each.start - T0).total_seconds(), (each.end - T0).total_seconds(), each.look)
            for each in row.segments
        ]
        for row in rows
    }


def test_the_runs_bar_tells_queue_work_and_sleep_apart() -> None:
    entries: list[Entry] = [
        Claimed(at=at(1), worker="w1"),
        StepCompleted(at=at(3), key="a", function="f", value=NULL, started_at=at(1)),
        Suspended(at=at(3), waits=(Wait(event_id="paid", after=0),)),
        Claimed(at=at(8), worker="w2"),
        EventReceived(at=at(8), key="paid", event_id="paid", pos=1, payload=Payload(msgspec.Raw(b"1"))),
        Ended(at=at(9), status=RunStatus.COMPLETED),
    ]

    found = spans(bars(a_run(entries, ended_at=at(9)), entries, now=at(50)))

    assert found[""] == [(0, 1, STILL), (1, 3, WORK), (3, 8, WAIT), (8, 9, WORK)]
    assert found["a"] == [(1, 3, WORK)]
    assert found["paid"] == [(3, 8, WAIT)]


def test_sleeps_and_children_have_their_time_too() -> None:
    entries: list[Entry] = [
        Claimed(at=at(1), worker="w1"),
        ChildStarted(at=at(1), key="pack", child_id="c", workflow_id="pack"),
        TimerFired(at=at(4), key="rest", delay=2_000_000, sleep=True),
        ChildEnded(
            at=at(5), key="pack~end", child_id="c", workflow_id="pack", pos=1, status=RunStatus.COMPLETED
        ),
    ]

    found = spans(bars(a_run(entries), entries, now=at(6)))

    assert found["rest"] == [(2, 4, WAIT)]
    assert found["pack"] == [(1, 5, WAIT)]
    assert found[""][-1] == (1, 6, WORK)  # it goes on


@pytest.mark.parametrize("width", [1, 7, 80])
def test_every_bar_fits_and_is_at_least_one_column_wide(width: int) -> None:
    rows = [
        Bar("", "running", (Segment(T0, at(100), WORK),)),
        Bar("last", "completed", (Segment(at(100), at(100), WORK),)),
        Bar("first", "completed", (Segment(T0, T0, WORK),)),
    ]
    scale = Scale.over(rows, width)

    for row in rows:
        drawn = draw(row, scale)
        assert sum(count for _, count in drawn) == width
        assert any(look == WORK for look, _ in drawn)


def test_a_moment_of_work_is_not_hidden_by_the_sleep_around_it() -> None:
    segments = (
        Segment(T0, at(50), WAIT),
        Segment(at(50), at(50.001), WORK),
        Segment(at(50.001), at(100), WAIT),
    )
    row = Bar("", "completed", segments)

    assert draw(row, Scale.over([row], 10)) == [(WAIT, 5), (WORK, 1), (WAIT, 4)]


def test_a_run_that_was_given_back_is_queued_since() -> None:
    entries: list[Entry] = [
        Claimed(at=at(1), worker="w1"),
        StepCompleted(at=at(3), key="a", function="f", value=NULL, started_at=at(1)),
    ]

    found = spans(bars(a_run(entries, status=RunStatus.QUEUED), entries, now=at(9)))

    assert found[""] == [(0, 1, STILL), (1, 3, WORK), (3, 9, STILL)]


def test_a_run_without_any_time_can_be_drawn() -> None:
    run = a_run([], started_at=None)

    rows = bars(run, [], now=T0)

    assert draw(rows[0], Scale.over(rows, 10)) == [(STILL, 1), ("", 9)]
