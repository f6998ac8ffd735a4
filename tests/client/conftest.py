"""Every test of a client is a test of both: ``clients`` makes the one or the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from stepflow.app import Stepflow
from stepflow.testing.adapter_contract import program
from tests.client.running import Background, Clients, Server


@pytest.fixture(scope="session")
def background() -> Iterator[Background]:
    found = Background()
    yield found
    found.close()


@pytest.fixture(params=["sync", "async"])
def clients(request: pytest.FixtureRequest) -> Iterator[Clients]:
    found = Clients(request.param)
    yield found
    found.close()


def storage_url(name: str, folder: Path) -> str:
    return "memory://" if name == "memory" else f"sqlite:///{folder / 'client.db'}"


@pytest.fixture(scope="module")
def server(
    request: pytest.FixtureRequest, background: Background, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """The contract's program on a real server, for the tests of a module; on SQLite, unless a module names its storages."""
    url = storage_url(getattr(request, "param", "sqlite"), tmp_path_factory.mktemp("client"))
    found = Server(background, partial(Stepflow, url, workflows=[program])).start()
    yield found
    found.stop()


@pytest.fixture
def client(clients: Clients, server: Server) -> Any:
    """With the secret key."""
    return clients(server.url, api_key=program.SECRET)


@pytest.fixture
def serve(background: Background, tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Starts a server of the test's own."""
    made: list[Server] = []

    def begin(make_app: Callable[[], Stepflow] | None = None, options: Any = None) -> Server:
        url = f"sqlite:///{tmp_path / 'own.db'}"
        server = Server(background, make_app or partial(Stepflow, url, workflows=[program]), options)
        made.append(server)
        return server.start()

    yield begin
    for server in made:
        server.stop()
