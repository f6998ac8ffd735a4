"""Two processes at once: whatever the order of their round trips, the store ends as if one had come before the other."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Sequence
from itertools import product
from typing import Any, NamedTuple

import pytest

from stepflow.model.events import Wait
from stepflow.model.states import RunStatus
from stepflow.storage.opening import open_storage
from stepflow.storage.redis.operations.claims import Candidate, take_run
from stepflow.storage.redis.operations.events import send as send_event
from stepflow.storage.redis.operations.finishing import control_run, sweep
from stepflow.storage.redis.operations.journal import commit as commit_run
from stepflow.storage.redis.operations.journal import start as start_run
from stepflow.storage.redis.sagas import Act, Saga
from stepflow.storage.redis.storage import RedisStorage
from stepflow.storage.writes import (
    Action,
    Committed,
    Complete,
    Controlled,
    Created,
    Existing,
    Fenced,
    Sent,
    Suspend,
)
from stepflow.testing.storage_contract.building import (
    T0,
    a_child,
    an_event,
    commit,
    control,
    create,
    running,
    send,
    start,
    status_of,
    suspended,
    value,
    write,
)
from tests.servers.redis import fresh, redis_url

__all__ = ["redis_url"]

TURNS = 8
"""So many turns are dealt in every possible way; whoever still has something to do then does it."""


class World(NamedTuple):
    """A store, and a number that no other schedule has."""

    storage: RedisStorage
    number: int

    def name(self, name: str) -> str:
        return f"{name}-{self.number}"

    def act(self) -> Act:
        return Act(self.storage._open().keys, T0)


async def both(world: World, first: Saga[Any], second: Saga[Any], schedule: Sequence[int]) -> list[Any]:
    """What the two end with, if they take their turns like that."""
    network = world.storage._open().network
    sagas = [first, second]
    waits: list[Any] = [None, None]
    results: list[Any] = [None, None]
    ended: set[int] = set()

    async def turn(who: int) -> None:
        try:
            calls = next(sagas[who]) if waits[who] is None else sagas[who].send(waits[who])
        except StopIteration as end:
            results[who] = end.value
            ended.add(who)
        else:
            waits[who] = await network.perform(calls)

    for who in schedule:
        if who not in ended:
            await turn(who)
    for who in (0, 1):
        while who not in ended:
            await turn(who)
    return results


def schedules() -> Iterator[tuple[int, ...]]:
    return product((0, 1), repeat=TURNS)


async def worlds(url: str) -> AsyncGenerator[tuple[World, tuple[int, ...]]]:
    """A place of its own for each schedule."""
    storage = open_storage(fresh(url))
    assert isinstance(storage, RedisStorage)
    async with storage:
        for number, schedule in enumerate(schedules()):
            yield World(storage, number), schedule


async def test_an_event_and_a_suspension_never_miss_each_other(redis_url: str) -> None:
    async for world, schedule in worlds(redis_url):
        run_id, event_id = world.name("r"), world.name("paid")
        await running(world.storage, run_id)
        suspends = commit(run_id, transition=Suspend(), waits=(Wait(event_id=event_id, after=0),))

        sent, committed = await both(
            world,
            send_event(world.act(), an_event(event_id)),
            commit_run(world.act(), suspends),
            schedule,
        )

        assert isinstance(sent, Sent)
        assert isinstance(committed, Committed)
        assert await status_of(world.storage, run_id) is RunStatus.QUEUED, schedule


async def test_a_child_s_end_and_its_parent_s_suspension_never_miss_each_other(redis_url: str) -> None:
    async for world, schedule in worlds(redis_url):
        parent, child = world.name("p"), world.name("c")
        await running(world.storage, parent)
        await write(world.storage, start(a_child(child, parent)))
        wait = Wait(event_id=f"run/{child}", after=0)

        await both(
            world,
            commit_run(world.act(), commit(child, transition=Complete(output=value("1")))),
            commit_run(
                world.act(),
                commit(parent, transition=Suspend(), waits=(wait,), sends=(an_event(world.name("e")),)),
            ),
            schedule,
        )

        assert await status_of(world.storage, parent) is RunStatus.QUEUED, schedule
        [told] = await world.storage.read_events([(parent, wait)])
        assert len(told) == 1


async def test_events_sent_at_once_are_both_there_in_the_order_of_their_positions(redis_url: str) -> None:
    async for world, schedule in worlds(redis_url):
        event_id = world.name("paid")

        sent = await both(
            world,
            send_event(world.act(), an_event(event_id)),
            send_event(world.act(), an_event(event_id)),
            schedule,
        )

        [events] = await world.storage.read_events([("r", Wait(event_id=event_id, after=0))])
        assert [event.pos for event in events] == sorted(outcome.pos for outcome in sent)


async def test_a_late_sender_takes_a_later_position(redis_url: str) -> None:
    async with open_storage(fresh(redis_url)) as storage:
        assert isinstance(storage, RedisStorage)
        world = World(storage, 0)
        network = storage._open().network
        slow = send_event(world.act(), an_event("paid"))
        looked = await network.perform(next(slow))
        numbered = await network.perform(slow.send(looked))
        [quick] = await write(storage, send("paid"))
        assert isinstance(quick, Sent)
        assert numbered[0] < quick.pos

        replies = numbered
        try:
            while True:
                replies = await network.perform(slow.send(replies))
        except StopIteration as end:
            late: Sent = end.value

        assert late.pos > quick.pos, "a run that has seen the quick one would never see the late one"


async def test_one_key_makes_one_run(redis_url: str) -> None:
    async for world, schedule in worlds(redis_url):
        key = world.name("k")
        ids = [world.name("a"), world.name("b")]

        outcomes = await both(
            world,
            *(start_run(world.act(), create(run_id, idempotency_key=key)) for run_id in ids),
            schedule,
        )

        runs = [await world.storage.get_run(run_id) for run_id in ids]
        [made] = [run for run in runs if run is not None]
        found = await world.storage.find_run(key)
        assert found is not None
        assert found.id == made.id
        # Whose reservation was made good by the other is told that its run is there.
        assert all(isinstance(outcome, (Created, Existing)) for outcome in outcomes), schedule


async def test_one_of_two_claims_wins(redis_url: str) -> None:
    async for world, schedule in worlds(redis_url):
        run_id = world.name("r")
        await write(world.storage, create(run_id))
        candidate = Candidate((0, 0, 0), "default", run_id, None)

        taken = await both(
            world, *(take_run(world.act(), candidate, worker) for worker in ("w1", "w2")), schedule
        )

        assert [one is not None for one in taken].count(True) == 1, schedule


@pytest.mark.parametrize("action", [Action.CANCEL, Action.FORCE_CANCEL, Action.PAUSE])
async def test_a_commit_that_reaches_far_and_an_operation_take_turns(action: Action, redis_url: str) -> None:
    async for world, schedule in worlds(redis_url):
        run_id, event_id = world.name("r"), world.name("paid")
        await running(world.storage, run_id)
        far = commit(
            run_id,
            transition=Suspend(),
            sends=(an_event(event_id),),
            creates=(a_child(world.name("c"), run_id),),
        )

        committed, controlled = await both(
            world,
            commit_run(world.act(), far),
            control_run(world.act(), control(run_id, action)),
            schedule,
        )

        assert isinstance(controlled, Controlled), schedule
        [events] = await world.storage.read_events([("x", Wait(event_id=event_id, after=0))])
        run = await world.storage.get_run(run_id)
        assert run is not None
        if isinstance(committed, Fenced):
            assert (len(events), run.status) == (0, RunStatus.CANCELLED)
            continue
        assert len(events) == 1, "once, whoever sent it"
        # Queued for its next owner to look at the request, or ended, or paused: never asleep with a request unheard.
        expected = {
            Action.CANCEL: {RunStatus.QUEUED},
            Action.FORCE_CANCEL: {RunStatus.CANCELLED},
            Action.PAUSE: {RunStatus.QUEUED, RunStatus.PAUSED},
        }[action]
        assert run.status in expected, schedule
        if action is Action.FORCE_CANCEL:
            child = await world.storage.get_run(world.name("c"))
            assert child is not None
            assert child.status is RunStatus.CANCELLED


async def test_a_sweeper_beside_the_owner_does_nothing_twice(redis_url: str) -> None:
    async for world, schedule in worlds(redis_url):
        run_id, other, event_id = world.name("r"), world.name("o"), world.name("paid")
        await suspended(world.storage, other, waits=[Wait(event_id=event_id, after=0)])
        await running(world.storage, run_id)
        far = commit(run_id, transition=Complete(output=value("1")), sends=(an_event(event_id),))
        here = world.act().keys.of(run_id)

        await both(world, commit_run(world.act(), far), sweep(world.act(), here, run_id), schedule)

        [events] = await world.storage.read_events([(other, Wait(event_id=event_id, after=0))])
        assert len(events) == 1, schedule
        assert await status_of(world.storage, run_id) is RunStatus.COMPLETED
        assert await status_of(world.storage, other) is RunStatus.QUEUED
