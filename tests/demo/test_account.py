"""The demo's proof must be able to fail: a step that ran too often is not explained away."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from demo.account import settle
from demo.ledger import Entry
from demo.picture import Line, State, draw
from demo.timeline import DOWN, LOST, WORK, Row, Span, render, spans_of
from stepflow import StepKind

T0 = datetime(2026, 1, 1, tzinfo=UTC)
KILLED = T0 + timedelta(seconds=10)


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def body(label: str, seconds: float) -> Entry:
    return Entry(step=label, pid=1, at=at(seconds).isoformat())


def line(label: str, *bodies: float, attempts: int = 1) -> Line:
    return Line(
        label=label,
        group=label,
        kind=StepKind.STEP,
        state=State.DONE,
        attempts=attempts,
        bodies=tuple(body(label, seconds) for seconds in bodies),
        started_at=at(bodies[-1]),
        ended_at=at(bodies[-1] + 2),
    )


def test_steps_are_told_apart_by_what_the_crash_did_to_them() -> None:
    lines = [line("early", 1), line("cut off", 9, 12), line("late", 14), line("refused", 15, 16, attempts=2)]

    account = settle(lines, {"early"}, KILLED)

    assert account.survived == ("early",)
    assert account.repeated == ("cut off",)
    assert account.later == ("late", "refused")
    assert account.retried == 1
    assert account.unexplained == ()


def test_a_finished_step_that_ran_again_is_not_explained_away() -> None:
    assert settle([line("early", 1, 12)], {"early"}, KILLED).unexplained == ("early",)


def test_a_late_step_that_ran_twice_is_not_explained_away() -> None:
    assert settle([line("late", 12, 13)], set(), KILLED).unexplained == ("late",)


def test_a_step_without_a_body_is_not_explained_away() -> None:
    ghost = line("ghost", 1)
    ghost = Line(
        label="ghost", group="ghost", kind=ghost.kind, state=ghost.state, attempts=1, bodies=(),
        started_at=ghost.started_at, ended_at=ghost.ended_at,
    )  # fmt: skip

    assert settle([ghost], {"ghost"}, KILLED).unexplained == ("ghost",)


def test_a_body_that_the_storage_does_not_know_is_at_work_or_was_killed() -> None:
    ledger = [body("tally[1]", 9), body("tally[2]", 11)]

    lines = draw([], ledger, KILLED)

    assert [(found.label, found.group, found.state) for found in lines] == [
        ("tally[1]", "tally", State.KILLED),
        ("tally[2]", "tally", State.RUNNING),
    ]


def test_the_timeline_shows_what_the_crash_cut_off_and_what_was_kept() -> None:
    assert spans_of(line("cut off", 9, 12), KILLED) == (
        Span(at(9), KILLED, LOST),
        Span(at(12), at(14), WORK),
    )


def test_bars_lie_where_their_time_lies() -> None:
    row = Row(name="a", spans=(Span(at(0), at(4), WORK), Span(at(8), at(10), WORK)), note="")

    [drawn] = render([row], Span(at(5), at(6), DOWN), at(0), at(10), width=5 + 20)

    assert drawn.count(DOWN) == 3
    assert drawn.index(DOWN) > drawn.index(WORK)
    assert drawn.rindex(WORK) > drawn.rindex(DOWN)
