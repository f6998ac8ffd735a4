"""Connections cut before, in the middle of and after every single request of every kind of write: sent again, it is done once.

Whatever else a proxy can do to a connection is here too: an outage, and a server that never answers.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from itertools import count

import pytest

from stepflow.errors import StorageUnavailableError
from stepflow.storage.base import Storage
from stepflow.storage.opening import open_storage
from stepflow.testing.storage_contract.building import (
    LEASE,
    LONG,
    T0,
    a_worker,
    claim,
    commit,
    create,
    running,
    write,
)
from tests.contract.cutting import WRITES, Names, arrange, expected, persistently, state
from tests.servers.proxy import Cut, FaultProxy
from tests.servers.stores import FULL, ONE_SERVER, Stores, by_way_of, port_of, stores

__all__ = ["stores"]

MOST = 60
"""Requests that one call could possibly need."""

CUTS = [[cut] for cut in Cut] if FULL else [list(Cut)]
"""In the full form each request is cut in each way; else in one of them, in turn."""

_numbers = count(1)


@pytest.fixture(params=ONE_SERVER)
def url(request: pytest.FixtureRequest, stores: Stores) -> str:
    return stores.fresh(request.param)


@asynccontextmanager
async def cuttable(url: str, options: str = "") -> AsyncIterator[tuple[Storage, Storage, FaultProxy]]:
    """The same store twice: straight, and by way of the proxy."""
    async with FaultProxy(port_of(url)) as proxy:
        there = by_way_of(url, proxy.port)
        more = f"{'&' if '?' in there else '?'}{options}" if options else ""
        async with open_storage(url) as straight, open_storage(there + more) as storage:
            yield straight, storage, proxy


async def every_request(proxy: FaultProxy, *cuts: Cut, begin: int = 0) -> AsyncGenerator[None]:
    """Arranges a cut at the first request of what is done next, then at the second, … until there is none to cut."""
    for after in range(MOST):
        before = proxy.struck
        proxy.cut(cuts[(begin + after) % len(cuts)], after=after)
        yield
        struck = proxy.struck > before
        proxy.heal()
        if not struck:
            assert after > 0, "nothing went through the proxy"
            return
    pytest.fail(f"more than {MOST} requests")


# ------------------------------------------------------------------ writes
@pytest.mark.deadline(180)
@pytest.mark.timeout(180)
@pytest.mark.parametrize("cuts", CUTS, ids="-".join)
async def test_a_write_whose_connection_is_cut_anywhere_is_done_once_when_it_is_sent_again(
    url: str, cuts: Sequence[Cut]
) -> None:
    wanted = {name: await expected(make, 1) for name, make in WRITES.items()}
    answers = {name: (await expected(make, 2))[1] for name, make in WRITES.items()}
    async with cuttable(url) as (straight, storage, proxy):
        for number, (name, make) in enumerate(WRITES.items()):
            async for _ in every_request(proxy, *cuts, begin=number):
                names = Names(f"-{next(_numbers)}-")
                await arrange(straight, names)

                [outcome] = await persistently(lambda n=names, m=make: storage.write([m(n)], now=T0))

                assert type(outcome) in answers[name], name
                assert (await state(straight, names)).decode() == wanted[name][0].decode(), name


@pytest.mark.parametrize("name", WRITES)
async def test_in_memory_too_what_is_done_twice_is_done_once(name: str) -> None:
    once, _ = await expected(WRITES[name], 1)

    twice, _ = await expected(WRITES[name], 2)

    assert twice.decode() == once.decode()


# ------------------------------------------------------------------ what is not a write of a run
@pytest.mark.parametrize("cut", list(Cut))
async def test_a_claim_whose_connection_is_cut_anywhere_loses_no_run(url: str, cut: Cut) -> None:
    async with cuttable(url) as (straight, storage, proxy):
        async for _ in every_request(proxy, cut):
            number = next(_numbers)
            queue, first = f"q{number}", f"w{number}"
            ids = [f"a-{number}", f"b-{number}"]
            await straight.register_worker(a_worker(first, lease_until=T0 + LONG))
            await write(straight, *(create(run_id, queue=queue) for run_id in ids))

            taken = await persistently(lambda q=queue, w=first: claim(storage, w, queues={q: 9}))
            proxy.heal()
            taken = [*taken, *await claim(storage, first, queues={queue: 9})]

            assert sorted(found.run.id for found in taken) == ids, "taken, and its owner was not told"
            for found in taken:
                assert found.run.worker == first
                assert [row.seq for row in found.rows] == [1]
            assert await claim(storage, first, queues={queue: 9}, now=T0 + LONG / 2) == []
            assert await claim(storage, first, queues={queue: 9}, now=T0 + LONG / 2) == []


@pytest.mark.parametrize("cut", list(Cut))
async def test_whatever_else_is_cut_off_may_be_repeated(url: str, cut: Cut) -> None:
    async with cuttable(url) as (straight, storage, proxy):
        await running(straight, "r1", "w1")
        keeper = storage.lease_keeper("w1")

        async def renewed() -> bool:
            return await asyncio.to_thread(keeper.renew, T0, 2 * LEASE)

        calls: list[tuple[Callable[[], Awaitable[object]], object]] = [
            (lambda: storage.register_worker(a_worker()), None),
            (renewed, True),
            (lambda: storage.release_worker("w1", now=T0), ["r1"]),
            (lambda: storage.setting("secret", b"\0first"), b"\0first"),
            (lambda: storage.prune(ended_before=T0, events_before=T0, limit=10), 0),
        ]
        for call, answer in calls:
            async for _ in every_request(proxy, cut):
                assert await persistently(call) == answer
        keeper.close()


# ------------------------------------------------------------------ a server that never answers
@pytest.mark.deadline(60)
async def test_every_call_to_a_server_that_never_answers_ends_by_its_timeout(url: str) -> None:
    options = {"p": "statement_timeout=200ms&connect_timeout=200ms", "r": "timeout=200ms", "l": "timeout=1"}
    async with cuttable(url, options[url[0]]) as (straight, storage, proxy):
        await running(straight)
        await storage.register_worker(a_worker())
        keeper = storage.lease_keeper("w1")
        assert await asyncio.to_thread(keeper.renew, T0, LEASE)
        proxy.go_silent()

        def calls() -> list[Awaitable[object]]:
            return [
                storage.write([commit()], now=T0),
                storage.write([make(Names()) for make in WRITES.values()], now=T0),
                claim(storage),
                storage.register_worker(a_worker("w2")),
                storage.release_worker("w2", now=T0),
                storage.get_run("r1"),
                storage.read_journal("r1"),
                storage.read_requests("w1"),
                storage.next_due(["default"], now=T0),
                storage.setting("secret", b"1"),
                storage.prune(ended_before=T0, events_before=T0, limit=1),
                storage.info(now=T0),
                storage.server_time(),
                asyncio.to_thread(keeper.renew, T0, LEASE),
            ]

        ends = await asyncio.gather(*calls(), return_exceptions=True)

        assert [type(end) for end in ends] == [StorageUnavailableError] * len(ends)
        proxy.heal()
        await persistently(lambda: write(storage, commit()))
        assert await persistently(lambda: asyncio.to_thread(keeper.renew, T0, LEASE))
        keeper.close()
