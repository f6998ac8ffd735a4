"""Adopting: runs that the storage says are ours, and that nobody here drives.

Such a run is in nobody's hands: its owner lives, so no other worker takes it. It comes about when an answer got lost, or when a
store fell back to an older state (a failover that forgot the last writes) and fences its own worker. Then the run goes on from
what the store has, here if a slot is free, and else wherever it is claimed next. That may happen again and again, also at the
same row: a store may forget twice what it took twice.
"""

from __future__ import annotations

import logging

from stepflow._runtime.arrivals import ArrivalHall, Arrivals
from stepflow.errors import StorageError
from stepflow.model.runs import RunRecord
from stepflow.model.states import RunStatus
from stepflow.storage.base import Storage
from stepflow.storage.writes import Claim, CommitRun, Release
from stepflow.types import RunId, WorkerId

_log = logging.getLogger("stepflow.worker")


class Adopting:
    """Compares what we own with what we drive. A run has to be found twice in the same place: an answer may be on its way."""

    def __init__(self, storage: Storage, host: ArrivalHall, arrivals: Arrivals) -> None:
        self._storage = storage
        self._host = host
        self._arrivals = arrivals
        self._seen: dict[RunId, int] = {}
        """Runs that nobody drove at the last look, with their seqs."""
        self._adopted: dict[RunId, int] = {}
        """From which row each was gone on with last. A storage that refuses what follows it is not asked again at once."""

    async def look(self) -> None:
        """Look through all that is ours; trouble with the storage is left to the next look."""
        worker = self._host.worker_id
        try:
            owned = dict.fromkeys(await self._storage.owned_runs(worker))
            seen, self._seen = self._seen, {}
            self._adopted = {run_id: seq for run_id, seq in self._adopted.items() if run_id in owned}
            for run_id in owned:
                if not self._is_here(run_id):
                    await self._consider(run_id, worker, seen.get(run_id))
        except StorageError as error:
            _log.info("what this worker owns could not be read (%s); it is tried again later", error)

    async def look_at(self, run_id: RunId, seq: int) -> None:
        """The storage fenced what we wrote after row ``seq`` of this run: if the run is ours nevertheless, go on with it."""
        try:
            await self._consider(run_id, self._host.worker_id, None, fenced_after=seq)
        except StorageError as error:
            _log.info("run %s could not be read (%s); it is looked at again later", run_id, error)

    def _is_here(self, run_id: RunId) -> bool:
        return run_id in self._host.drivers or run_id in self._arrivals

    async def _consider(
        self, run_id: RunId, worker: WorkerId, seen_at: int | None, *, fenced_after: int | None = None
    ) -> None:
        run = await self._storage.get_run(run_id)
        if run is None or run.status is not RunStatus.RUNNING or run.worker != worker:
            return
        if fenced_after is None and seen_at != run.seq:
            self._seen[run_id] = run.seq
            return
        rows = await self._storage.read_journal(run_id, after=run.seq - 1)
        if self._is_here(run_id) or not rows or rows[-1].seq != run.seq:
            return  # it came, or went on, meanwhile
        if fenced_after == run.seq == self._adopted.get(run_id):
            # Nothing was forgotten: it stands where we left it. Tried at once it would be tried without end.
            _log.error(
                "run %s is ours, and the storage refused what follows row %d twice: `stepflow storage check` says what "
                "does not agree there; the run is tried again by and by",
                run_id,
                run.seq,
            )
            return
        if not self._host.slots.has_room(run.queue):
            await self._give_back(run)
            return
        self._adopted[run_id] = run.seq
        _log.warning("run %s is ours, and nobody drove it: it goes on from row %d", run_id, run.seq)
        self._arrivals.take(Claim(run=run, rows=tuple(rows[-1:]), complete=False, takeover=True))

    async def _give_back(self, run: RunRecord) -> None:
        """There is no room for it here now: let it be claimed by whoever has some first. If that is refused, look again later."""
        _log.warning("run %s is ours, and nobody drove it: there is no slot for it, so it is queued", run.id)
        committer = self._host.committer
        await committer.write(
            CommitRun(
                run_id=run.id,
                seq=run.seq + 1,
                writer=self._host.worker_id,
                write_id=committer.new_write_id(),
                entries=(),
                transition=Release(),
            )
        )
