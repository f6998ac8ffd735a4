"""Serving: a real server process with a worker beside it, and a client that speaks plain HTTP to it."""

from __future__ import annotations

import http.client
import itertools
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import httpx
import msgspec

from stepflow.testing.adapter_contract.program import SECRET
from stepflow.wire.sse import Message, Parser

T = TypeVar("T")
_PATIENCE = 60.0
_TICK = 0.05
_MOMENT = 0.2
_PLAIN = False
"""No TLS on loopback: a client that is ready for it takes 70 ms to make."""
_KEPT = 2.0
"""Seconds for which a connection that nobody uses is kept: servers hang up after five, perhaps while a request is on its way."""

_names = itertools.count()


def eventually(look: Callable[[], T | None], *, within: float = _PATIENCE) -> T:
    """What ``look`` gives once it is not None or False; asked again and again until then."""
    pause = threading.Event()
    for _ in range(int(within / _TICK)):
        found = look()
        if found:
            return found
        pause.wait(_TICK)
    raise AssertionError(f"nothing within {within:g} s")


def unique(prefix: str) -> str:
    """An id that no other test of this process uses."""
    return f"{prefix}-{os.getpid()}-{next(_names)}"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Process:
    """One process of the contract's, in a session of its own. Stopped with SIGTERM; killed if it does not listen."""

    def __init__(self, command: Sequence[str], *, storage: str, log: Path) -> None:
        self._log = log
        environment = {**os.environ, "STEPFLOW_CONTRACT_STORAGE": storage, "PYTHONUNBUFFERED": "1"}
        environment.setdefault("STEPFLOW_WORKER", "0")
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=environment,
                start_new_session=True,
            )

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def ended(self) -> bool:
        return self._process.poll() is not None

    def terminate(self) -> None:
        """Ask it to end, and come back at once."""
        self._process.send_signal(signal.SIGTERM)

    def wait(self, within: float = 30.0) -> None:
        """Until it has ended; ``subprocess.TimeoutExpired``."""
        self._process.wait(within)

    def stop(self) -> None:
        """End it, whatever it does."""
        try:
            if not self.ended:
                self.terminate()
                self.wait(15)
        except subprocess.TimeoutExpired:
            pass  # it is killed right below
        finally:
            try:
                os.killpg(self._process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass  # it left nobody behind
            self._process.wait()


class Stream(Iterator[Message]):
    """An open stream: its messages as they come. It is one iterator, since dropping httpx's own hangs up."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self._parser = Parser()
        self._messages = self._read()

    def _read(self) -> Generator[Message]:
        for chunk in self.response.iter_raw():
            yield from self._parser.feed(chunk)

    def __next__(self) -> Message:
        return next(self._messages)

    def take(self, count: int) -> list[Message]:
        return list(itertools.islice(self, count))

    def until(self, event: str) -> list[Message]:
        """Everything up to the first event of this name."""
        taken: list[Message] = []
        for message in self:
            taken.append(message)
            if message.event == event:
                return taken
        raise AssertionError(f"the stream ended without {event}: {[each.event for each in taken]}")


class Connection:
    """One connection to a server, on which a test says in which pieces a request is sent."""

    def __init__(self, url: httpx.URL) -> None:
        self._path = url.path
        self._http = http.client.HTTPConnection(url.host, url.port or 80, timeout=_PATIENCE)
        self._http.auto_open = 0  # it is not opened again in silence
        self._http.connect()

    def close(self) -> None:
        self._http.close()

    def send(self, method: str, path: str, *, key: str, length: int) -> None:
        """The head of a request with a body of JSON."""
        self._http.putrequest(method, self._path + path)
        headers = {"X-API-Key": key, "Content-Type": "application/json", "Content-Length": str(length)}
        for name, value in headers.items():
            self._http.putheader(name, value)
        self._http.endheaders()

    def linger(self) -> None:
        """Until the server says something, or for a moment."""
        select.select([self._http.sock], [], [], _MOMENT)

    def send_body(self, body: bytes) -> None:
        self._http.send(body)

    def answered(self) -> int:
        """The status of the answer, which is read to its end."""
        response = self._http.getresponse()
        response.read()
        return response.status


class Client:
    """Plain HTTP to one server, with the secret key unless a test says otherwise."""

    def __init__(self, base_url: str) -> None:
        self.base_url = base_url
        self._http = httpx.Client(
            timeout=_PATIENCE, verify=_PLAIN, limits=httpx.Limits(keepalive_expiry=_KEPT)
        )

    def close(self) -> None:
        self._http.close()

    def ask(
        self,
        method: str,
        path: str,
        *,
        key: str | None = SECRET,
        headers: Mapping[str, str] | None = None,
        json: Any = msgspec.UNSET,
        **more: Any,
    ) -> httpx.Response:
        """One request; ``json`` is sent as such, also if it is None."""
        sent = {} if key is None else {"X-API-Key": key}
        if json is not msgspec.UNSET:
            sent["Content-Type"] = "application/json"
            more["content"] = msgspec.json.encode(json)
        return self._http.request(method, self.base_url + path, headers={**sent, **(headers or {})}, **more)

    def trigger(self, workflow: str, input: Any = None, query: str = "", **more: Any) -> str:
        """Start a run; its id."""
        answer = self.ask("POST", f"/trigger/{workflow}{query}", json=input, **more)
        assert answer.status_code == 200, answer.text
        run_id: str = answer.json()["runId"]
        return run_id

    def run(self, run_id: str, query: str = "") -> dict[str, Any]:
        answer = self.ask("GET", f"/runs/{run_id}{query}")
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def finished(self, workflow: str, input: Any = None) -> str:
        """A run that has ended."""
        run_id = self.trigger(workflow, input)
        eventually(lambda: self.run(run_id, "?wait=10s")["endedAt"])
        return run_id

    def waiting(self, workflow: str, event_id: str, of: str | None = None) -> str:
        """A run that waits for an event."""
        run_id = self.trigger(workflow, event_id)
        wanted = of or event_id
        eventually(lambda: any(each["eventId"] == wanted for each in self.run(run_id)["waits"]))
        return run_id

    @contextmanager
    def connection(self) -> Generator[Connection]:
        """A connection that no other request uses."""
        connection = Connection(httpx.URL(self.base_url))
        try:
            yield connection
        finally:
            connection.close()

    @contextmanager
    def stream(
        self, path: str, *, key: str | None = SECRET, headers: Mapping[str, str] | None = None
    ) -> Generator[Stream]:
        """An open stream on a connection of its own, so that leaving the block hangs up."""
        sent = {} if key is None else {"X-API-Key": key}
        with (
            httpx.Client(timeout=_PATIENCE, verify=_PLAIN) as http,
            http.stream("GET", self.base_url + path, headers={**sent, **(headers or {})}) as response,
        ):
            yield Stream(response)


class Site:
    """A storage with a worker, and servers on it."""

    def __init__(self, command: Callable[[int], Sequence[str]], prefix: str) -> None:
        self._command = command
        self._prefix = prefix
        self._folder = tempfile.TemporaryDirectory(prefix="stepflow-contract-", ignore_cleanup_errors=True)
        self._path = Path(self._folder.name)
        self._storage = f"sqlite:///{self._path}/contract.db"
        self._running: list[Process] = []
        self._clients: list[Client] = []

    @property
    def folder(self) -> Path:
        """Where everything of it is kept, until it is closed."""
        return self._path

    def start_worker(self) -> Process:
        target = "stepflow.testing.adapter_contract.program:app"
        command = [sys.executable, "-m", "stepflow", "worker", target, "--quiet"]
        return self._start(command, "worker")

    def start_server(self) -> tuple[Process, Client]:
        """A server that answers, and a client of it. A port that somebody took meanwhile is not insisted on."""
        log = ""
        for _ in range(3):
            port = free_port()
            server = self._start(self._command(port), "server")
            client = Client(f"http://127.0.0.1:{port}{self._prefix}")
            self._clients.append(client)
            if _comes_up(server, client):
                return server, client
            log = server.log
        raise AssertionError(f"the server did not start:\n{log}")

    def _start(self, command: Sequence[str], name: str) -> Process:
        log = self._path / f"{name}-{len(self._running)}.log"
        process = Process(command, storage=self._storage, log=log)
        self._running.append(process)
        return process

    def close(self) -> None:
        """End every process, and forget the storage."""
        for client in self._clients:
            client.close()
        for process in self._running:
            process.stop()
        self._folder.cleanup()


def _comes_up(server: Process, client: Client) -> bool:
    """Whether the server answers, and did not end instead."""
    eventually(lambda: server.ended or _answers(client))
    return not server.ended


def _answers(client: Client) -> bool:
    try:
        return client.ask("GET", "/health", key=None).status_code == 200
    except httpx.TransportError:
        return False
