"""Who watches a run in another process is told what happens in it, and nobody is told anything without that."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

from stepflow import Stepflow, workflow
from stepflow._engine.current import RUN_LOG
from stepflow._runtime.signals import Transient
from stepflow.app import Stepflow as App
from stepflow.codecs.base import Codec
from stepflow.errors import StorageUnavailableError
from stepflow.hooks import StepRetried, StepStarted
from stepflow.http.hosting import service_of
from stepflow.primitives import step, wait_for_event
from stepflow.retry import Retry
from stepflow.storage.memory import MemoryStorage
from stepflow.testing.clock import FakeClock
from tests.runtime.living import settle

gates: dict[str, asyncio.Event] = {}


@step(retry=Retry(attempts=2, delay="0s"))
async def fragile(secret: str) -> str:
    gates["begun"].set()
    await gates["go"].wait()
    raise ValueError(secret)


@workflow
async def breaking(secret: str) -> str:
    await wait_for_event("start")
    try:
        return await fragile(secret)
    except ValueError:
        return "failed"


class Recording(MemoryStorage):
    """Remembers what is broadcast; while it is deaf that is lost, and while it is broken it fails."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.deaf = self.broken = False

    async def broadcast(self, texts: Sequence[str]) -> None:
        self.texts += texts
        if self.broken:
            raise StorageUnavailableError("a test arranged it")
        if not self.deaf:
            await super().broadcast(texts)

    def said(self, what: str) -> int:
        return sum(f'"what":"{what}"' in text for text in self.texts)


class Watcher:
    """An app that executes nothing and watches."""

    def __init__(self, app: App) -> None:
        self.attention = service_of(app).attention
        self.heard: list[Transient] = []
        self.end = self.attention.listen(self.heard.append)

    async def watch(self, run_id: str) -> None:
        self.attention.watch(run_id)
        await self.attention.announced()
        await settle()

    def names(self) -> list[tuple[str, int]]:
        return [
            (type(fact).__name__, fact.attempt)
            for fact in self.heard
            if isinstance(fact, StepStarted | StepRetried)
        ]


@asynccontextmanager
async def worker_and_watcher(
    storage: MemoryStorage, clock: FakeClock | None = None, codec: Codec | None = None
) -> AsyncGenerator[tuple[App, Watcher]]:
    gates.update(begun=asyncio.Event(), go=asyncio.Event())
    clock = FakeClock() if clock is None else clock
    worker = Stepflow(storage, workflows=[breaking], worker=True, clock=clock, codec=codec)
    watching = Stepflow(storage, workflows=[breaking], worker=False, clock=clock, codec=codec)
    async with worker, watching:
        yield worker, Watcher(watching)


async def waiting(app: App, run_id: str = "r1", secret: str = "xyzzy") -> None:
    await app.trigger(breaking, secret, id=run_id)
    await settle()


async def go(app: App) -> None:
    """From the beginning of the step to the end of the run."""
    await app.notify("start")
    await gates["begun"].wait()
    gates["go"].set()
    await app.handle("r1").result()
    await settle()


async def test_the_beginning_of_a_step_is_told_before_it_ends_and_each_attempt_once() -> None:
    async with worker_and_watcher(MemoryStorage()) as (app, watcher):
        await waiting(app)
        await watcher.watch("r1")
        await app.notify("start")
        await gates["begun"].wait()
        await settle()
        before = watcher.names()
        gates["go"].set()
        await app.handle("r1").result()
        await settle()

    assert before == [("StepStarted", 1)]
    assert watcher.names() == [("StepStarted", 1), ("StepRetried", 1), ("StepStarted", 2)]


async def test_a_run_that_begins_after_it_is_watched_is_told_of_too() -> None:
    async with worker_and_watcher(MemoryStorage()) as (app, watcher):
        await watcher.watch("r1")
        await waiting(app)
        await go(app)

    assert len(watcher.names()) == 3


async def test_while_nobody_watches_nothing_is_sent_and_nobody_listens_to_steps_and_logs() -> None:
    storage = Recording()
    async with worker_and_watcher(storage) as (app, watcher):
        await waiting(app)
        await waiting(app, "r2")
        await watcher.watch("r2")
        watcher.attention.unwatch("r2")
        await settle()
        handlers = list(RUN_LOG.handlers)
        storage.texts.clear()
        await go(app)
        opened = app._opened  # pyright: ignore[reportPrivateUsage]
        assert opened is not None
        assert opened.worker is not None
        began = opened.worker.bodies.began

    assert (storage.texts, watcher.heard, handlers, began) == ([], [], [], None)


async def test_only_the_watched_run_is_told_of() -> None:
    storage = Recording()
    async with worker_and_watcher(storage) as (app, watcher):
        await waiting(app)
        await watcher.watch("r2")
        await go(app)

    assert (watcher.heard, storage.said("began")) == ([], 0)


async def passes(clock: FakeClock, seconds: int) -> None:
    for _ in range(seconds // 5):
        clock.advance("5s")
        await settle()


async def test_whoever_goes_on_watching_says_so_and_is_told_after_hours() -> None:
    storage, clock = Recording(), FakeClock()
    async with worker_and_watcher(storage, clock) as (app, watcher):
        await waiting(app)
        await watcher.watch("r1")
        await passes(clock, 300)
        await go(app)

    assert len(watcher.names()) == 3
    assert 10 <= storage.said("watched") <= 20


async def test_a_watcher_that_is_not_heard_of_any_more_is_forgotten() -> None:
    storage, clock = Recording(), FakeClock()
    async with worker_and_watcher(storage, clock) as (app, watcher):
        await waiting(app)
        await watcher.watch("r1")
        storage.deaf = True
        await passes(clock, 120)
        await go(app)

    assert storage.said("began") == 0


async def test_a_worker_that_starts_later_learns_who_watches() -> None:
    storage = MemoryStorage()
    gates.update(begun=asyncio.Event(), go=asyncio.Event())
    clock = FakeClock()
    async with Stepflow(storage, workflows=[breaking], worker=False, clock=clock) as watching:
        watcher = Watcher(watching)
        await watcher.watch("r1")
        async with Stepflow(storage, workflows=[breaking], worker=True, clock=clock) as app:
            await settle()
            await waiting(app)
            await go(app)

    assert len(watcher.names()) == 3


class Reversing:
    """A codec that anybody can undo, but not by looking."""

    tag = "reversed"

    def encode(self, data: bytes) -> bytes:
        return data[::-1]

    def decode(self, data: bytes) -> bytes:
        return data[::-1]


async def test_what_is_told_travels_as_values_are_stored() -> None:
    storage = Recording()
    async with worker_and_watcher(storage, codec=Reversing()) as (app, watcher):
        await waiting(app)
        await watcher.watch("r1")
        await go(app)

    assert [fact.error.message for fact in watcher.heard if isinstance(fact, StepRetried)] == ["xyzzy"]
    assert not any("xyzzy" in text or "watched" in text for text in storage.texts)


async def test_trouble_with_the_storage_loses_what_is_told_and_nothing_else() -> None:
    storage = Recording()
    async with worker_and_watcher(storage) as (app, watcher):
        await waiting(app)
        await watcher.watch("r1")
        storage.broken = True
        await go(app)

        assert await app.handle("r1", breaking).result() == "failed"
    assert watcher.heard == []
