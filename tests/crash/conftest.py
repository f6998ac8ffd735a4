"""Fixtures of the crash tests: processes to kill, and a database for them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.crash.forking import Child, ForkServer
from tests.crash.ledger import Effect, read_effects


@pytest.fixture(scope="session")
def fork_server() -> Iterator[ForkServer]:
    with ForkServer() as server:
        yield server


class Scene:
    """One database, one ledger, and the processes that share them. ``durable``: every write is synced to the disk."""

    def __init__(self, directory: Path, server: ForkServer) -> None:
        self.directory = directory
        self.database = directory / "crash.db"
        self.ledger = directory / "ledger"
        self.durable = False
        self._server = server
        self._started = 0

    @property
    def url(self) -> str:
        # A kill of the process loses nothing that the system has: only power loss asks for more (test_power_loss.py).
        return f"sqlite:///{self.database}{'' if self.durable else '?synchronous=normal'}"

    def elsewhere(self, name: str) -> Scene:
        """A scene of its own, in a directory below this one."""
        directory = self.directory / name
        directory.mkdir()
        return Scene(directory, self._server)

    def start(self, function: str, *, phase: str, **arguments: object) -> Child:
        """Begin ``function`` of a program in a process of its own."""
        self._started += 1
        return self._server.start(
            f"tests.crash.{function}",
            self.directory / f"{self._started}-{phase}.log",
            url=self.url,
            ledger=str(self.ledger),
            phase=phase,
            **arguments,
        )

    def effects(self) -> list[Effect]:
        return read_effects(self.ledger)


@pytest.fixture
def scene(tmp_path: Path, fork_server: ForkServer) -> Iterator[Scene]:
    yield Scene(tmp_path, fork_server)
    fork_server.end_children()
