"""The logging hook: one readable line for every fact, at a fitting level, safe to show in a terminal."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from typing import Any, get_args

import pytest

from stepflow import hooks
from stepflow.hooks import Fact
from stepflow.model.failures import Failure
from stepflow.model.states import PauseReason, RunStatus
from stepflow.observability.logging import LoggingHook, get_logger, safe_text

AT = datetime(2024, 1, 1, tzinfo=UTC)
LATER = AT + timedelta(seconds=90)
RUN: dict[str, Any] = {"at": AT, "run_id": "r1", "workflow_id": "checkout"}
STEP: dict[str, Any] = {**RUN, "key": "audit/charge:2", "name": "charge"}
BAD = Failure(type="shop.Declined", message="no\nfunds")

D, I, W = logging.DEBUG, logging.INFO, logging.WARNING  # noqa: E741
LINES: list[tuple[Fact, int, str]] = [
    (hooks.RunCreated(**RUN), I, "run r1 (checkout) created on queue default"),
    (hooks.RunStarted(**RUN), I, "run r1 (checkout) started"),
    (hooks.RunStarted(**RUN, attempt=2), I, "run r1 (checkout) started again, attempt 2"),
    (hooks.RunResumed(**RUN), I, "run r1 (checkout) resumed"),
    (hooks.RunResumed(**RUN, takeover=True), I, "run r1 (checkout) taken over"),
    (hooks.RunSuspended(**RUN), I, "run r1 (checkout) suspended until it is woken"),
    (
        hooks.RunSuspended(**RUN, wake_at=LATER, waits_for=("shipped/1",)),
        I,
        "run r1 (checkout) suspended until 2024-01-01T00:01:30+00:00 or event shipped/1",
    ),
    (hooks.RunPaused(**RUN, reason=PauseReason.REQUESTED), W, "run r1 (checkout) paused: requested"),
    (
        hooks.RunPaused(**RUN, reason=PauseReason.POISONED, detail="10 crashes"),
        W,
        "run r1 (checkout) paused: poisoned (10 crashes)",
    ),
    (
        hooks.RunRetried(**RUN, attempt=1, error=BAD, retry_at=LATER),
        W,
        r"run r1 (checkout) failed on attempt 1, begins again in 1m30s: shop.Declined: no\nfunds",
    ),
    (hooks.RunEnded(**RUN, status=RunStatus.CANCELLED), I, "run r1 (checkout) cancelled"),
    (
        hooks.RunEnded(**RUN, status=RunStatus.COMPLETED, duration=timedelta(hours=2, microseconds=5)),
        I,
        "run r1 (checkout) completed after 2h",
    ),
    (
        hooks.RunEnded(**RUN, status=RunStatus.FAILED, duration=timedelta(milliseconds=1500), error=BAD),
        W,
        r"run r1 (checkout) failed after 1s500ms: shop.Declined: no\nfunds",
    ),
    (hooks.StepStarted(**STEP, attempt=1), D, "run r1 (checkout): step audit/charge:2 started"),
    (hooks.StepStarted(**STEP, attempt=2), D, "run r1 (checkout): step audit/charge:2 started, attempt 2"),
    (
        hooks.StepFinished(**STEP, attempt=1, duration=timedelta(microseconds=12_345)),
        D,
        "run r1 (checkout): step audit/charge:2 completed in 12ms",
    ),
    (
        hooks.StepFinished(**STEP, attempt=3, duration=timedelta(0), error=Failure(type="X", message="")),
        W,
        "run r1 (checkout): step audit/charge:2 failed on attempt 3: X",
    ),
    (
        hooks.StepRetried(
            **STEP, attempt=1, duration=timedelta(0), error=BAD, retry_at=AT - timedelta(seconds=1)
        ),
        W,
        r"run r1 (checkout): step audit/charge:2 failed on attempt 1, next in 0s: shop.Declined: no\nfunds",
    ),
    (hooks.EventSent(at=AT, event_id="shipped/1"), D, "event shipped/1 sent"),
    (hooks.EventSent(at=AT, event_id="shipped/1", run_id="r1"), D, "event shipped/1 sent to run r1"),
    (hooks.WorkerStarted(at=AT, worker_id="w1"), I, "worker w1 started on no queue"),
    (hooks.WorkerStarted(at=AT, worker_id="w1", queues=("a", "b")), I, "worker w1 started on a, b"),
    (hooks.WorkerStopped(at=AT, worker_id="w1"), I, "worker w1 stopped"),
    (hooks.WorkerStopped(at=AT, worker_id="w1", clean=False), W, "worker w1 stopped, cutting off steps"),
]


def test_every_kind_of_fact_is_tried_here() -> None:
    kinds = {kind for group in get_args(Fact) for kind in get_args(group) or (group,)}

    assert {type(fact) for fact, _, _ in LINES} == kinds


@pytest.mark.parametrize(("fact", "level", "line"), LINES, ids=[line for _, _, line in LINES])
def test_a_fact_is_one_readable_line(
    fact: Fact, level: int, line: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, "stepflow.facts"):
        LoggingHook()(fact)

    (record,) = caplog.records
    assert (record.name, record.levelno, record.getMessage()) == ("stepflow.facts", level, line)


def test_a_record_carries_what_a_formatter_of_json_needs(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "stepflow.facts"):
        LoggingHook()(hooks.StepStarted(**STEP, attempt=1))

    fields = vars(caplog.records[0])
    assert (fields["fact"], fields["run_id"], fields["workflow_id"], fields["step"]) == (
        "StepStarted",
        "r1",
        "checkout",
        "audit/charge:2",
    )


def test_nothing_is_written_below_the_level(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "stepflow.facts"):
        LoggingHook()(hooks.StepStarted(**STEP, attempt=1))

    assert caplog.records == []


def test_a_logger_of_ones_own_is_used(caplog: pytest.LogCaptureFixture) -> None:
    LoggingHook(logging.getLogger("mine"))(hooks.RunPaused(**RUN, reason=PauseReason.REQUESTED))

    assert caplog.records[0].name == "mine"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain ü 日本", "plain ü 日本"),
        ("a\nb\r\tc", r"a\nb\r\tc"),
        ("\x1b[31mred", r"\x1b[31mred"),
        ("\u2028\u202e\x00", r"\u2028\u202e\x00"),
        ("\ud800", r"\ud800"),
        ("x" * 1000, "x" * 499 + "…"),
    ],
)
def test_what_a_terminal_would_obey_is_written_out(text: str, expected: str) -> None:
    assert safe_text(text) == expected


def test_loggers_are_named_below_stepflow() -> None:
    assert get_logger("worker").name == "stepflow.worker"
    assert get_logger().name == "stepflow"
