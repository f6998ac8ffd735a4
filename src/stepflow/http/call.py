"""Call: one request that may be answered: who asks, for what, and what the answer is made with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from stepflow.auth.base import AuthResult
from stepflow.auth.tokens import RunTokens
from stepflow.errors import DeserializationError
from stepflow.http.inputs import Query
from stepflow.http.messages import Request
from stepflow.model.payloads import Payload
from stepflow.service import Service
from stepflow.wire import records
from stepflow.wire.records import View
from stepflow.wire.routes import Route

if TYPE_CHECKING:
    from stepflow.http.lookout import Lookout


@dataclass(frozen=True, kw_only=True)
class Call:
    """``body`` is read within its limits, and not looked at. ``tokens`` issues run tokens."""

    request: Request
    route: Route
    parameters: Mapping[str, str]
    query: Query
    who: AuthResult
    service: Service
    body: bytes
    tokens: RunTokens | None
    lookout: Lookout
    is_healthy: Callable[[], Any] | None = None

    @property
    def run_id(self) -> str:
        return self.parameters["runId"]

    @cached_property
    def view(self) -> View:
        """What may be shown to whoever asks."""
        return self.view_with(whole=False)

    def view_with(self, *, whole: bool) -> View:
        return View(text=self._text, values=self.who.values, tracebacks=self.who.details, whole=whole)

    def _text(self, payload: Payload) -> bytes:
        """A stored value's JSON. One that an unknown codec wrote is named, so that the rest can still be shown."""
        try:
            return self.service.values.text(payload)
        except DeserializationError:
            return records.encode({"unreadable": payload.codec, "bytes": payload.size})
