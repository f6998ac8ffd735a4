"""The states of a run and why one may stand still."""

from __future__ import annotations

from enum import StrEnum


class RunStatus(StrEnum):
    """Where a run is in its life. The last three have ended."""

    QUEUED = "queued"
    RUNNING = "running"
    SUSPENDED = "suspended"
    PAUSED = "paused"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        """True for completed, failed and cancelled."""
        return self in _ENDED


_ENDED = frozenset({RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELLED})


class PauseReason(StrEnum):
    """Why a run is paused."""

    REQUESTED = "requested"
    NON_DETERMINISM = "non-determinism"
    POISONED = "poisoned"
    UNDECODABLE = "undecodable"
    UNKNOWN_CODE = "unknown-code"
    STUCK = "stuck"
