"""Core: what both clients are made of: calls sent, runs waited for and followed. Its coroutines wait for their transport only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Protocol, TypeVar

import msgspec
from msgspec import structs

from stepflow.client import calls
from stepflow.client.calls import STANDING, Call, RunEnd
from stepflow.client.exchange import Exchange
from stepflow.client.reading import Reading
from stepflow.client.streams import AsyncEventStream
from stepflow.client.workflows import workflow_id
from stepflow.codecs.decoders import build_decoder
from stepflow.codecs.json import Values
from stepflow.durations import parse_duration
from stepflow.errors import (
    DeserializationError,
    InputError,
    ResultTimeoutError,
    RunCancelledError,
    RunFailedError,
    RunPausedError,
)
from stepflow.types import Duration, RunId
from stepflow.wire.records import Triggered, omitted_size

T = TypeVar("T")
_HELD = 30.0
"""Seconds that the server is asked to hold a request for a run that goes on."""


class _Stands(Protocol):
    @property
    def status(self) -> str: ...


S = TypeVar("S", bound=_Stands)


class Core:
    """One server, asked through one exchange."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._values = Values()

    async def send(self, call: Call[T]) -> T:
        return await self._exchange.send(call)

    async def close(self) -> None:
        await self._exchange.transport.close()

    def new_id(self, prefix: str) -> str:
        """See ``Exchange.new_id``."""
        return self._exchange.new_id(prefix)

    def follow(self, run_ids: Sequence[RunId], *, several: bool, after: str | None) -> AsyncEventStream:
        """The events of runs; nothing is asked until it is iterated over."""
        return AsyncEventStream(self._exchange, Reading(run_ids, several=several, cursor=after))

    async def start(
        self, workflow: Any, input: Any, *, id: str | None, idempotency_key: str | None, **options: Any
    ) -> Triggered:
        """Start a run, under a key of our own if the caller gives neither id nor key."""
        if id is not None and idempotency_key is not None:
            raise InputError("give id= or idempotency_key=, not both")
        name = workflow_id(workflow)
        own = id is None and idempotency_key is None
        key = self._exchange.new_id("client-") if own else idempotency_key
        body = self.encoded(input, f"the input of workflow {name!r}")
        started = await self._exchange.send(calls.trigger(name, body, id=id, idempotency_key=key, **options))
        if own and not started.created:  # an attempt of ours did start it, and its answer was lost
            started = structs.replace(started, created=True)
        return started

    def encoded(self, value: object, what: str) -> bytes:
        return self._values.text(self._values.encode(value, what=what))

    async def result(self, run_id: str, type_: Any, /, *, timeout: Duration | None = None) -> Any:
        """The run's output, decoded as ``type_``; raises as ``RunHandle.result`` does."""
        parse = build_decoder(type_)
        end = await self.standing(run_id, timeout, lambda wait: calls.get_end(run_id, wait=wait))
        if end.status == "completed" and _is_omitted(end):
            end = await self._exchange.send(calls.get_end(run_id, full=True))
        return _output(run_id, end, parse)

    async def standing(self, run_id: RunId, timeout: Duration | None, look: Callable[[float], Call[S]]) -> S:
        """Ask again and again, each time for as long as a server holds a request."""
        clock = self._exchange.settings.clock
        limit = None if timeout is None else parse_duration(timeout).total_seconds()
        begun = clock.monotonic()
        known = False
        while True:
            asked = clock.monotonic()
            left = _HELD if limit is None else max(0.0, limit - (asked - begun))
            held = min(left, _HELD)
            found = await self._exchange.send(replace(look(held), patient=known))
            known = True
            if found.status in STANDING:
                return found
            now = clock.monotonic()
            if limit is not None and now - begun >= limit:
                raise ResultTimeoutError(run_id, limit)
            if now - asked < held / 2:  # something on the way does not hold requests
                await self._exchange.transport.pause(min(1.0, held))


def _is_omitted(end: RunEnd) -> bool:
    value: Any = msgspec.json.decode(end.output)
    return omitted_size(value) is not None


def _output(run_id: RunId, end: RunEnd, parse: Callable[[Any], Any]) -> Any:
    match end.status:
        case "completed":
            try:
                return parse(bytes(end.output))
            except Exception as error:
                raise DeserializationError(
                    f"the result of run {run_id!r} can't be decoded: {error}"
                ) from error
        case "failed":
            failure = end.error
            if failure is None:
                raise RunFailedError(run_id, type="", message="for no recorded reason")
            raise RunFailedError(
                run_id, type=failure.type, message=failure.message, traceback=failure.traceback
            )
        case "cancelled":
            raise RunCancelledError(run_id)
        case _:
            raise RunPausedError(run_id, end.pause_detail or end.pause_reason or "")
