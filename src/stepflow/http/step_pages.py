"""Step pages: the steps of a run some at a time, each page read from where the one before ended.

A page begins at an entry of the journal. What is needed of the entries before it are the keys of those steps that were shown already and
may yet come up again: the cursor names them. What is needed of those after it are the ends of the page's own steps.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import AsyncIterator, Sequence
from itertools import islice
from typing import Final, NamedTuple

import msgspec

from stepflow.http.inputs import Refused
from stepflow.model.folding import fold_into, waiting_steps
from stepflow.model.ids import stable_digest
from stepflow.model.journal import AttemptStarted, ChildEnded, Entry
from stepflow.model.names import END
from stepflow.model.runs import RunRecord
from stepflow.model.steps import StepKind, StepStatus, StepView
from stepflow.storage.base import Storage
from stepflow.types import RunId, StepKey
from stepflow.wire.problems import problem
from stepflow.wire.streams import START, Position

_ROWS: Final = 100
_MOST_NAMED: Final = 1_500
"""Bytes of keys in a cursor, which travels in an address. With more, the steps before are counted instead, and all are read."""


class Place(msgspec.Struct, frozen=True, array_like=True):
    """Where a page begins: at an entry, with ``open`` steps of former pages; or, if ``skip`` says so, after so many steps from the start.

    ``waits`` of those that the run waits for were shown. ``attempt`` is the last one that has begun by then, 0 if that is not known.
    """

    seq: int = 0
    place: int = 0
    attempt: int = 0
    skip: int = 0
    waits: int = 0
    open: tuple[StepKey, ...] = ()


class StepsPage(NamedTuple):
    steps: Sequence[StepView]
    following: Place | None


async def read_steps_page(storage: Storage, record: RunRecord, begin: Place, limit: int) -> StepsPage:
    """Up to ``limit`` steps from there, in the order in which each was first recorded."""
    folding = _Folding(record, begin)
    async for position, entry in _entries(storage, record, Position(begin.seq, begin.place)):
        folding.add(entry, position)
        if folding.is_settled(begin.skip + limit):
            return folding.page(begin, limit, complete=False)
    return folding.page(begin, limit, complete=True)


def write_place(place: Place, run_id: RunId) -> str:
    """A cursor that belongs to this run."""
    text = msgspec.json.encode(place).decode()
    return urlsafe_b64encode(f"{_digest(text, run_id)}{text}".encode()).decode().rstrip("=")


def read_place(cursor: str | None, run_id: RunId) -> Place:
    """The place that a cursor names; ``Refused`` for one that was not made for this run."""
    if cursor is None:
        return Place()
    try:
        text = urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()[_DIGEST_LENGTH:]
        place = msgspec.json.decode(text, type=Place)
    except (ValueError, msgspec.DecodeError):
        place = None
    if place is None or write_place(place, run_id) != cursor:
        raise Refused(problem("invalid-cursor", "the cursor is not one that this run's steps gave"))
    return place


_DIGEST_LENGTH: Final = 12


def _digest(text: str, run_id: RunId) -> str:
    return stable_digest("steps", run_id, text, size=_DIGEST_LENGTH // 2)


async def _entries(
    storage: Storage, record: RunRecord, begin: Position
) -> AsyncIterator[tuple[Position, Entry]]:
    """The entries from a place on, as of ``record``: what came after it was read is not among them."""
    after = max(begin.seq, record.first_seq) - 1
    while after < record.seq:
        rows = await storage.read_journal(record.id, after=after, limit=_ROWS)
        for row in rows:
            for place, entry in enumerate(row.entries):
                position = Position(row.seq, place)
                if begin <= position and row.seq <= record.seq:
                    yield position, entry
        if len(rows) < _ROWS:
            return
        after = rows[-1].seq


class _Folding:
    """The steps from a place on, as far as they have been read, and where each was mentioned first and last."""

    def __init__(self, record: RunRecord, begin: Place) -> None:
        self._record = record
        self._attempt = begin.attempt
        self._steps: dict[StepKey, StepView] = {key: _unknown(key) for key in begin.open}
        self._shown = set(begin.open)
        self._first: dict[StepKey, tuple[Position, int]] = {}
        self._last: dict[StepKey, Position] = dict.fromkeys(begin.open, START)
        self._blocker: StepKey = ""
        """One of the first steps that may still change: while it does, nobody need look at the others."""

    def add(self, entry: Entry, position: Position) -> None:
        before = len(self._steps)
        fold_into(self._steps, [entry])
        if len(self._steps) < before:
            self._shown.intersection_update(self._steps)  # a new attempt: what comes up again, comes anew
            for key in [key for key in self._first if key not in self._steps]:
                del self._first[key]
        if isinstance(entry, AttemptStarted):
            self._attempt = entry.attempt
        key = _step_of(entry)
        if key in self._steps:
            self._last[key] = position
            if key not in self._shown and key not in self._first:
                self._first[key] = position, self._attempt

    def is_settled(self, count: int) -> bool:
        """Whether there are more than ``count`` steps, and the first ones can't change by what follows."""
        if len(self._steps) - len(self._shown) <= count:
            return False
        if self._blocker not in self._first or self._is_over(self._blocker):
            self._blocker = next((key for key in islice(self._first, count) if not self._is_over(key)), "")
        return not self._blocker

    def page(self, begin: Place, limit: int, *, complete: bool) -> StepsPage:
        """The page; ``complete``: everything has been read."""
        keys = list(self._first)
        waiting = list(waiting_steps(self._record.waits))[begin.waits :] if complete else []
        found = [*(self._steps[key] for key in keys), *waiting]
        end = begin.skip + limit
        if len(found) <= end:
            return StepsPage(found[begin.skip :], None)
        return StepsPage(found[begin.skip : end], self._following(keys, begin, end))

    def _following(self, keys: list[StepKey], begin: Place, end: int) -> Place:
        if end < len(keys):
            (at, attempt), waits = self._first[keys[end]], begin.waits
        else:
            at, attempt = Position(self._record.seq + 1, 0), self._attempt
            waits = begin.waits + end - len(keys)
        past = [*self._shown, *keys[:end]]
        coming = tuple(key for key in past if self._last[key] >= at or not self._is_over(key))
        if begin.skip or sum(len(key.encode()) + 3 for key in coming) > _MOST_NAMED:
            # Counted from where this page was, which may be in the middle: what was before it is named there.
            return Place(begin.seq, begin.place, begin.attempt, end, begin.waits, begin.open)
        return Place(at.seq, at.place, attempt, 0, waits, coming)

    def _is_over(self, key: StepKey) -> bool:
        status = self._steps[key].status
        if status is StepStatus.COMPLETED:
            return True
        ended = status in (StepStatus.FAILED, StepStatus.CANCELLED)
        return ended and self._record.attempt == max(self._attempt, 1)  # a later attempt would undo it


def _step_of(entry: Entry) -> StepKey:
    """The step that an entry is about, if it is about one: the end of a child belongs to its start."""
    key: StepKey = getattr(entry, "key", "")
    return key.partition(END)[0] if isinstance(entry, ChildEnded) else key


def _unknown(key: StepKey) -> StepView:
    """A step that was shown on another page."""
    return StepView(
        key=key,
        name="",
        kind=StepKind.STEP,
        status=StepStatus.RUNNING,
        attempts=1,
        started_at=None,
        ended_at=None,
    )
