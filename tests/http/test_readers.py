"""Streams as other people's readers see them: cut at any place, they arrive whole, once and in order."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable, Generator, Sequence

import pytest

from stepflow.testing.adapter_contract import Client, Site
from stepflow.testing.adapter_contract.serving import unique
from tests.http.programs.browsed_asgi import ORIGIN
from tests.http.readers import chromium, node, reading
from tests.servers.proxy import FaultProxy
from tests.servers.stores import FULL

PROGRAM = "tests.http.programs.browsed_asgi:application"
SIZES = range(60, 6000, 140) if FULL else (60, 700, 1500, 1501)
"""Bytes of each answer after which it is cut: in its header, in an event, between two bytes of the same event."""

_HEADER = 600


def command(port: int) -> Sequence[str]:
    return [sys.executable, "-m", "uvicorn", PROGRAM, "--port", str(port), "--log-level", "warning"]


@pytest.fixture(scope="module")
def client() -> Generator[Client]:
    site = Site(command, "/api")
    try:
        site.start_worker()
        yield site.start_server()[1]
    finally:
        site.close()


def with_node(address: str) -> Sequence[str]:
    return [node(), "node.mjs", address]


def with_chromium(address: str) -> Sequence[str]:
    return [node(), "chromium.mjs", chromium(), ORIGIN, address]


def address_of(client: Client, proxy: FaultProxy, run_id: str) -> str:
    """The stream from its start, through the proxy, as a page may ask for it: with a token and no header of its own."""
    token = client.ask("POST", f"/runs/{run_id}/tokens", json={}).json()["publicAccessToken"]
    return f"http://127.0.0.1:{proxy.port}/api/runs/{run_id}/stream?lastEventId=0&token={token}"


def journal_of(client: Client, run_id: str) -> list[tuple[str, str, object]]:
    with client.stream(f"/runs/{run_id}/stream?lastEventId=0") as stream:
        return [(each.id, each.event, json.loads(each.data)) for each in stream if each.event != "step:start"]


@pytest.mark.timeout(300)
@pytest.mark.deadline(280)
@pytest.mark.parametrize("reader", [with_node, with_chromium])
async def test_a_stream_that_is_cut_at_any_byte_arrives_whole(
    client: Client, reader: Callable[[str], Sequence[str]]
) -> None:
    run_id = await asyncio.to_thread(client.finished, "talk", 12)
    # Half a header is no answer to a browser: without the part that allows it, it may not even try again.
    sizes = [size for size in SIZES if reader is with_node or size > _HEADER]
    async with FaultProxy(int(client.base_url.split(":")[2].partition("/")[0])) as proxy:
        command = await asyncio.to_thread(reader, address_of(client, proxy, run_id))
        proxy.cut_answers(*sizes)
        async with reading(command) as read:
            await read.rest()

        assert proxy.struck == len(sizes), (read.told, proxy.accepted)
    assert read.events == await asyncio.to_thread(journal_of, client, run_id)
    assert read.told[-1] == {"what": "error", "closed": True}, "a 204 tells it that nothing more will come"


@pytest.mark.timeout(120)
@pytest.mark.deadline(110)
@pytest.mark.parametrize("reader", [with_node, with_chromium])
async def test_what_happens_while_a_reader_is_cut_off_is_told_when_it_comes_back(
    client: Client, reader: Callable[[str], Sequence[str]]
) -> None:
    event = unique("event")
    run_id = await asyncio.to_thread(client.waiting, "two-waits", event, f"{event}/1")
    async with FaultProxy(int(client.base_url.split(":")[2].partition("/")[0])) as proxy:
        command = await asyncio.to_thread(reader, address_of(client, proxy, run_id))
        async with reading(command) as read:
            for number in (1, 2):
                await read.until("run:suspended")
                proxy.refuse()
                await asyncio.to_thread(client.ask, "POST", f"/notify/{event}/{number}", json=number)
                proxy.heal()
            await read.rest()

    assert read.opened >= 3
    assert read.events == await asyncio.to_thread(journal_of, client, run_id)
    assert read.events[-1][1] == "execution:complete"
