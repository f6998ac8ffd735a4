"""Logs: the names of Stepflow's loggers, and a hook that writes every fact as one line."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import assert_never

from stepflow.durations import format_duration
from stepflow.hooks import (
    EventSent,
    Fact,
    RunCreated,
    RunEnded,
    RunFact,
    RunPaused,
    RunResumed,
    RunRetried,
    RunStarted,
    RunSuspended,
    StepFact,
    StepFinished,
    StepRetried,
    StepStarted,
    WorkerStarted,
    WorkerStopped,
)
from stepflow.model.failures import Failure
from stepflow.model.states import RunStatus

ROOT = "stepflow"
_LONGEST_TEXT = 500


def get_logger(name: str = "") -> logging.Logger:
    """The logger ``stepflow`` or one below it: ``get_logger("worker")`` is ``stepflow.worker``.

    Names say what speaks (``worker``, ``storage.sqlite``, ``facts``), never where its code lives; configuration may rely on them. Stepflow adds no
    handler and sets no level: that is the program's business.
    """
    return logging.getLogger(f"{ROOT}.{name}" if name else ROOT)


class LoggingHook:
    """Logs every fact as one line, under ``stepflow.facts``: ``Stepflow(..., hooks=[LoggingHook()])``.

    Failures and pauses are warnings, what concerns whole runs and workers is info, steps and events are debug. What a
    record's ``extra`` holds (``run_id``, ``workflow_id``, ``step``, ``fact``) is for formatters that write JSON. Names and messages come from anywhere,
    so line breaks and terminal escapes in them are written as ``\\n`` and ``\\x1b``. Inputs, results and tracebacks are not logged.
    """

    __slots__ = ("_logger",)

    def __init__(self, logger: logging.Logger | None = None) -> None:
        self._logger = logger if logger is not None else get_logger("facts")

    def __call__(self, fact: Fact, /) -> None:
        level = _level_of(fact)
        if self._logger.isEnabledFor(level):
            self._logger.log(level, "%s", _line(fact), extra=_extra(fact))


def safe_text(text: str) -> str:
    """The text on one line, without anything that a terminal or a log file would obey, at most 500 characters."""
    shown = text if len(text) <= _LONGEST_TEXT else f"{text[: _LONGEST_TEXT - 1]}…"
    if shown.isprintable():
        return shown
    return "".join(each if each.isprintable() else _escaped(each) for each in shown)


def _escaped(character: str) -> str:
    return ascii(character)[1:-1]  # \n, \x1b, \u2028


def _level_of(fact: Fact) -> int:
    match fact:
        case RunPaused() | RunRetried() | StepRetried():
            return logging.WARNING
        case RunEnded(status=status):
            return logging.WARNING if status is RunStatus.FAILED else logging.INFO
        case StepFinished(error=error):
            return logging.DEBUG if error is None else logging.WARNING
        case StepStarted() | EventSent():
            return logging.DEBUG
        case WorkerStopped(clean=clean):
            return logging.INFO if clean else logging.WARNING
        case RunCreated() | RunStarted() | RunResumed() | RunSuspended() | WorkerStarted():
            return logging.INFO
        case _:
            assert_never(fact)


def _line(fact: Fact) -> str:
    match fact:
        case EventSent(event_id=event_id, run_id=run_id):
            return f"event {safe_text(event_id)} sent" + (f" to run {safe_text(run_id)}" if run_id else "")
        case WorkerStarted(worker_id=worker, queues=queues):
            return f"worker {safe_text(worker)} started on {', '.join(map(safe_text, queues)) or 'no queue'}"
        case WorkerStopped(worker_id=worker, clean=clean):
            return f"worker {safe_text(worker)} stopped" + ("" if clean else ", cutting off steps")
        case StepStarted() | StepFinished() | StepRetried():
            return f"{_run(fact)}: step {safe_text(fact.key)} {_of_step(fact)}"
        case _:
            return f"{_run(fact)} {_of_run(fact)}"


def _run(fact: RunFact | StepFact) -> str:
    return f"run {safe_text(fact.run_id)} ({safe_text(fact.workflow_id)})"


def _of_step(fact: StepFact) -> str:
    match fact:
        case StepStarted():
            return "started" if fact.attempt == 1 else f"started, attempt {fact.attempt}"
        case StepFinished():
            if fact.error is None:
                return f"completed in {_short(fact.duration)}"
            return f"failed on attempt {fact.attempt}: {_failure(fact.error)}"
        case StepRetried():
            wait = _short(fact.retry_at - fact.at)
            return f"failed on attempt {fact.attempt}, next in {wait}: {_failure(fact.error)}"
        case _:
            assert_never(fact)


def _of_run(fact: RunFact) -> str:
    match fact:
        case RunCreated():
            return f"created on queue {safe_text(fact.queue)}"
        case RunStarted():
            return "started" if fact.attempt == 1 else f"started again, attempt {fact.attempt}"
        case RunResumed():
            return "taken over" if fact.takeover else "resumed"
        case RunSuspended():
            until = [fact.wake_at.isoformat()] if fact.wake_at else []
            until += [f"event {safe_text(event_id)}" for event_id in fact.waits_for]
            return f"suspended until {' or '.join(until) or 'it is woken'}"
        case RunPaused():
            return f"paused: {fact.reason.value}" + (f" ({safe_text(fact.detail)})" if fact.detail else "")
        case RunRetried():
            wait = _short(fact.retry_at - fact.at)
            return f"failed on attempt {fact.attempt}, begins again in {wait}: {_failure(fact.error)}"
        case RunEnded():
            after = f" after {_short(fact.duration)}" if fact.duration is not None else ""
            why = f": {_failure(fact.error)}" if fact.error is not None else ""
            return f"{fact.status.value}{after}{why}"
        case _:
            assert_never(fact)


def _failure(failure: Failure) -> str:
    return safe_text(f"{failure.type}: {failure.message}" if failure.message else failure.type)


def _short(duration: timedelta) -> str:
    """To the millisecond below a minute, to the second above."""
    exact = timedelta(milliseconds=1) if duration < timedelta(minutes=1) else timedelta(seconds=1)
    return format_duration(max(duration, timedelta(0)) // exact * exact)


def _extra(fact: Fact) -> dict[str, str]:
    """Only what the fact has; raw values, for formatters that escape by themselves."""
    names = {"run_id": "run_id", "workflow_id": "workflow_id", "key": "step", "event_id": "event_id"}
    found = {label: getattr(fact, name, None) for name, label in names.items()}
    return {
        "fact": type(fact).__name__,
        **{label: value for label, value in found.items() if value is not None},
    }
