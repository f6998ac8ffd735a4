"""Incarnation: one life of the process that works on a harness's runs, from its start to its crash."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Coroutine
from concurrent.futures import Future, wait
from copy import copy
from datetime import datetime, timedelta
from random import Random
from typing import Any

from msgspec.structs import replace

from stepflow._engine.commands import RunStep
from stepflow._runtime.bodies import AroundBody
from stepflow._runtime.keeping import Keeping
from stepflow._runtime.offload import Offload
from stepflow._runtime.surroundings import Surroundings
from stepflow._runtime.worker import Worker
from stepflow.app import Stepflow
from stepflow.clock import Clock
from stepflow.codecs.failures import ErrorRegistry
from stepflow.hooks import Hooks
from stepflow.storage.base import Storage
from stepflow.testing.harness.tap import Tap
from stepflow.types import WorkerId

_THREADS = 8


class _NoLease:
    """Nobody else is there who could take the runs, and the clock leaps: the lease needs no keeping."""

    def __init__(
        self, storage: Storage, worker: WorkerId, clock: Clock, lease: timedelta, **_: Any
    ) -> None: ...

    def start(self) -> None: ...

    async def stop(self) -> None: ...


class _InTurn(Offload):
    """Waits for each function that it calls on a thread: how long it takes then decides about no order."""

    def __init__(self, patience: float, errors: ErrorRegistry) -> None:
        super().__init__(threads=_THREADS, errors=errors)
        self._patience = patience

    def submit(self, command: RunStep, context: contextvars.Context) -> Future[Any]:
        job = super().submit(command, context)
        wait([job], timeout=self._patience)
        return job


def on_storage(app: Stepflow, storage: Storage, clock: Clock, *, worker: bool) -> Stepflow:
    """The same app, not open, on another storage and clock; it forgets nothing, and tells no hooks."""
    other = copy(app)
    other.__dict__.pop("sync", None)
    other._opened = None  # pyright: ignore[reportPrivateUsage]
    other._storage = storage  # pyright: ignore[reportPrivateUsage]
    other._clock = clock  # pyright: ignore[reportPrivateUsage]
    other._hooks = Hooks(())  # pyright: ignore[reportPrivateUsage]
    other._wants_worker = worker  # pyright: ignore[reportPrivateUsage]
    other._options = replace(  # pyright: ignore[reportPrivateUsage]
        app._options,  # pyright: ignore[reportPrivateUsage]
        worker_name="harness" if worker else None,
        retention=None,
        event_retention=None,
        grace=timedelta(0),
        lease=timedelta(days=36_500),
    )
    return other


class Incarnation:
    """A worker of its own on the harness's storage. ``number`` counts them, from 1."""

    def __init__(self, app: Stepflow, tap: Tap, clock: Clock, number: int, around: AroundBody) -> None:
        self.tap = tap
        self.number = number
        self._app = on_storage(app, tap, clock, worker=True)
        self._app._surroundings = Surroundings(  # pyright: ignore[reportPrivateUsage]
            random=Random(number),
            incarnation=lambda: f"harness-{number}",
            keep_lease=_NoLease,
            around_body=around,
        )

    async def open(self, *, forgetful: bool, in_turn: float | None) -> None:
        """Start working. ``forgetful``: no execution outlives a suspension, so each wake-up is a replay.

        ``in_turn``: each step on a thread ends before anything else goes on, so that the order is always the same; for at most so many seconds.
        """
        await self._app._open(worker=True)  # pyright: ignore[reportPrivateUsage]
        worker = self.worker
        if forgetful:
            worker.keeping = Keeping(runs=0)
        if in_turn is not None:
            worker.offload.close()
            errors = self._app._errors  # pyright: ignore[reportPrivateUsage]
            worker.offload = worker.bodies.offload = _InTurn(in_turn, errors)

    @property
    def worker(self) -> Worker:
        opened = self._app._opened  # pyright: ignore[reportPrivateUsage]
        assert opened is not None and opened.worker is not None, "the harness is open"
        return opened.worker

    async def close(self) -> None:
        """Stop working, in order."""
        await self._app._close(now=True)  # pyright: ignore[reportPrivateUsage]

    async def bury(self) -> None:
        """Clear away what a crashed process leaves in memory. Nothing of it reaches the storage."""
        self.tap.die()
        opened, worker = self._app._opened, self.worker  # pyright: ignore[reportPrivateUsage]
        assert opened is not None
        worker.stopping = True
        for driver in list(worker.drivers.values()):
            driver.drop()
        worker.drivers.clear()
        worker.keeping.drop_all()
        await opened.committer.close()
        while worker.bodies.count:  # cancelled; those on threads can't be, and are waited for
            await one_ends(worker)
        await self._app._close(now=True)  # pyright: ignore[reportPrivateUsage]

    def next_due(self) -> datetime | None:
        """When a run in memory goes on by itself: a timer, a retry, or a step that is cut off by its timeout."""
        worker = self.worker
        due = [worker.bodies.next_timeout]
        for driver in worker.drivers.values():
            due += [driver.execution.due_at(), driver.steps.retry_at]
        return min((at for at in due if at is not None), default=None)


async def one_ends(worker: Worker) -> None:
    """Wait until one of the steps that execute now has ended."""
    ended = asyncio.Event()
    worker.bodies.after_next(ended.set)
    await ended.wait()


def immediately(work: Coroutine[Any, Any, Any]) -> Any:
    """The result of a coroutine that never waits, as those of a store in memory are."""
    try:
        work.send(None)
    except StopIteration as done:
        return done.value
    work.close()
    raise AssertionError("the store in memory waited for something")
