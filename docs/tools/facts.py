"""Pages of plain facts, read from the code: limits and failpoints."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

import stepflow
from stepflow import failpoints
from stepflow._engine import timers
from stepflow._runtime import driver, keeping, loading, steps, worker
from stepflow.codecs import faults
from stepflow.codecs import json as values
from stepflow.durations import format_duration
from stepflow.model import failures
from stepflow.primitives import fanout
from stepflow.retry import RETRY_AFTER_LONGEST, RETRY_AFTER_SHORTEST
from stepflow.storage._rules import claims

_SOURCES = Path(stepflow.__file__).parent


def _size(count: int) -> str:
    for unit, size in (("MiB", 1024 * 1024), ("KiB", 1024)):
        if count >= size and count % size == 0:
            return f"{count // size} {unit}"
    return f"{count:,} bytes"


def _time(duration: timedelta) -> str:
    return format_duration(duration)


def limits() -> str:
    """``reference/limits.md``."""
    hot = driver.HOT
    rows = {
        "Ids and names": [
            (
                "run, workflow, queue and worker ids",
                "1–200 of letters, digits and `. _ ~ : @ -`, the first a letter or digit",
            ),
            (
                "event ids",
                "1–200 printable characters; `/` separates segments, of which none is empty, `.` or `..`; not beginning with `run/`",
            ),
            ("names and keys of steps, sleeps and waits", "1–200 printable characters"),
            ("idempotency keys of runs", "1–500 characters"),
            ("ids of single events (`notify(id=)`)", "1–200 characters"),
            ("tags of a run", "at most 50; names 1–100 characters, values at most 500"),
            ("priority", "a whole number from −2³¹ to 2³¹"),
        ],
        "Values": [
            (
                "an input, a step's result, an event's payload, an output",
                f"{_size(values.DEFAULT_LIMIT)} of JSON; more raises `PayloadTooLargeError`",
            ),
            ("nesting of a value", f"{faults.MAXIMUM_DEPTH} levels"),
            ("recorded message of a failure", f"{failures.MESSAGE_LIMIT:,} characters; the rest is cut off"),
            ("recorded traceback", f"{failures.TRACEBACK_LIMIT:,} characters; the rest is cut off"),
        ],
        "Time": [
            (
                "durations",
                "0 and more, exact to the microsecond; never months or years; up to the longest `timedelta`",
            ),
            (
                "a delay that suspends the run (sleep, retry)",
                f"longer than {_time(hot)}; shorter ones are waited for in memory",
            ),
            ("`RetryAfter`", f"clamped to {_time(RETRY_AFTER_SHORTEST)} … {_time(RETRY_AFTER_LONGEST)}"),
            ("fallback look-up, should every hint be lost", f"every {_time(worker.POLL)}"),
            (
                "a timer of a run that was taken over while it executed",
                f"falls due no earlier than its own delay, or {_time(timers.TAKEOVER_GRACE)}, after the takeover: a crash must not expire all timeouts",
            ),
        ],
        "One run": [
            ("step bodies that execute at once", f"{steps.PER_RUN}"),
            ("members of `step.map` in flight, by default", f"{fanout.DEFAULT_CONCURRENCY}"),
            (
                "takeovers without progress, before it is paused as `poisoned`",
                f"{loading.CLAIMS_WITHOUT_PROGRESS}",
            ),
        ],
        "One worker": [
            ("runs in memory", "1,000 (`concurrency=`)"),
            ("plain `def` steps at once", "32 (`threads=`)"),
            (
                "suspended runs kept in memory",
                f"{keeping.MOST_RUNS:,}, or {_size(keeping.MOST_BYTES)} of journal",
            ),
            (
                "journal that a claim brings along",
                f"{_size(claims.RUN_ROWS_LIMIT)} for a run, {_size(claims.CLAIM_ROWS_LIMIT)} in all; the rest is read as needed",
            ),
        ],
        "Lists": [("`app.list_runs(limit=)`", "1–500; 50 by default")],
    }
    lines = [
        "# Limits",
        "",
        "What is over a limit raises a clear error before anything is stored. (This page is made from the code's constants.)",
        "",
    ]
    for title, facts in rows.items():
        lines += [
            f"## {title}",
            "",
            "| what | limit |",
            "|---|---|",
            *(f"| {what} | {limit} |" for what, limit in facts),
            "",
        ]
    return "\n".join(lines)


_FAILPOINTS = {
    "start.before_write": "a new run is about to be stored by a worker that will execute it at once",
    "start.after_write": "the new run is stored, and nobody was told",
    "claim.committed": "runs were claimed, and nothing was done with them",
    "run.loaded": "a run's journal was read, and its code has not run",
    "step.before_body": "a step's body is about to begin",
    "step.after_body": "a step's body has ended, and its outcome is in memory only",
    "step.before_checkpoint": "a commit of a run was made up, and not sent; its start and its end count, too",
    "step.after": "a commit is durable, and what it asked for has begun",
    "checkpoint.before_commit": "a batch is about to be committed",
    "checkpoint.after_commit": "a commit is durable, and the run does not know",
    "retry.before_schedule": "a step failed, and its next attempt is about to be planned",
    "suspend.before_write": "a run is about to be suspended",
    "suspend.after_write": "a run was suspended, and is still in memory",
    "timer.fired": "a timer is due, and its entry is not written",
    "event.before_write": "an event is about to be stored",
    "event.after_write": "an event is stored, and `notify` has not returned",
    "event.received": "an event was handed to a wait, and its entry is not written",
    "child.before_create": "a child run is about to be stored",
    "child.after_create": "a child run is stored",
    "cancel.received": "the run's owner has read that it is to be cancelled",
    "finish.before_write": "a run has ended, and its end is not written",
    "finish.after_write": "a run's end is stored",
    "continue.before_write": "`continue_as` was called, and the new journal is not begun",
    "continue.after_write": "the new journal is begun",
    "attempt.before_restart": "a workflow is about to begin again from the top",
    "recovery.takeover": "a lost worker's run was taken over",
    "shutdown.before_release": "a worker has stopped, and has not given its runs back",
    "outbox.after_apply": "on Redis: all that a commit asked for elsewhere is done, and its own change of state is not",
    "outbox.before_apply": "on Redis: a commit is in its run's slot, and nothing that it asked for elsewhere is done",
    "prune.before_write": "old runs are about to be deleted",
    "migrate.before_commit": "a step of the schema is about to be committed",
    "transaction.after_begin": "a step's own transaction has begun",
    "transaction.before_commit": "a step's own transaction is about to be committed with its result",
    "transaction.after_commit": "it is durable, and the workflow was not told yet",
}


def placed_failpoints() -> list[str]:
    """The failpoints that the code really passes, sorted."""
    passed: set[str] = set()
    for source in _SOURCES.rglob("*.py"):
        passed.update(re.findall(r'\bfailpoint\("([a-z_.]+)"\)', source.read_text(encoding="utf-8")))
    return sorted(passed & failpoints.NAMES)


def failpoint_page() -> str:
    """``reference/failpoints.md``; ``KeyError`` for a failpoint that nobody has described yet."""
    return "\n".join(
        [
            "# Failpoints",
            "",
            "Places where a crash matters have names. `STEPFLOW_FAILPOINT=NAME:N` ends the process at the N-th time it passes one, with exit code 137, as",
            "`kill -9` would: nothing is flushed, no `finally` is run. Use it to see what your steps make of it: [Test your workflows](../how-to/testing.md#crash-it).",
            "",
            "| name | a crash there means that |",
            "|---|---|",
            *(f"| `{name}` | {_FAILPOINTS[name]} |" for name in placed_failpoints()),
            "",
        ]
    )
