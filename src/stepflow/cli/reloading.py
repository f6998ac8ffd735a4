"""Reloading: a child process that serves, replaced by a new one when files change. The parent keeps the socket."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import aclosing, contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from stepflow.cli.exits import ExitCode, Stop
from stepflow.cli.output import note
from stepflow.cli.signals import Interruption, interruption

SOCKET_VARIABLE = "STEPFLOW_DEV_SOCKET"
LIFELINE_VARIABLE = "STEPFLOW_DEV_LIFELINE"
AGAIN_VARIABLE = "STEPFLOW_DEV_AGAIN"
_PATIENCE = 5.0
"""Seconds that a restart waits for running steps; what they do is done again."""

_SETTLED = 300
"""Milliseconds that changes are gathered for: an editor writes several files, and some of them twice."""


async def reload_on_changes(
    arguments: Sequence[str], bound: socket.socket, folders: Sequence[Path], *, quiet: bool
) -> None:
    """Run this very command in a child that takes the socket over, and anew after every change, until a signal comes."""
    bound.set_inheritable(True)
    # The child holds the reading end: when this process is gone, however it ended, the child reads that.
    reading, writing = os.pipe()
    try:
        with interruption() as signals:
            async with aclosing(_changes(folders)) as changes:
                again = False
                while not signals.told.is_set():
                    child = await _start(arguments, bound, reading, again=again)
                    changed = await _wait(child, changes, signals, quiet=quiet)
                    again = True
                    if changed and not quiet:
                        note(f"changed: {changed}")
    finally:
        os.close(reading)
        os.close(writing)


async def _start(
    arguments: Sequence[str], bound: socket.socket, lifeline: int, *, again: bool
) -> asyncio.subprocess.Process:
    environment = {
        **os.environ,
        SOCKET_VARIABLE: str(bound.fileno()),
        LIFELINE_VARIABLE: str(lifeline),
        AGAIN_VARIABLE: "1" if again else "0",
        "PYTHONDONTWRITEBYTECODE": "1",  # a file that changes twice in a second would be taken from its cache
    }
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "stepflow",
        *arguments,
        env=environment,
        pass_fds=(bound.fileno(), lifeline),
        process_group=0,  # a Ctrl-C is heard here only, and handed on once
    )


async def _wait(
    child: asyncio.subprocess.Process,
    changes: AsyncGenerator[str],
    signals: Interruption,
    *,
    quiet: bool,
) -> str:
    """Until there is a reason to end the child, and until it has ended; returns what has changed, or nothing."""
    signals.hurry = lambda: _signal(child)
    changed = asyncio.ensure_future(anext(changes, ""))
    told = asyncio.ensure_future(signals.told.wait())
    ended = asyncio.ensure_future(child.wait())
    try:
        await asyncio.wait([changed, told, ended], return_when=asyncio.FIRST_COMPLETED)
        if ended.done() and not told.done() and not changed.done():
            if not quiet:
                note("it ended by itself; waiting for a change (Ctrl-C ends this)")
            await asyncio.wait([changed, told], return_when=asyncio.FIRST_COMPLETED)
        await _end(child, ended, patient=told.done())
        return changed.result() if changed.done() else ""
    finally:
        for task in (changed, told):
            task.cancel()
        await asyncio.gather(changed, told, return_exceptions=True)


async def _end(child: asyncio.subprocess.Process, ended: asyncio.Future[int], *, patient: bool) -> None:
    """Ask it to end; if it is to be replaced, not for long."""
    _signal(child)
    if not patient:
        await asyncio.wait([ended], timeout=_PATIENCE)
        if not ended.done():
            _signal(child)
    await ended


def _signal(child: asyncio.subprocess.Process) -> None:
    if child.returncode is None:
        child.send_signal(signal.SIGTERM)


async def _changes(folders: Sequence[Path]) -> AsyncGenerator[str]:
    """The name of a Python file, each time that some have changed."""
    library = _library()
    async for files in library.awatch(
        *folders, watch_filter=library.PythonFilter(), debounce=_SETTLED, raise_interrupt=False
    ):
        yield _named(sorted(path for _, path in files))


def _named(paths: Sequence[str]) -> str:
    more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
    return f"{os.path.relpath(paths[0])}{more}"


def _library() -> Any:
    try:
        return import_module("watchfiles")
    except ModuleNotFoundError:
        raise Stop(
            ExitCode.USAGE,
            "starting anew on changes needs watchfiles, which is not installed",
            hint="pip install 'stepflow[server]', or go without: --no-reload",
        ) from None


@contextmanager
def end_with_parent() -> Generator[None]:
    """In the child, on its running event loop: a parent that is gone is like a signal to end."""
    lifeline = os.environ.get(LIFELINE_VARIABLE)
    if lifeline is None:
        yield
        return
    loop = asyncio.get_running_loop()

    def gone() -> None:
        loop.remove_reader(int(lifeline))
        os.kill(os.getpid(), signal.SIGTERM)

    loop.add_reader(int(lifeline), gone)
    try:
        yield
    finally:
        loop.remove_reader(int(lifeline))
