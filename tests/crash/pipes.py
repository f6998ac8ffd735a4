"""Pipes with a name in the file system: how processes tell a test what they do, and wait until it lets them go on."""

from __future__ import annotations

import os
import select
from pathlib import Path

from tests.crash.ledger import Effect, read_effect

_PATIENCE = 10.0


class News:
    """Hears of every effect at the instant it happens."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self.path = path
        # Read and write: the pipe has no end while processes come and go.
        self._descriptor = os.open(path, os.O_RDWR)
        self._unread = b""

    def next(self) -> Effect:
        """The next effect, waited for."""
        while b"\n" not in self._unread:
            ready, _, _ = select.select([self._descriptor], [], [], _PATIENCE)
            assert ready, f"nothing happened for {_PATIENCE:g} s"
            self._unread += os.read(self._descriptor, 65_536)
        line, _, self._unread = self._unread.partition(b"\n")
        return read_effect(line.decode())

    def wait_for(self, *, phase: str, key: str) -> Effect:
        """Wait until a process begins this step."""
        while True:
            effect = self.next()
            if (effect.phase, effect.key) == (phase, key):
                return effect

    def close(self) -> None:
        os.close(self._descriptor)


class Gate:
    """Holds those who pass it up until it is opened."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self.path = path
        self._descriptor = os.open(path, os.O_RDWR)

    def open(self) -> None:
        """Let one through, who waits or will come."""
        os.write(self._descriptor, b".")

    def close(self) -> None:
        os.close(self._descriptor)


def pass_gate(path: str) -> None:
    """Wait until the gate is opened. Blocking."""
    with Path(path).open("rb", buffering=0) as pipe:
        pipe.read(1)


class Tether:
    """Tells when everybody who holds its other end is gone."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self.path = path
        self._descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)

    def wait_for_holders(self, count: int) -> None:
        """Wait until so many have taken hold."""
        told = b""
        while told.count(b"\n") < count:
            told += self._read()

    def wait_until_alone(self) -> None:
        """Wait until all who held on are gone."""
        while self._read():
            pass

    def _read(self) -> bytes:
        ready, _, _ = select.select([self._descriptor], [], [], _PATIENCE)
        assert ready, f"somebody still holds on after {_PATIENCE:g} s"
        return os.read(self._descriptor, 4_096)

    def close(self) -> None:
        os.close(self._descriptor)


def hold(path: str) -> None:
    """Take hold of a tether until this process ends."""
    descriptor = os.open(path, os.O_WRONLY)
    os.set_inheritable(descriptor, False)
    os.write(descriptor, b"holding\n")
