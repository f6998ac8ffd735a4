"""Forking: processes to be killed, made in milliseconds from one that has imported everything and done nothing.

The server is a process without threads or an event loop; each child of it calls one function by name and ends. A
test speaks to it over a socket and kills, stops and continues the children by their ids.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import os
import signal
import socket
import subprocess
import sys
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

ROOT = Path(__file__).parents[2]
ENDED_AT_FAILPOINT = 137
_PATIENCE = 50.0
_PRELOADED = ("stepflow.opened", "stepflow.storage.sqlite.storage", "tests.crash.program")


class Order(msgspec.Struct):
    """Start ``module:function`` with these arguments (its output goes to ``log``), or wait for a child to end or to ``stop``."""

    start: str | None = None
    arguments: dict[str, Any] = {}
    log: str = ""
    wait: int | None = None
    stop: bool = False


class Child:
    """One process. ``pid`` stays its own until ``wait`` has returned."""

    def __init__(self, server: ForkServer, pid: int, log: Path) -> None:
        self._server = server
        self._code: int | None = None
        self.pid = pid
        self.log = log

    def kill(self) -> None:
        """``kill -9``; then ``wait``."""
        self.send(signal.SIGKILL)

    def send(self, number: signal.Signals) -> None:
        assert self._code is None, "its id may be another's by now"
        os.kill(self.pid, number)

    def wait_until_stopped(self) -> None:
        """Until it has stopped itself (SIGSTOP)."""
        assert self._server.ask(Order(wait=self.pid, stop=True)) == 0, self.log.read_text()

    def wait(self) -> int:
        """The exit code; minus the signal's number if one ended it."""
        if self._code is None:
            self._code = self._server.ask(Order(wait=self.pid))
        return self._code

    def end(self) -> None:
        """Make sure that it is gone."""
        if self._code is None:
            self.kill()
            self.wait()

    def terminate(self) -> None:
        """SIGTERM: the regular way to end a worker."""
        self.send(signal.SIGTERM)

    def end_in_peace(self) -> None:
        """Shut the worker down, which must go well."""
        self.terminate()
        self.must_succeed()

    def must_succeed(self) -> None:
        code = self.wait()
        assert code == 0, f"exit code {code}:\n{self.log.read_text()}"


class ForkServer:
    """Starts children for a test. The children that a test leaves behind are killed by ``end_children``.

    They inherit ``environment`` beside that of the test, and have imported the modules ``preloaded``.
    """

    def __init__(
        self, *, environment: Mapping[str, str] | None = None, preloaded: Sequence[str] = _PRELOADED
    ) -> None:
        ours, theirs = socket.socketpair()
        inherited = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}", **(environment or {})}
        inherited.pop("STEPFLOW_FAILPOINT", None)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.crash.forking", str(theirs.fileno()), *preloaded],
            cwd=ROOT,
            env=inherited,
            pass_fds=[theirs.fileno()],
            start_new_session=True,  # Ctrl-C is for us, who end it
        )
        theirs.close()
        ours.settimeout(_PATIENCE)
        self._socket = ours
        self._lines = ours.makefile("rb")
        self._children: list[Child] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> None:
        self.end_children()
        self._lines.close()
        self._socket.close()
        self._process.wait()

    def start(self, function: str, log: Path, **arguments: Any) -> Child:
        """Begin ``module:function(**arguments)`` in a process of its own; what it prints is in ``log``."""
        pid = self.ask(Order(start=function, arguments=arguments, log=str(log)))
        child = Child(self, pid, log)
        self._children.append(child)
        return child

    def end_children(self) -> None:
        while self._children:
            self._children.pop().end()

    def ask(self, order: Order) -> int:
        self._socket.sendall(msgspec.json.encode(order) + b"\n")
        line = self._lines.readline()
        assert line, "the fork server died"
        return int(line)


# ------------------------------------------------------------------ in the server
def serve(number: int, preloaded: Sequence[str]) -> None:
    """Obey orders until the test's end of the socket closes.

    A child is born with SIGTERM blocked: the signal waits until the child unblocks it, because it hears it now.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    for module in preloaded:
        importlib.import_module(module)
    alive: set[int] = set()
    with socket.socket(fileno=number) as connection, connection.makefile("rb") as lines:
        for line in lines:
            order = msgspec.json.decode(line, type=Order)
            if order.wait is not None:
                _, status = os.waitpid(order.wait, os.WUNTRACED if order.stop else 0)
                stopped = os.WIFSTOPPED(status)
                answer = 0 if stopped else os.waitstatus_to_exitcode(status)
                alive -= set() if stopped else {order.wait}
            else:
                answer = os.fork()
                if answer == 0:
                    connection.close()
                    _become(order)
                alive.add(answer)
            connection.sendall(b"%d\n" % answer)
    # The tests are gone, perhaps by kill -9. Workers that outlived them would work, and ask their servers, for ever.
    for pid in alive:
        os.kill(pid, signal.SIGKILL)


def _become(order: Order) -> None:
    """The child: nothing of the server is used any more, and this never returns."""
    code = 1
    try:
        log = os.open(order.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(log, 1)
        os.dup2(log, 2)
        assert order.start is not None
        call(order.start, order.arguments)
        code = 0
    except BaseException:  # noqa: BLE001 - the exit code says that it failed, the log why
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def call(function: str, arguments: Mapping[str, Any]) -> None:
    """Call ``module:function``, on an event loop if it is a coroutine function."""
    module, _, name = function.partition(":")
    found = getattr(importlib.import_module(module), name)
    if inspect.iscoroutinefunction(found):
        asyncio.run(found(**arguments))
    else:
        found(**arguments)


if __name__ == "__main__":
    serve(int(sys.argv[1]), sys.argv[2:])
