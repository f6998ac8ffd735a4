"""Leases: renewed over a connection of their own, so that nothing else that happens in the process delays them."""

from __future__ import annotations

import os
import threading
from datetime import datetime, timedelta
from http import HTTPStatus

import httpx

from stepflow.errors import StorageError
from stepflow.storage._sql.rows import micros
from stepflow.storage.libsql import hrana
from stepflow.storage.libsql.connection import answers, read
from stepflow.storage.libsql.errors import unreachable
from stepflow.storage.libsql.hrana import Statement
from stepflow.storage.libsql.options import LibsqlOptions
from stepflow.storage.libsql.wire import Response, headers_of
from stepflow.types import WorkerId

# It moves no turn: what a claim decides by a lease, it makes a condition of its write.
_RENEW = "UPDATE stepflow_workers SET lease_until = ? WHERE id = ?"


class LibsqlLeaseKeeper:
    """Renews one worker's lease, from whatever thread calls."""

    def __init__(self, options: LibsqlOptions, worker: WorkerId) -> None:
        self._options = options
        self._worker = worker
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._client: httpx.Client | None = None
        self._baton: str | None = None
        self._address = options.address

    def renew(self, now: datetime, lease: timedelta) -> bool:
        if os.getpid() != self._process:
            raise StorageError("a lease keeper does not work across a fork; make another one")
        renewal = hrana.execute(Statement(_RENEW, (micros(now + lease), self._worker), wants_rows=False))
        with self._lock:
            reply = self._post(renewal)
        (answer,) = answers(reply, 1, self._options.place)
        return answer.changes == 1

    def _post(self, renewal: hrana.Json) -> hrana.Reply:
        """Post on the stream of the last renewal, or on a new one if the server has ended that; why, ``streams`` says."""
        baton, self._baton = self._baton, None
        response = self._send(renewal, baton)
        if baton is not None and response.status == HTTPStatus.BAD_REQUEST:
            self._address = self._options.address
            response = self._send(renewal, None)
        reply = read(response, 1, self._options.place, opening=False)
        self._baton, self._address = reply.baton, reply.base_url or self._address
        return reply

    def _send(self, renewal: hrana.Json, baton: str | None) -> Response:
        url = f"{self._address.rstrip('/')}{hrana.PATH}"
        try:
            response = self._connected().post(url, content=hrana.body([renewal], baton))
        except (httpx.TransportError, OSError) as error:
            raise unreachable(self._options.place, error) from error
        return Response(response.status_code, response.content)

    def close(self) -> None:
        with self._lock:
            if self._client is not None:
                self._client.close()
                self._client = None

    def _connected(self) -> httpx.Client:
        if self._client is None:
            self._client = httpx.Client(
                headers=headers_of(self._options.token),
                timeout=self._options.timeout,
                verify=self._options.tls,
            )
        return self._client
