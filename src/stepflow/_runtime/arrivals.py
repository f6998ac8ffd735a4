"""Arrivals: claimed runs on their way to a driver. Their journal is read, replayed, and gone on with."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Protocol

from stepflow._engine.registry import Registry
from stepflow._runtime.chores import Chores
from stepflow._runtime.driver import Driver
from stepflow._runtime.executions import Executions
from stepflow._runtime.host import Host
from stepflow._runtime.keeping import Keeping
from stepflow._runtime.loading import Loader, next_attempt
from stepflow._runtime.slots import Slots
from stepflow.failpoints import failpoint
from stepflow.hooks import RunPaused
from stepflow.model.journal import Paused
from stepflow.model.states import PauseReason
from stepflow.storage import writes
from stepflow.storage.writes import Claim
from stepflow.types import RunId

_log = logging.getLogger("stepflow.worker")


class ArrivalHall(Host[Driver], Protocol):
    """The worker, as it receives what it claimed."""

    @property
    def drivers(self) -> dict[RunId, Driver]: ...
    @property
    def keeping(self) -> Keeping: ...
    @property
    def registry(self) -> Registry: ...
    @property
    def slots(self) -> Slots: ...
    @property
    def stopping(self) -> bool: ...

    def take_slot(self, queue: str) -> None: ...
    def give_slot(self, queue: str) -> None: ...
    def lost(self, run_id: RunId) -> None: ...


class Arrivals:
    """Turns each claim into a driver that goes on with the run, or gives the run up with the reason."""

    def __init__(
        self,
        host: ArrivalHall,
        loader: Loader,
        executions: Executions,
        chores: Chores,
        *,
        paused: Callable[[RunId, writes.Pause], None],
    ) -> None:
        self._host = host
        self._loader = loader
        self._executions = executions
        self._chores = chores
        self._paused = paused
        self._loading: dict[RunId, Claim] = {}

    def __contains__(self, run_id: object) -> bool:
        """Whether the run is being read."""
        return run_id in self._loading

    def take(self, claim: Claim) -> None:
        """A claimed run: go on with the execution that was kept, or load one."""
        host, run = self._host, claim.run
        host.lost(run.id)
        self._stop(run.id)
        host.take_slot(run.queue)
        kept = host.keeping.take(run.id)
        if kept is not None:
            # Its own last row proves that it is this run's, and not that of one which had its id and was deleted; and that
            # the store has not forgotten what it knows, and taken something else in its place.
            if claim.complete and kept.left_at(claim.rows[0]) and kept.attempt == run.attempt:
                host.drivers[run.id] = kept
                self._go_on(kept, claim)
                return
            kept.drop()
        self._loading[run.id] = claim
        self._chores.begin(self._load(claim))

    def stop_all(self) -> None:
        """What is being read is not ours any more."""
        for run_id in list(self._loading):
            self._stop(run_id)

    def give_up(self, run_id: RunId, workflow_id: str, seq: int, detail: str) -> None:
        """Pause a run that is ours and that we can't handle: better than to leave it in nobody's hands."""
        self._chores.begin(self._stand_still(run_id, workflow_id, seq, detail))

    def _go_on(self, driver: Driver, claim: Claim) -> None:
        try:
            driver.go_on(claim)
        except Exception as error:
            self._fail(claim, error)

    async def _load(self, claim: Claim) -> None:
        try:
            await self._begin(claim)
        except Exception as error:
            self._stop(claim.run.id)
            self._fail(claim, error)

    def _fail(self, claim: Claim, error: Exception) -> None:
        run = claim.run
        _log.exception("run %s can't go on", run.id)
        self._host.lost(run.id)
        self.give_up(run.id, run.workflow_id, run.seq, f"it could not go on: {error!r}")

    async def _begin(self, claim: Claim) -> None:
        host, run = self._host, claim.run
        loaded = await self._loader.load(claim, wanted=lambda: self._loading.get(run.id) is claim)
        if loaded is None:
            return
        failpoint("run.loaded")
        started = None
        now = host.clock.now()
        if loaded.failed is not None and loaded.failed.retry_at <= now and not run.cancel_requested:
            failpoint("attempt.before_restart")
            started = next_attempt(loaded.failed, now)
        definition = host.registry.get(run.workflow_id)
        attempt = loaded.attempt if started is None else started.attempt
        execution = self._executions.of_claimed(run, definition, attempt=attempt)
        driver = Driver(host, definition, execution, seq=run.seq, queue=run.queue, waits=run.waits)
        del self._loading[run.id]
        host.drivers[run.id] = driver
        await driver.begin(loaded, claim, started)
        if host.stopping:
            driver.ask_release()

    def _stop(self, run_id: RunId) -> None:
        """The run was lost, or claimed anew, while it was being read."""
        claim = self._loading.pop(run_id, None)
        if claim is not None:
            self._host.give_slot(claim.run.queue)

    async def _stand_still(self, run_id: RunId, workflow_id: str, seq: int, detail: str) -> None:
        host = self._host
        at, reason = host.clock.now(), PauseReason.POISONED
        pause = writes.Pause(reason=reason, detail=detail)
        commit = writes.CommitRun(
            run_id=run_id,
            seq=seq + 1,
            writer=host.worker_id,
            write_id=host.committer.new_write_id(),
            entries=(Paused(at=at, reason=reason, detail=detail),),
            transition=pause,
        )
        if not isinstance(await host.committer.write(commit), writes.Committed):
            return
        _log.error("run %s is paused: %s", run_id, detail)
        if host.hooks:
            host.hooks.tell(
                RunPaused(at=at, run_id=run_id, workflow_id=workflow_id, reason=reason, detail=detail)
            )
        self._paused(run_id, pause)
