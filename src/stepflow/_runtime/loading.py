"""Loading: the journal of a claimed run, and what has to be known of it before its code runs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from datetime import datetime

import msgspec

from stepflow._engine.execution import Advance, Execution
from stepflow.clock import Clock
from stepflow.errors import StorageError
from stepflow.model.journal import (
    AttemptStarted,
    Claimed,
    Continued,
    Entry,
    EventReceived,
    JournalRow,
    RunAttemptFailed,
    StepCompleted,
)
from stepflow.storage.base import Storage
from stepflow.storage.writes import Claim

CLAIMS_WITHOUT_PROGRESS = 10
"""A run taken over this often without one new entry kills its workers: it is paused as poisoned."""

_log = logging.getLogger("stepflow.worker")
_PAGE = 2_000
_FIRST_PAUSE = 0.05
_LONGEST_PAUSE = 2.0
_SLICE = 64
_TURN = 0.002


class Loaded(msgspec.Struct, frozen=True, kw_only=True):
    """A run's present journal.

    ``attempt`` is the one to execute; ``failed`` says that it failed already and when the next may begin; ``poisoned``
    that the run must not be touched.
    """

    entries: Sequence[Entry]
    attempt: int
    failed: RunAttemptFailed | None
    poisoned: bool


class Loader:
    """Reads what a claim did not bring along."""

    def __init__(self, storage: Storage, random: Callable[[], float]) -> None:
        self._storage = storage
        self._random = random

    async def load(self, claim: Claim, *, wanted: Callable[[], bool]) -> Loaded | None:
        """All entries of the run's present journal, in order. None if it is not ``wanted`` any more.

        A claimed run is nobody else's, so trouble with the storage is waited out.
        """
        complete = claim.complete and claim.rows[0].seq == claim.run.first_seq
        rows = claim.rows if complete else await self._read_patiently(claim, wanted)
        if rows is None or not wanted():
            return None
        entries = _present(rows)
        attempt, failed = 1, None
        for entry in entries:
            if isinstance(entry, AttemptStarted):
                attempt, failed = entry.attempt, None
            elif isinstance(entry, RunAttemptFailed):
                failed = entry
        return Loaded(entries=entries, attempt=attempt, failed=failed, poisoned=_poisoned(entries))

    async def _read_patiently(self, claim: Claim, wanted: Callable[[], bool]) -> Sequence[JournalRow] | None:
        pause = _FIRST_PAUSE
        while wanted():
            try:
                return await self._read(claim)
            except StorageError as error:
                _log.warning("run %s can't be read (%s); trying again", claim.run.id, error)
                await asyncio.sleep(pause * (0.5 + self._random()))
                pause = min(2 * pause, _LONGEST_PAUSE)
        return None

    async def _read(self, claim: Claim) -> Sequence[JournalRow]:
        rows: list[JournalRow] = []
        after = claim.run.first_seq - 1
        while after < claim.run.seq:
            page = await self._storage.read_journal(claim.run.id, after=after, limit=_PAGE)
            if not page:
                break
            rows.extend(page)
            after = page[-1].seq
        return rows


def next_attempt(failed: RunAttemptFailed, at: datetime) -> AttemptStarted:
    """The entry that begins the attempt after ``failed``."""
    return AttemptStarted(at=max(at, failed.retry_at), attempt=failed.attempt + 1)


def weight_of(entries: Sequence[Entry]) -> int:
    """About how many bytes of values these entries hold."""
    weight = 0
    for entry in entries:
        match entry:
            case StepCompleted(value=payload) | EventReceived(payload=payload) | Continued(input=payload):
                weight += payload.size
            case _:
                pass
    return weight


async def replay(execution: Execution, entries: Sequence[Entry], clock: Clock) -> Advance:
    """Feed the whole journal to a fresh execution, giving the event loop its turn every 2 ms."""
    if all(isinstance(entry, Claimed) for entry in entries):
        return execution.advance(entries)  # its code never got as far as a write: this is no replay
    since = clock.monotonic()
    place = 0
    while len(entries) - place > _SLICE:
        execution.replay(entries[place : place + _SLICE], more=True)
        place += _SLICE
        if clock.monotonic() - since > _TURN:
            await asyncio.sleep(0)
            if execution.evicting:
                return Advance()  # the run was lost meanwhile
            since = clock.monotonic()
    return execution.replay(entries[place:])


def _present(rows: Sequence[JournalRow]) -> list[Entry]:
    """The entries since the last ``continue_as``: what stands before it in its own row belongs to the journal before."""
    entries = [entry for row in rows for entry in row.entries]
    for place in range(len(entries) - 1, -1, -1):
        if isinstance(entries[place], Continued):
            return entries[place:]
    return entries


def _poisoned(entries: Sequence[Entry]) -> bool:
    takeovers = 0
    for entry in reversed(entries):
        if isinstance(entry, Claimed):
            takeovers += entry.takeover
        else:
            break
    return takeovers >= CLAIMS_WITHOUT_PROGRESS
