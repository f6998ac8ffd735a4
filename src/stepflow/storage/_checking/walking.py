"""Walking: every run of a store, in pages, and what is suspect is looked at again before it is a finding."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from datetime import datetime
from typing import Final

import msgspec

from stepflow.errors import RunNotFoundError, StepflowError
from stepflow.model.journal import JournalRow
from stepflow.model.runs import RunFilter, RunRecord
from stepflow.model.states import RunStatus
from stepflow.storage._checking.families import check_family, check_waits
from stepflow.storage._checking.journals import Reading
from stepflow.storage._checking.records import check_record
from stepflow.storage.base import Storage
from stepflow.storage.checking import CheckableStorage, Finding, Kind
from stepflow.types import RunId, WorkerId

_RUNS: Final = 100
_ROWS: Final = 200
_AT_ONCE: Final = 8
_LOOKS: Final = 5
_BETWEEN: Final = 0.25
"""Seconds between two looks: enough for a worker to end what it was doing across two rows."""

_UNREADABLE: Final = (msgspec.MsgspecError, ValueError, LookupError, TypeError)
"""What a decoder says of text that is not what was written."""


class Progress(msgspec.Struct):
    """How far the check has come."""

    runs: int = 0
    rows: int = 0
    total: int = 0


class Check:
    """One check of an open store. It reads and never writes; its memory does not grow with the store.

    ``tell`` hears of the progress after each page. ``between`` is how long to wait before a second look, in seconds.
    """

    def __init__(
        self,
        storage: Storage,
        *,
        now: datetime,
        tell: Callable[[Progress], None] = lambda progress: None,
        between: float = _BETWEEN,
    ) -> None:
        self.progress = Progress()
        self._storage = storage
        self._below = storage if isinstance(storage, CheckableStorage) else None
        self._now = now
        self._tell = tell
        self._between = between

    async def all(self) -> AsyncIterator[Finding]:
        """What is wrong in the whole store."""
        info = await self._storage.info(now=self._now)
        self.progress.total = sum(info.runs.values())
        live = {worker.id for worker in info.workers}
        async for page in self._pages():
            for finding in await self._look_at(page, live):
                yield finding
            self._tell(self.progress)
        if self._below is not None:
            async for finding in self._below.check():
                yield finding

    async def one(self, run_id: RunId) -> AsyncIterator[Finding]:
        """What is wrong with one run; ``RunNotFoundError``."""
        self.progress.total = 1
        live = {worker.id for worker in await self._storage.list_workers(now=self._now)}
        try:
            run = await self._storage.get_run(run_id)
        except StepflowError:
            raise
        except _UNREADABLE as error:
            yield _unreadable(run_id, error)
        else:
            if run is None:
                raise RunNotFoundError(run_id)
            for finding in await self._look_at([run], live):
                yield finding
        if self._below is not None:
            async for finding in self._below.check(run_id):
                yield finding

    # -------------------------------------------------------------- pages of runs
    async def _pages(self) -> AsyncIterator[Sequence[RunRecord | Finding]]:
        """All runs, newest first; where a record can't be read, a finding stands in its place."""
        cursor: str | None = None
        while True:
            try:
                page = await self._storage.list_runs(RunFilter(), cursor=cursor, limit=_RUNS)
            except StepflowError:
                raise
            except _UNREADABLE as error:
                if self._below is None:
                    detail = f"a listing breaks off at a record that can't be read: {_brief(error)}"
                    yield [Finding(what=Kind.RECORD_UNREADABLE, detail=detail)]
                    return
                break
            yield page.items
            cursor = page.next_cursor
            if cursor is None:
                return
        async for page_of_ids in self._pages_by_id(self._below):
            yield page_of_ids

    async def _pages_by_id(self, below: CheckableStorage) -> AsyncIterator[Sequence[RunRecord | Finding]]:
        """The same, run by run, for a store in which some records can't be read. Those seen before are seen again."""
        self.progress.runs = self.progress.rows = 0
        page: list[RunRecord | Finding] = []
        async for run_id in below.run_ids():
            try:
                run = await self._storage.get_run(run_id)
            except StepflowError:
                raise
            except _UNREADABLE as error:
                page.append(_unreadable(run_id, error))
            else:
                if run is not None:
                    page.append(run)
            if len(page) >= _RUNS:
                yield page
                page = []
        yield page

    # -------------------------------------------------------------- one page
    async def _look_at(self, page: Sequence[RunRecord | Finding], live: set[WorkerId]) -> list[Finding]:
        certain = [item for item in page if isinstance(item, Finding)]
        runs = [item for item in page if isinstance(item, RunRecord)]
        self.progress.runs += len(page)
        suspects = [run for run, found in await self._examine_all(runs, live) if found]
        if not suspects:
            return certain
        # A live worker may have been between two writes: only what is still so a moment later counts.
        first = {run.id: found for run, found in await self._confirm(suspects, live)}
        await asyncio.sleep(self._between)
        # Asked before the look: what settles in between is seen whole.
        open_still = await self._unsettled([run.id for run in suspects if first[run.id]])
        again = await self._confirm([run for run in suspects if first[run.id]], live)
        for run, found in again:
            if found and run.id in open_still:
                certain.append(
                    Finding(what=Kind.UNSETTLED, run_id=run.id, detail="a change of it is not all done yet")
                )
            else:
                certain += [finding for finding in found if finding in first[run.id]]
        return certain

    async def _unsettled(self, run_ids: Sequence[RunId]) -> frozenset[RunId]:
        if self._below is None or not run_ids:
            return frozenset()
        return await self._below.unsettled(run_ids)

    async def _examine_all(
        self, runs: Sequence[RunRecord], live: set[WorkerId]
    ) -> list[tuple[RunRecord, list[Finding]]]:
        found: list[tuple[RunRecord, list[Finding]]] = []
        for start in range(0, len(runs), _AT_ONCE):
            some = runs[start : start + _AT_ONCE]
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._examine(run, live)) for run in some]
            found += [(run, task.result()) for run, task in zip(some, tasks, strict=True)]
        return found

    async def _confirm(
        self, runs: Iterable[RunRecord], live: set[WorkerId]
    ) -> list[tuple[RunRecord, list[Finding]]]:
        """The findings again, of records and journals that were read while nothing changed."""
        found: list[tuple[RunRecord, list[Finding]]] = []
        for run in runs:
            before = await self._storage.get_run(run.id)
            findings: list[Finding] = []
            for _ in range(_LOOKS):
                if before is None:
                    findings = []  # deleted meanwhile
                    break
                findings = await self._examine(before, live)
                after = await self._storage.get_run(run.id)
                if after == before:
                    break
                before, findings = after, []
            found.append((run, findings))
        return found

    async def _examine(self, run: RunRecord, live: set[WorkerId]) -> list[Finding]:
        """All that is wrong with one run, as it seems."""
        reading = await self._read(run)
        findings = [*check_record(run), *reading.findings(run)]
        findings += [finding async for finding in check_waits(self._storage, run)]
        findings += [finding async for finding in check_family(self._storage, run, reading)]
        if run.status is RunStatus.RUNNING and run.worker is not None and run.worker not in live:
            detail = f"running, but its worker {run.worker} is gone"
            findings.append(Finding(what=Kind.OWNER_GONE, run_id=run.id, detail=detail))
        return findings

    async def _read(self, run: RunRecord) -> Reading:
        """The run's journal, up to the row that the record knows."""
        reading = Reading(run)
        after, limit = 0, _ROWS
        while True:
            try:
                rows = await self._storage.read_journal(run.id, after=after, limit=limit)
            except StepflowError:
                raise
            except _UNREADABLE as error:
                if limit > 1:
                    limit = 1
                    continue
                reading.unreadable(reading.next_seq, _brief(error))
                after = reading.next_seq - 1
                if after >= run.seq:
                    return reading
                limit = _ROWS
                continue
            for row in rows:
                self._take(reading, row)
            if len(rows) < limit:
                return reading
            after = rows[-1].seq

    def _take(self, reading: Reading, row: JournalRow) -> None:
        reading.take(row)
        self.progress.rows += 1


def _unreadable(run_id: RunId, error: BaseException) -> Finding:
    detail = f"its record can't be read: {_brief(error)}"
    return Finding(what=Kind.RECORD_UNREADABLE, run_id=run_id, detail=detail)


def _brief(error: BaseException) -> str:
    said = " ".join(str(error).split()) or "no reason given"
    return f"{type(error).__name__}: {said[:150]}"
