"""Readers: other people's readers of server-sent events, run as programs: npm's ``eventsource`` under Node, and Chromium."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import shutil
import subprocess
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.servers.node import node_with
from tests.servers.running import unavailable

FOLDER = Path(__file__).with_name("browser")
_PATIENCE = 300
_NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")


def node() -> str:
    """Node, with the packages of ``browser/package.json`` installed beside it; skips without."""
    return node_with(FOLDER)


def chromium() -> str:
    """Chromium; skips without."""
    return installed("Chromium", package="chromium", names=_NAMES)


def installed(what: str, *, package: str, names: Sequence[str]) -> str:
    """A program of one of these names, installed as the distribution's package if it can be; skips without."""
    found = _found(names)
    if found is None and shutil.which("apt-get") and os.geteuid() == 0:
        with (FOLDER / "package.json").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if _found(names) is None:
                _install(package)
        found = _found(names)
    if found is None:
        unavailable(what, f"none of {', '.join(names)} is there, and it could not be installed")
    return found


def _found(names: Sequence[str]) -> str | None:
    return next((found for name in names if (found := shutil.which(name))), None)


def _install(package: str) -> None:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["apt-get", "update"], ["apt-get", "install", "-y", "--no-install-recommends", package]):
        subprocess.run(command, capture_output=True, env=environment, timeout=_PATIENCE, check=False)


class Reader:
    """A running reader, and what it has told so far."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.told: list[dict[str, Any]] = []

    @property
    def events(self) -> list[tuple[str, str, Any]]:
        """Id, name and data of each event."""
        return [
            (each["id"], each["event"], json.loads(each["data"]))
            for each in self.told
            if each["what"] == "event"
        ]

    @property
    def opened(self) -> int:
        """How often it connected."""
        return sum(each["what"] == "open" for each in self.told)

    async def next(self) -> dict[str, Any] | None:
        """The next thing it tells; None at its end."""
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        if not line:
            assert await self._process.wait() == 0, "the reader failed; what it said is above"
            return None
        self.told.append(json.loads(line))
        return self.told[-1]

    async def until(self, event: str) -> None:
        """Until it has been told this event."""
        while (told := await self.next()) is not None:
            if told.get("event") == event:
                return
        raise AssertionError(f"it ended without {event}")

    async def rest(self) -> None:
        """Until it takes the stream for ended."""
        while await self.next() is not None:
            pass


@asynccontextmanager
async def reading(command: Sequence[str]) -> AsyncGenerator[Reader]:
    """A reader that is started, and ended with the block."""
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, cwd=FOLDER)
    try:
        yield Reader(process)
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()
