"""Leases: renewed from a thread, over a blocking connection of their own, so that nothing else in the process delays them."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, Protocol, cast

from redis.backoff import NoBackoff
from redis.connection import Connection, SSLConnection
from redis.exceptions import AskError, NoScriptError, RedisError
from redis.retry import Retry

from stepflow.errors import StorageError
from stepflow.storage.redis.calls import pack
from stepflow.storage.redis.errors import translate
from stepflow.storage.redis.fields import micros
from stepflow.storage.redis.keys import Keys
from stepflow.storage.redis.network import Address, connection_arguments, moved_to
from stepflow.storage.redis.operations.claims import WORKERS, workers_call
from stepflow.storage.redis.options import RedisOptions
from stepflow.types import WorkerId

_TRIES = 5


class _Link(Protocol):
    """What is used of the driver's blocking connection."""

    def connect(self) -> None: ...
    def send_packed_command(self, command: Iterable[bytes], check_health: bool = True) -> None: ...
    def read_response(self, disable_decoding: bool = False) -> Any: ...
    def disconnect(self) -> None: ...


class RedisLeaseKeeper:
    """Renews one worker's lease, from whatever thread calls."""

    def __init__(self, options: RedisOptions, keys: Keys, address: Address, worker: WorkerId) -> None:
        self._options = options
        self._keys = keys
        self._address = address
        self._worker = worker
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._link: _Link | None = None

    def renew(self, now: datetime, lease: timedelta) -> bool:
        if os.getpid() != self._process:
            raise StorageError("a lease keeper does not work across a fork; make another one")
        call = workers_call(
            self._keys, {"verb": "renew", "id": self._worker, "lease": str(micros(now + lease))}
        )
        with self._lock:
            where = f"{self._address[0]}:{self._address[1]}"
            try:
                return bool(self._ask(call.packed) == 1)
            except (RedisError, OSError) as error:
                self._hang_up()
                # Nobody answers there: in a cluster somebody else may, by the next time.
                self._address = self._options.nodes[0]
                raise translate(error, where) from error

    def close(self) -> None:
        with self._lock:
            self._hang_up()

    def _ask(self, packed: bytes) -> Any:
        """The reply, from wherever the workers are kept now."""
        for _ in range(_TRIES):
            try:
                return self._send(packed)
            except NoScriptError:
                self._send(pack([b"SCRIPT", b"LOAD", WORKERS.text]))
            except AskError as moved:
                self._hang_up()
                self._address = moved_to(moved, self._address)
        return self._send(packed)

    def _send(self, packed: bytes) -> Any:
        link = self._link
        if link is None:
            made = SSLConnection if self._options.tls else Connection
            arguments = connection_arguments(self._options, self._address)
            link = cast(
                "_Link", made(**arguments, socket_timeout=self._options.timeout, retry=Retry(NoBackoff(), 0))
            )
            link.connect()
            self._link = link
        link.send_packed_command([packed], check_health=False)
        return link.read_response(disable_decoding=True)

    def _hang_up(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            link.disconnect()
