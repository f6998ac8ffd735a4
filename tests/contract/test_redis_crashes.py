"""A process may die between any two round trips to Redis: whoever comes next finishes what it began, or nothing was begun."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import Any, NamedTuple, Self

import msgspec
import pytest
from msgspec.structs import replace

from stepflow.errors import StorageUnavailableError
from stepflow.model.events import Wait
from stepflow.model.states import RunStatus
from stepflow.storage.base import Storage
from stepflow.storage.memory import MemoryStorage
from stepflow.storage.opening import open_storage
from stepflow.storage.redis.storage import RedisStorage
from stepflow.storage.writes import Action, Complete, Fail, Suspend, Write
from stepflow.testing.storage_contract.building import (
    FAILURE,
    T0,
    a_child,
    a_run,
    a_worker,
    an_event,
    claim,
    commit,
    control,
    create,
    get,
    paused,
    running,
    send,
    start,
    suspended,
    value,
    write,
)
from tests.servers.redis import fresh, redis_cluster_url, redis_url

__all__ = ["redis_cluster_url", "redis_url"]

RUNS = ("r1", "r2", "child", "other", "fresh")
EVENTS = ("paid", "shipped", "run/child", "run/r1")


class Scene(NamedTuple):
    """Some runs, and a write that reaches beyond the slot of its run."""

    prepare: Callable[[Storage], Awaitable[Any]]
    write: Write


async def a_family(storage: Storage) -> None:
    """``r1`` runs, has a child that is suspended and one that is queued; ``r2`` waits for an event."""
    await running(storage)
    await suspended(storage, "r2", waits=[Wait(event_id="paid", after=0), Wait(event_id="shipped", after=0)])
    await write(storage, start(a_child("child", "r1")), create("other", parent=a_child("x", "r1").parent))
    await write(storage, commit("child", transition=Suspend(), waits=(Wait(event_id="shipped", after=0),)))


async def a_waiting_parent(storage: Storage) -> None:
    await suspended(storage, waits=[Wait(event_id="run/child", after=0)])
    await write(storage, start(a_child("child", "r1")), start(a_child("other", "child")))


async def a_paused_child(storage: Storage) -> None:
    await a_waiting_parent(storage)
    await write(storage, send("paid", run_id="child"), commit("other", transition=Suspend()))
    await write(storage, control("child", Action.PAUSE))
    await write(storage, commit("child", transition=None), control("child", Action.FORCE_CANCEL))
    await paused(storage, "r2")
    await write(storage, send("paid", run_id="r2"), send("shipped", dedup_id="d", run_id="r2"))


SCENES = {
    "a commit that creates, sends, waits, cancels and suspends": Scene(
        a_family,
        commit(
            transition=Suspend(),
            creates=(a_child("fresh", "r1"),),
            sends=(an_event("paid"), an_event("shipped", run_id="r2"), an_event("shipped")),
            waits=(Wait(event_id="run/fresh", after=0), Wait(event_id="run/other", after=0)),
            cancels=("other", "child"),
        ),
    ),
    "a wait": Scene(a_family, commit(transition=Suspend(), waits=(Wait(event_id="shipped", after=0),))),
    "the end of a parent": Scene(a_family, commit(transition=Fail(failure=FAILURE))),
    "the end of a child": Scene(a_waiting_parent, commit("child", transition=Complete(output=value("7")))),
    "a deletion": Scene(a_paused_child, control("r2", Action.DELETE)),
    "an event for all": Scene(a_family, send("shipped", dedup_id="d")),
    "a create with a key": Scene(
        a_family, create("fresh", idempotency_key="k", parent=a_child("x", "r1").parent)
    ),
    "a start that suspends": Scene(
        a_family,
        start(
            a_run("fresh", idempotency_key="k"),
            transition=Suspend(),
            sends=(an_event("paid"),),
            waits=(Wait(event_id="paid", after=0),),
        ),
    ),
}


async def state(storage: Storage) -> dict[str, Any]:
    """Everything that can be read, but for positions: a write that was cut off may have used some."""
    runs = [await storage.get_run(run_id) for run_id in RUNS]
    waits = [(run_id, Wait(event_id=event_id, after=0)) for run_id in RUNS for event_id in EVENTS]
    info = await storage.info(now=T0)
    return {
        "runs": [None if run is None else replace(run, created_pos=0) for run in runs],
        "journals": [await storage.read_journal(run_id) for run_id in RUNS],
        "events": [[replace(event, pos=0) for event in found] for found in await storage.read_events(waits)],
        "key": (await storage.find_run("k")) is not None,
        "due": await storage.next_due(["default"], now=T0),
        "counts": (dict(info.runs), info.journal_rows, info.events),
    }


class CutOff:
    """A network that goes away after some round trips."""

    def __init__(self, storage: RedisStorage, after: int) -> None:
        self._network = storage._open().network
        self._perform = self._network.perform
        self._left = after
        self.cut = False

    async def perform(self, calls: Sequence[Any], **options: Any) -> list[Any]:
        if self._left == 0:
            self.cut = True
            raise StorageUnavailableError("cut off")
        self._left -= 1
        return await self._perform(calls, **options)

    async def __aenter__(self) -> Self:
        self._network.perform = self.perform  # type: ignore[method-assign]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._network.perform = self._perform  # type: ignore[method-assign]


async def expected(scene: Scene, *, done: bool) -> dict[str, Any]:
    async with MemoryStorage() as memory:
        await scene.prepare(memory)
        if done:
            await memory.write([scene.write], now=T0)
        return await state(memory)


@contextlib.asynccontextmanager
async def crashed(url: str, scene: Scene, after: int) -> AsyncGenerator[tuple[RedisStorage, bool]]:
    """A store whose writer went away in the middle, and whether it did."""
    storage = open_storage(url)
    assert isinstance(storage, RedisStorage)
    async with storage:
        await scene.prepare(storage)
        async with CutOff(storage, after) as network:
            try:
                await storage.write([scene.write], now=T0)
            except StorageUnavailableError:
                assert network.cut
        yield storage, network.cut


@pytest.mark.deadline(50)
@pytest.mark.parametrize("name", SCENES)
async def test_a_write_cut_off_anywhere_and_sent_again_is_done_once(name: str, redis_url: str) -> None:
    scene = SCENES[name]
    whole = await expected(scene, done=True)
    after, more = 0, True
    while more:
        async with crashed(fresh(redis_url), scene, after) as (storage, more):
            await storage.write([scene.write], now=T0)

            assert await state(storage) == whole, f"after {after} round trips"
        after += 1
    assert after > 2


@pytest.mark.deadline(50)
@pytest.mark.parametrize("name", SCENES)
async def test_a_write_cut_off_anywhere_is_finished_by_others_or_was_never_begun(
    name: str, redis_cluster_url: str
) -> None:
    scene = SCENES[name]
    whole, nothing = await expected(scene, done=True), await expected(scene, done=False)
    after, more = 0, True
    seen: list[str] = []
    while more:
        async with crashed(fresh(redis_cluster_url), scene, after) as (storage, more):
            await storage.sweep(now=T0, age=0)

            found = await state(storage)
            seen.append("whole" if found == whole else "nothing" if found == nothing else f"half: {found}")
        after += 1
    assert seen == sorted(seen, key=["nothing", "whole"].index), seen


async def test_a_claim_finishes_what_a_dead_owner_left(redis_url: str) -> None:
    scene = SCENES["a commit that creates, sends, waits, cancels and suspends"]
    async with crashed(fresh(redis_url), scene, 3) as (storage, cut):
        assert cut
        await storage.register_worker(a_worker("w2"))

        await claim(storage, "w2")

        # The owner is gone, but what it committed is done, not done again by a takeover.
        run = await get(storage)
        assert (run.status, run.seq, run.worker) == (RunStatus.SUSPENDED, 2, None)
        assert await storage.get_run("fresh") is not None


async def test_no_key_is_left_of_runs_and_events_that_are_gone(redis_url: str) -> None:
    url = fresh(redis_url)
    async with open_storage(url) as storage:
        await storage.register_worker(a_worker())
        await SCENES["a start that suspends"].prepare(storage)
        await write(storage, SCENES["a start that suspends"].write)
        await write(storage, SCENES["a commit that creates, sends, waits, cancels and suspends"].write)
        for run_id in (*RUNS, "r1"):
            await write(storage, control(run_id, Action.FORCE_CANCEL))
        await storage.release_worker("w1", now=T0)

        after = T0.replace(year=T0.year + 1)
        await storage.prune(ended_before=after, events_before=after, limit=1_000)

        assert isinstance(storage, RedisStorage)
        network = storage._open().network
        prefix = url.partition("prefix=")[2].encode()
        found = await _keys(network, prefix)
        left = {key.removeprefix(prefix).decode() for key in found}
        assert left == {"{store}:schema", "{store}:pos", "{store}:sessions", "{0.0}:stats"}


async def _keys(network: Any, prefix: bytes) -> list[bytes]:
    from stepflow.storage.redis.calls import on_store

    [found] = await network.perform([on_store("KEYS", prefix + b"*")])
    keys: list[bytes] = found
    return keys


def test_intents_read_back_as_they_were_written() -> None:
    from stepflow.storage.redis.intents import intent_of, read_intent, write_intent

    wanted = commit(transition=Complete(output=value('{"a": 1}')), sends=(an_event("paid", run_id="r"),))
    intent = intent_of(wanted, 7)

    text = write_intent(intent)

    read = read_intent(text)
    assert write_intent(read) == text
    assert msgspec.json.encode(read) == text.encode()
