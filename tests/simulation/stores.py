"""Stores: memory, the real SQL of SQLite, and a model of Redis that forgets its last writes at a failover. All answer at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from random import Random
from typing import Any

from stepflow.storage.base import Storage
from stepflow.storage.memory import MemoryStorage
from stepflow.storage.sqlite.options import SqliteOptions
from stepflow.storage.sqlite.storage import SqliteStorage
from stepflow.storage.writes import QueueReady, RunChanged, Wakeup
from stepflow.types import RunId, WorkerId
from tests.simulation.proxy import at_once

NAMES = ("memory", "sqlite", "redis-model")
Publish = Callable[[list[Wakeup]], None]


class Hub:
    """Stands where a store keeps its listeners: hands every hint to the world, which is free to lose it."""

    heard = True
    listeners = 1

    def __init__(self, publish: Publish) -> None:
        self._publish = publish

    def publish(self, *, ready: Iterable[str] = (), changed: Iterable[RunId] = ()) -> None:
        hints: list[Wakeup] = [QueueReady(queue=queue) for queue in sorted(ready)]
        hints += [RunChanged(run_id=run_id) for run_id in sorted(changed)]
        if hints:
            self._publish(hints)


class Store:
    """The one store of a simulated cluster. ``inner`` is what processes' requests are applied to."""

    forgets = False

    def __init__(self, inner: Storage, publish: Publish) -> None:
        self.inner = inner
        inner._hub = Hub(publish)  # type: ignore[attr-defined]

    def close(self) -> None:
        """Let go of what it has open."""

    def fail_over(self, random: Random) -> int:
        """Fall back to an older state; how many writes were forgotten."""
        return 0


class SqliteStore(Store):
    """A private database in memory: real statements, real transactions, no file."""

    def __init__(self, publish: Publish) -> None:
        storage = SqliteStorage(SqliteOptions(path=None))
        at_once(storage.__aenter__())
        super().__init__(storage, publish)
        self._sqlite = storage

    def close(self) -> None:
        self._sqlite._leave()


class Recording:
    """A memory that keeps a list of what was done to it."""

    CHANGES = frozenset({"write", "claim_runs", "register_worker", "release_worker", "setting", "prune"})

    def __init__(
        self, memory: MemoryStorage, done: list[tuple[str, tuple[Any, ...], dict[str, Any]]]
    ) -> None:
        self.memory = memory
        self.done = done

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.memory, name)
        if name not in self.CHANGES:
            return method

        def recorded(*args: Any, **kwargs: Any) -> Any:
            self.done.append((name, args, dict(kwargs)))
            return method(*args, **kwargs)

        return recorded

    def lease_keeper(self, worker: WorkerId) -> Any:
        return _RecordingKeeper(self, worker)


class _RecordingKeeper:
    def __init__(self, recording: Recording, worker: WorkerId) -> None:
        self._recording = recording
        self._worker = worker

    def renew(self, now: datetime, lease: timedelta) -> bool:
        self._recording.done.append(("renew", (self._worker, now + lease), {}))
        return self._recording.memory.renew(self._worker, now + lease)


class RedisModel(Store):
    """Acknowledged writes may be lost: the replica that takes over has not seen the last of them."""

    forgets = True

    def __init__(self, publish: Publish) -> None:
        self._publish_to = publish
        self._done: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []
        memory = MemoryStorage()
        memory._hub = Hub(publish)  # type: ignore[assignment]
        self.inner = Recording(memory, self._done)  # type: ignore[assignment]

    def fail_over(self, random: Random) -> int:
        forgotten = min(len(self._done), random.choice((1, 3, 10, 40)))
        del self._done[len(self._done) - forgotten :]
        memory = MemoryStorage()
        memory._hub = Hub(lambda hints: None)  # type: ignore[assignment]
        for name, args, kwargs in self._done:
            outcome = getattr(memory, name)(*args, **kwargs)
            if name != "renew":
                at_once(outcome)
        memory._hub = Hub(self._publish_to)  # type: ignore[assignment]
        self.inner.memory = memory  # type: ignore[attr-defined]
        return forgotten


def make(name: str, publish: Publish) -> Store:
    """The store of this name, empty."""
    match name:
        case "memory":
            return Store(MemoryStorage(), publish)
        case "sqlite":
            return SqliteStore(publish)
        case "redis-model":
            return RedisModel(publish)
    raise ValueError(f"no store {name!r}; there are {', '.join(NAMES)}")
