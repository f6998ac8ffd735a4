"""PgBouncer in transaction mode before the tests' PostgreSQL: from the PATH, or from the system's package archive without root rights."""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from tests.servers.postgres import at_port, postgres_url
from tests.servers.running import Server, answers, free_port, unavailable, unprivileged

_PACKAGES: Final = ("pgbouncer", "libevent-2.1-7", "libc-ares2")
_CACHE: Final = Path(tempfile.gettempdir()) / "stepflow-pgbouncer"
_SHARED: Final = 3
"""Connections to the server that all clients share: fewer than there are clients, so that they really change."""


@functools.cache
def pgbouncer_url() -> str:
    """The URL of the session's database by way of a transaction pooler; skips the test, with the reason, where there can be none."""
    program, environment = _program()
    direct = postgres_url()
    folder = Path(tempfile.mkdtemp(prefix="stepflow-pgbouncer-"))
    port = free_port()
    config = folder / "pgbouncer.ini"
    config.write_text(_config(direct, port, folder))
    identity = unprivileged()
    for path in (folder, config) if identity else ():
        os.chown(path, identity["user"], identity["group"])
    server = Server(
        [program, "-q", config],
        log=folder / "log",
        ready=lambda: answers(port),
        env={**os.environ, **environment},
        **identity,
    )
    server.start()

    def stop() -> None:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)

    atexit.register(stop)
    return at_port(direct, port)


def _config(direct: str, port: int, folder: Path) -> str:
    parts = urlsplit(direct)
    given = {
        "host": parts.hostname or "127.0.0.1",
        "port": str(parts.port or 5432),
        "user": unquote(parts.username or "postgres"),
        "password": unquote(parts.password or ""),
    }
    target = " ".join(f"{name}='{value}'" for name, value in given.items() if value)
    return f"""
[databases]
* = {target}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = {_SHARED}
max_client_conn = 200
pidfile = {folder / "pid"}
"""


@functools.cache
def _program() -> tuple[Path, Mapping[str, str]]:
    """The program and what its environment needs."""
    installed = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if installed is not None:
        return Path(installed), {}
    unpacked = _CACHE / "usr/sbin/pgbouncer"
    if not unpacked.exists():
        _unpack()
    libraries = {str(path.parent) for path in _CACHE.glob("usr/lib/**/*.so*")}
    return unpacked, {"LD_LIBRARY_PATH": ":".join(sorted(libraries))}


def _unpack() -> None:
    """Fetch the packages and unpack them, which needs no rights; a half-done folder is never taken for a whole one."""
    if shutil.which("apt-get") is None or shutil.which("dpkg") is None:
        unavailable("PgBouncer", "it is not on the PATH (on macOS: brew install pgbouncer)")
    with tempfile.TemporaryDirectory(prefix="stepflow-packages-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        try:
            subprocess.run(
                ["apt-get", "download", *_PACKAGES], cwd=folder, check=True, capture_output=True, timeout=60
            )
            for package in folder.glob("*.deb"):
                subprocess.run(
                    ["dpkg", "-x", package, folder / "whole"], check=True, capture_output=True, timeout=60
                )
            (folder / "whole").chmod(0o755)
            shutil.rmtree(_CACHE, ignore_errors=True)
            shutil.move(folder / "whole", _CACHE)
        except (subprocess.SubprocessError, OSError) as error:
            unavailable("PgBouncer", f"it is not on the PATH, and its package can't be had: {error}")
