"""Every store by its name, and an empty one of each for whoever asks."""

from __future__ import annotations

import os
from itertools import count
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import pytest

from tests.servers.postgres import at_port, emptied
from tests.servers.redis import fresh, session_cluster, session_redis
from tests.servers.sqld import erase, session_libsql

EMBEDDED: Final = ("memory", "sqlite")
ONE_SERVER: Final = ("postgres", "redis", "libsql")
"""Those that a proxy can stand before: a cluster names its nodes' own ports."""
SERVERS: Final = (*ONE_SERVER, "redis-cluster")
ALL: Final = (*EMBEDDED, *SERVERS)
LASTING: Final = ("sqlite", *SERVERS)

FULL: Final = os.environ.get("STEPFLOW_FULL") == "1"
"""Whether the heavy forms are asked for: hours of a server's life in minutes, instead of minutes in seconds."""

_SCHEMA: Final = "proofs"


class Stores:
    """Makes empty stores. Those on one server of the session replace each other: a test uses one at a time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._numbers = count(1)

    def fresh(self, name: str) -> str:
        """The URL of an empty store. Not to be called on a running event loop."""
        match name:
            case "memory":
                return "memory://"
            case "sqlite":
                return f"sqlite:///{self._folder}/store-{next(self._numbers)}.db?synchronous=normal"
            case "postgres":
                return emptied(_SCHEMA)
            case "redis":
                return fresh(session_redis())
            case "redis-cluster":
                return fresh(session_cluster())
            case "libsql":
                url = session_libsql()
                erase(url)
                return url
            case _:
                raise ValueError(f"no store {name!r}")


@pytest.fixture
def stores(tmp_path: Path) -> Stores:
    return Stores(tmp_path)


def by_way_of(url: str, port: int) -> str:
    """The same store through another loopback port: a proxy's."""
    return at_port(url, port)


def with_options(url: str, options: str) -> str:
    """The URL with some options more."""
    return f"{url}{'&' if '?' in url else '?'}{options}"


def port_of(url: str) -> int:
    """The port of a store on one server."""
    parts = urlsplit(url)
    return parts.port or {"postgresql": 5432, "redis": 6379}.get(parts.scheme, 8080)
