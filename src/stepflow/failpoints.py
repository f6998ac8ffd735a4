"""Failpoints: the places where a crash matters, by name, so that tests can crash or fail there.

``STEPFLOW_FAILPOINT="step.before_checkpoint:2"`` kills the process (as ``kill -9`` would) at the second hit. Tests in
one process may ``arm`` a callable instead. When nothing is armed a failpoint costs one comparison.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable

NAMES = frozenset(
    {
        "start.before_write",
        "start.after_write",
        "claim.committed",
        "run.loaded",
        "step.before_body",
        "step.after_body",
        "step.before_checkpoint",
        "step.after",
        "checkpoint.before_commit",
        "checkpoint.after_commit",
        "retry.before_schedule",
        "suspend.before_write",
        "suspend.after_write",
        "timer.fired",
        "event.before_write",
        "event.after_write",
        "event.received",
        "child.before_create",
        "child.after_create",
        "cancel.received",
        "finish.before_write",
        "finish.after_write",
        "continue.before_write",
        "continue.after_write",
        "attempt.before_restart",
        "recovery.takeover",
        "shutdown.before_release",
        "prune.before_write",
        "migrate.before_commit",
        "outbox.before_apply",
        "outbox.after_apply",
        "transaction.after_begin",
        "transaction.before_commit",
        "transaction.after_commit",
    }
)
"""Every failpoint there is; the crash tests kill a process at each of them. Those of the outbox are passed on Redis only."""

_armed: dict[str, Callable[[], None]] = {}


def failpoint(name: str) -> None:
    """Mark a place where a crash matters."""
    if _armed:
        action = _armed.get(name)
        if action is not None:
            action()


def arm(name: str, action: Callable[[], None]) -> None:
    """Call ``action`` at every hit of ``name`` until ``disarm``."""
    if name not in NAMES:
        raise ValueError(f"no failpoint {name!r}")
    _armed[name] = action


def disarm() -> None:
    """Switch every failpoint off."""
    _armed.clear()


def kill_at(name: str, nth: int) -> None:
    """End this process at the ``nth`` hit of ``name``, at once and with nothing flushed."""
    hits: Counter[str] = Counter()

    def act() -> None:
        hits[name] += 1
        if hits[name] == nth:
            os._exit(137)

    arm(name, act)


def _arm_from_environment() -> None:
    wanted = os.environ.get("STEPFLOW_FAILPOINT")
    if wanted:
        name, _, nth = wanted.rpartition(":")
        kill_at(name, int(nth))


_arm_from_environment()
