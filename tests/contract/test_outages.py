"""Servers that go and come back under load: no worker exits, every run ends as it should, and nothing is done a second time.

``STEPFLOW_FULL=1`` makes a minute of what takes seconds else.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from stepflow import Stepflow
from tests.contract.working import EXECUTED, WORKFLOWS, begin, errand, finish, result_of
from tests.servers.polling import for_as_long_as, until
from tests.servers.postgres import another_server
from tests.servers.proxy import Cut, FaultProxy
from tests.servers.redis import redis_binary, redis_server
from tests.servers.running import free_port
from tests.servers.sqld import Sqld, session_binary
from tests.servers.stores import FULL, ONE_SERVER, Stores, by_way_of, port_of, stores, with_options

__all__ = ["stores"]

RUNS = range(600) if FULL else range(60)
OUTAGE = 60.0
BETWEEN_CUTS = {"p": 40, "r": 150, "l": 40}
"""Requests, at most, by the URL's first letter: on Redis a batch takes a dozen, and all of it is sent again."""
TIME_LIMIT = 600 if FULL else 60

pytestmark = [pytest.mark.deadline(TIME_LIMIT - 5), pytest.mark.timeout(TIME_LIMIT)]


@asynccontextmanager
async def working(url: str) -> AsyncIterator[tuple[Stepflow, Stepflow]]:
    """A worker, and somebody without one, as two processes would be."""
    EXECUTED.clear()
    async with (
        Stepflow(url, workflows=WORKFLOWS, worker=True, concurrency=40) as worker,
        Stepflow(url, workflows=WORKFLOWS, worker=False) as client,
    ):
        yield worker, client


async def is_at_work(client: Stepflow) -> None:
    """The worker is still there, and takes new runs."""
    run = await client.trigger(errand, 1)
    assert await run.result() == result_of(1)


async def some_steps(count: int) -> None:
    """Wait until so many more steps were begun."""
    enough = EXECUTED.total() + count
    await until(lambda: EXECUTED.total() >= enough)


def done_once() -> None:
    """No body was executed twice: nobody lost a lease, and what was ambiguous was found to be done."""
    assert Counter(EXECUTED.values()).keys() == {1}


@pytest.fixture(params=ONE_SERVER)
def url(request: pytest.FixtureRequest, stores: Stores) -> str:
    return stores.fresh(request.param)


# ------------------------------------------------------------------ by way of a proxy
async def test_an_outage_is_waited_out_by_everyone(url: str) -> None:
    async with FaultProxy(port_of(url)) as proxy, working(by_way_of(url, proxy.port)) as (_, client):
        runs = await begin(client, RUNS)
        await some_steps(5)
        proxy.refuse()
        tries = proxy.accepted
        if FULL:
            await for_as_long_as(OUTAGE)
        await proxy.until(lambda: proxy.accepted >= tries + 10)
        proxy.heal()

        await finish(runs)

        await is_at_work(client)
        if not FULL:  # a minute is longer than a lease
            done_once()


async def test_a_line_that_breaks_again_and_again_repeats_nothing(url: str) -> None:
    dice = random.Random(7)
    async with FaultProxy(port_of(url)) as proxy, working(by_way_of(url, proxy.port)) as (_, client):
        over = asyncio.Event()

        async def break_it() -> None:
            """In every way, every few requests, for as long as there is something to do."""
            while not over.is_set():
                struck = proxy.struck
                proxy.cut(dice.choice(list(Cut)), after=dice.randrange(BETWEEN_CUTS[url[0]]))
                await proxy.until(lambda before=struck: proxy.struck > before or over.is_set())

        breaking = asyncio.create_task(break_it())
        runs = await begin(client, RUNS)
        await finish(runs)
        over.set()
        proxy.heal()
        breaking.cancel()
        await asyncio.gather(breaking, return_exceptions=True)

        assert proxy.struck >= 3
        await is_at_work(client)
        done_once()


async def test_a_line_that_goes_silent_is_given_up_and_repeats_nothing(url: str) -> None:
    quick = {"p": "statement_timeout=500ms&connect_timeout=500ms", "r": "timeout=500ms", "l": "timeout=1"}
    async with (
        FaultProxy(port_of(url)) as proxy,
        working(with_options(by_way_of(url, proxy.port), quick[url[0]])) as (_, client),
    ):
        runs = await begin(client, RUNS)
        await some_steps(5)
        proxy.go_silent()
        tries = proxy.accepted
        await proxy.until(lambda: proxy.accepted >= tries + 5)  # given up, and tried anew
        proxy.heal()

        await finish(runs)

        await is_at_work(client)
        done_once()


# ------------------------------------------------------------------ servers of the test's own
class Own(NamedTuple):
    """A server that may be killed."""

    url: str
    restart: Callable[[], None]


@pytest.fixture(params=ONE_SERVER)
def own(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Own]:
    if request.param == "postgres":
        postgres = another_server()
        yield Own(postgres.url, postgres.restart)
        postgres.stop()
    elif request.param == "redis":
        port = free_port()
        redis = redis_server(redis_binary(), tmp_path, port, "--appendonly", "yes", "--appendfsync", "always")
        redis.start()

        def restart() -> None:
            redis.kill()
            redis.start()

        yield Own(f"redis://127.0.0.1:{port}", restart)
        redis.stop()
    else:
        sqld = Sqld(session_binary(), tmp_path)
        sqld.start()
        yield Own(sqld.url, sqld.restart)
        sqld.stop()


async def test_a_server_killed_again_and_again_under_load_loses_nothing(own: Own) -> None:
    async with working(own.url) as (_, client):
        for number in range(20 if FULL else 3):
            runs = await begin(client, range(200 if FULL else 30), name=f"round-{number}")
            finishing = asyncio.ensure_future(finish(runs))
            await asyncio.to_thread(own.restart)
            await finishing

        await is_at_work(client)
        done_once()
