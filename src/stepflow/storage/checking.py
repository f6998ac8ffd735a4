"""Checking: what may be found wrong in a store, and what a backend adds that the port can't see."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from enum import StrEnum
from typing import Final, Protocol, runtime_checkable

import msgspec

from stepflow.types import RunId


class Kind(StrEnum):
    """What is wrong. The names are stable: scripts may look for them."""

    RECORD_UNREADABLE = "record-unreadable"
    RECORD_CONTRADICTS_ITSELF = "record-contradicts-itself"
    JOURNAL_UNREADABLE = "journal-unreadable"
    JOURNAL_GAP = "journal-gap"
    JOURNAL_REPEATS = "journal-repeats"
    STATUS_MISMATCH = "status-mismatch"
    OWNER_MISMATCH = "owner-mismatch"
    DUE_MISMATCH = "due-mismatch"
    END_MISMATCH = "end-mismatch"
    ATTEMPT_MISMATCH = "attempt-mismatch"
    WAIT_MISMATCH = "wait-mismatch"
    CHILD_MISSING = "child-missing"
    CHILD_MISMATCH = "child-mismatch"
    CHILD_ABANDONED = "child-abandoned"
    END_UNTOLD = "end-untold"
    LEFT_OVER = "left-over"
    INPUT_MISSING = "input-missing"
    POSITION_CLASH = "position-clash"
    POSITION_BEHIND = "position-behind"
    INDEX_MISMATCH = "index-mismatch"
    COUNT_MISMATCH = "count-mismatch"
    MISPLACED = "misplaced"
    DATABASE_DAMAGED = "database-damaged"
    OWNER_GONE = "owner-gone"
    UNSETTLED = "unsettled"


_RESTORE = "restore the storage from a backup, or end the run: stepflow runs cancel --force RUN_ID"
_HARMLESS = "it takes room and nothing else; delete what the line names once no process uses the storage"

ADVICE: Final[Mapping[Kind, str]] = {
    Kind.RECORD_UNREADABLE: "restore the storage from a backup; the run's journal may be whole",
    Kind.RECORD_CONTRADICTS_ITSELF: _RESTORE,
    Kind.JOURNAL_UNREADABLE: _RESTORE,
    Kind.JOURNAL_GAP: _RESTORE,
    Kind.JOURNAL_REPEATS: "two processes wrote one result; was a backup loaded under running workers? " + _RESTORE,
    Kind.STATUS_MISMATCH: _RESTORE,
    Kind.OWNER_MISMATCH: "release it: restart its worker, or end the run with stepflow runs cancel --force RUN_ID",
    Kind.DUE_MISMATCH: "nothing may wake it: stepflow runs pause RUN_ID, then stepflow runs resume RUN_ID",
    Kind.END_MISMATCH: "its result is lost: restore the storage from a backup, or stepflow runs retry RUN_ID",
    Kind.ATTEMPT_MISMATCH: _RESTORE,
    Kind.WAIT_MISMATCH: "events may not wake it: stepflow runs pause RUN_ID, then stepflow runs resume RUN_ID",
    Kind.CHILD_MISSING: "the run waits for ever: stepflow runs cancel RUN_ID, or restore the storage from a backup",
    Kind.CHILD_MISMATCH: "the run waits for ever: stepflow runs cancel RUN_ID, or restore the storage from a backup",
    Kind.CHILD_ABANDONED: "nobody hears of its end: stepflow runs cancel RUN_ID if it is not wanted",
    Kind.END_UNTOLD: "the run waits for ever: stepflow runs cancel RUN_ID, or restore the storage from a backup",
    Kind.LEFT_OVER: _HARMLESS,
    Kind.INPUT_MISSING: "the run can't start again: restore the storage from a backup",
    Kind.POSITION_CLASH: "events may be missed: stop all workers and restore the storage from a backup",
    Kind.POSITION_BEHIND: "new events would be missed: stop all workers and set the sequence past the number named",
    Kind.INDEX_MISMATCH: "stepflow runs pause RUN_ID and resume RUN_ID write it anew; else restore a backup",
    Kind.COUNT_MISMATCH: "only figures are wrong (storage info); no run is concerned",
    Kind.MISPLACED: "was the key written by hand, or the store's partitions= changed? Restore a backup",
    Kind.DATABASE_DAMAGED: "stop all processes, keep a copy of the files, then restore a backup",
    Kind.OWNER_GONE: "nothing to do: the next worker of its queue takes it over. Start one if there is none",
    Kind.UNSETTLED: "nothing to do: the next worker that looks for runs does the rest. Start one if there is none",
}  # fmt: skip

_NOTES: Final = frozenset({Kind.OWNER_GONE, Kind.UNSETTLED})


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is not as it must be. ``run_id`` is None where no single run is concerned."""

    what: Kind
    detail: str
    run_id: RunId | None = None

    @property
    def advice(self) -> str:
        """What to do about it."""
        advice = ADVICE[self.what]
        return advice.replace("RUN_ID", self.run_id) if self.run_id else advice

    @property
    def damage(self) -> bool:
        """False for what is worth knowing, but as it may be after a crash."""
        return self.what not in _NOTES


@runtime_checkable
class CheckableStorage(Protocol):
    """What a backend may offer beside ``Storage``, so that what lies below the port can be checked too. Nothing here writes."""

    def check(self, run_id: RunId | None = None) -> AsyncIterator[Finding]:
        """What is wrong with rows, keys and indexes that the port does not show; of one run only, if one is given.

        Reads in pages. What a live worker is just changing is looked at twice, so that it is no finding.
        """
        ...

    def run_ids(self) -> AsyncIterator[RunId]:
        """The ids of all runs, also of those whose records can't be read. One may come twice."""
        ...

    async def unsettled(self, run_ids: Sequence[RunId]) -> frozenset[RunId]:
        """Those of which something is not all done yet, by themselves or by somebody who concerns them: what seems wrong
        with them may be right when it is.
        """
        ...
