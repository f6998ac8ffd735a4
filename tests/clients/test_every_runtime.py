"""The packed JavaScript client does the same tour in every runtime: what it is told, what it misses when it is cut (nothing), what it hangs up."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from stepflow.client.async_client import AsyncStepflowClient
from tests.clients.runtimes import ORIGIN, RUNTIMES, packed_into
from tests.servers.proxy import FaultProxy
from tests.servers.running import Server, answers, free_port

SECRET = "sf_of_the_runtimes_0123456789"
SIZES = (60, 700, 1500, 1501, 650, 900)
"""Bytes of each answer after which it is cut: in its head, between events, in the middle of one; the last two while the run goes on."""

FACTS = {
    "run": {
        "created": True,
        "result": 6,
        "status": "completed",
        "input": {"id": "é ☃", "lines": [1, 2, 3]},
    },
    "subscription": {"steps": [0, 1, 2, 3, 4], "result": 5},
    "aborted": ["no longer wanted", "no longer wanted"],
    "errors": {
        "unknown": {
            "isOne": True,
            "name": "UnknownWorkflowError",
            "type": "unknown-workflow",
            "status": 404,
            "nearest": ["order"],
        },
        "misfit": {"isOne": True, "name": "InputError", "path": "$.lines[0]"},
    },
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runtimes")
    packed_into(folder)
    return folder


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Generator[int]:
    """Where a ``stepflow serve`` of the contract's program is, a worker in it."""
    port = free_port()
    program = "stepflow.testing.adapter_contract.program:app"
    command = [sys.executable, "-m", "stepflow", "serve", program, "--worker", "--quiet", "--cors", ORIGIN]
    server = Server(
        [*command, "--port", str(port)],
        log=tmp_path_factory.mktemp("served") / "server.log",
        ready=lambda: answers(port),
        env={**os.environ, "STEPFLOW_API_KEY": SECRET},
    )
    server.start()
    yield port
    server.kill()


@pytest.mark.timeout(300)  # the first one installs them all
@pytest.mark.deadline(60)
@pytest.mark.parametrize("name", RUNTIMES)
async def test_the_client_works_in(name: str, folder: Path, port: int) -> None:
    async with (
        FaultProxy(port) as cut,
        FaultProxy(port) as watched,
        AsyncStepflowClient(f"http://127.0.0.1:{port}", api_key=SECRET) as client,
        asyncio.TaskGroup() as group,
    ):
        cut.cut_answers(*SIZES)
        group.create_task(_see_the_connections_through(watched, client, name))
        facts = await RUNTIMES[name].tour(
            folder,
            {
                "direct": f"http://127.0.0.1:{port}",
                "cut": f"http://127.0.0.1:{cut.port}",
                "watched": f"http://127.0.0.1:{watched.port}",
                "apiKey": SECRET,
                "name": name,
            },
        )

    assert cut.struck == len(SIZES)
    _assert_nothing_is_missing(facts.pop("streams"))
    assert facts == FACTS


async def _see_the_connections_through(watched: FaultProxy, client: AsyncStepflowClient, name: str) -> None:
    """Tell the tour when the two requests that it gives up are open, and when neither is any more."""
    await watched.until(lambda: watched.accepted >= 2)
    await client.notify(f"{name}/open")
    await watched.until(lambda: not watched.open)
    await client.notify(f"{name}/closed")


def _assert_nothing_is_missing(streams: list[dict[str, Any]]) -> None:
    """No gap, nothing twice, all of it."""
    ended, live = streams
    assert ended["followed"] == ended["whole"]
    assert [each["result"] for each in ended["whole"][1:-1]] == list(range(30))
    assert live["followed"] == live["whole"]
    told = [each["result"] for each in live["whole"] if each["type"] == "step:complete"]
    assert told == ["first", "☃", "second", "☃", "third"]
    assert live["woken"] == [1, 1]
