"""Needs: what the writes of a batch will surely ask for, so that it is locked and loaded in a few round trips."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from stepflow.model.events import NewEvent
from stepflow.model.runs import NewRun
from stepflow.storage.postgres.link import Link
from stepflow.storage.postgres.operations import events, journal, runs
from stepflow.storage.postgres.working_set import Loaded
from stepflow.storage.writes import (
    Cancel,
    CommitRun,
    Complete,
    ControlRun,
    CreateRun,
    Fail,
    Pause,
    SendEvent,
    Suspend,
    Write,
)
from stepflow.types import EventId, RunId

_MAY_END = (Complete, Fail, Cancel, Pause)


class Needs:
    """Runs and streams to lock. Streams come first, then runs in the order of their ids, then the journal."""

    def __init__(self, batch: Sequence[Write]) -> None:
        self.runs: set[RunId] = set()
        self.keys: set[str] = set()
        self.families: set[RunId] = set()
        """Runs that may end: their parents are told, their children are cancelled."""
        self.streams: set[EventId] = set()
        self.sent: set[EventId] = set()
        self._batch = batch
        for write in batch:
            match write:
                case CommitRun():
                    self._commit(write)
                case CreateRun(run=run, commit=commit):
                    self._create(run)
                    if commit is not None:
                        self._commit(commit)
                case SendEvent(event=event):
                    self._send(event)
                case ControlRun(run_id=run_id):
                    self.runs.add(run_id)
                    self.families.add(run_id)

    def _commit(self, write: CommitRun) -> None:
        self.runs.add(write.run_id)
        self.runs.update(write.cancels)
        self.families.update(write.cancels)
        if isinstance(write.transition, _MAY_END):
            self.families.add(write.run_id)
        for run in write.creates:
            self._create(run)
        for event in write.sends:
            self._send(event)
        self.streams.update(wait.event_id for wait in write.waits)

    def _create(self, run: NewRun) -> None:
        self.runs.add(run.id)
        if run.idempotency_key is not None:
            self.keys.add(run.idempotency_key)

    def _send(self, event: NewEvent) -> None:
        self.streams.add(event.event_id)
        self.sent.add(event.event_id)
        if event.run_id is not None:
            self.runs.add(event.run_id)

    # -------------------------------------------------------------- locking, and looking in later statements
    async def lock(self, link: Link) -> list[RunId]:
        """Take all locks; the runs that exist."""
        if self.streams:
            await events.lock_streams(link, self.streams)
        return await runs.lock(
            link, self.runs, waiting_for=self.sent, keys=self.keys, families_of=self.families
        )

    async def load(self, link: Link, locked: Sequence[RunId]) -> Loaded:
        """Load the locked runs, and what rules look up around them."""
        loaded = Loaded()
        loaded.runs.update(dict.fromkeys(self.runs))
        loaded.keys.update(dict.fromkeys(self.keys))
        for run in await runs.load(link, locked):
            loaded.add_run(run)
        loaded.note_families(self.families)
        sends = [event for write in self._batch for event in _sends(write)]
        await load_more(
            link, loaded, "dedup", {(e.event_id, e.dedup_id) for e in sends if e.dedup_id is not None}
        )
        await load_more(link, loaded, "first", {(e.event_id, e.run_id) for e in sends if e.once})
        await load_more(link, loaded, "latest", self._looked_at(loaded))
        await load_more(link, loaded, "input", self._shown(loaded))
        await load_more(link, loaded, "written", self._written(loaded))
        return loaded

    def _looked_at(self, loaded: Loaded) -> set[tuple[EventId, RunId]]:
        """The events and runs for which it will be asked whether one is there."""
        found: set[tuple[EventId, RunId]] = set()
        for write in self._batch:
            commit = write.commit if isinstance(write, CreateRun) else write
            if isinstance(commit, CommitRun):
                found.update((wait.event_id, commit.run_id) for wait in commit.waits)
                run = loaded.runs.get(commit.run_id)
                if run is not None and isinstance(commit.transition, Suspend):
                    found.update((wait.event_id, commit.run_id) for wait in run.waits)
        return found

    def _shown(self, loaded: Loaded) -> set[RunId]:
        """The runs that stand in the way of a new one, whose records will be shown."""
        found: set[RunId] = set()
        for write in self._batch:
            for new in _creates(write):
                holder = None if new.idempotency_key is None else loaded.keys.get(new.idempotency_key)
                found.update(run_id for run_id in (new.id, holder) if run_id and loaded.runs.get(run_id))
        return found

    def _written(self, loaded: Loaded) -> set[tuple[RunId, int]]:
        """The places of commits that are not next: they may have been written before."""
        found: set[tuple[RunId, int]] = set()
        for write in self._batch:
            commit = write.commit if isinstance(write, CreateRun) else write
            if isinstance(commit, CommitRun):
                run = loaded.runs.get(commit.run_id)
                if run is None or run.run.worker != commit.writer or run.last_seq != commit.seq - 1:
                    found.add((commit.run_id, commit.seq))
        return found


async def load_more(link: Link, loaded: Loaded, kind: str, keys: Collection[Any]) -> None:
    """Load what is asked for by these keys; what is not there is known not to be."""
    wanted: list[Any] = list(keys)
    absent: dict[Any, Any] = dict.fromkeys(wanted)
    if not wanted:
        return
    match kind:
        case "input":
            loaded.inputs.update(await runs.load_inputs(link, wanted))
        case "written":
            loaded.written.update(absent | await journal.written_by(link, wanted))
        case "dedup":
            loaded.dedup.update(absent | await events.find_by_dedup(link, wanted))
        case "first":
            loaded.first.update(absent | await events.find_first(link, wanted))
        case "latest":
            loaded.latest.update(await events.find_latest(link, wanted))
        case _:
            raise LookupError(f"a rule asked for {kind} {wanted}, which can't be loaded late")


def _sends(write: Write) -> Sequence[NewEvent]:
    match write:
        case SendEvent(event=event):
            return (event,)
        case CommitRun():
            return write.sends
        case CreateRun(commit=CommitRun() as commit):
            return commit.sends
        case _:
            return ()


def _creates(write: Write) -> Sequence[NewRun]:
    match write:
        case CommitRun():
            return write.creates
        case CreateRun(run=run, commit=commit):
            return (run,) if commit is None else (run, *commit.creates)
        case _:
            return ()
