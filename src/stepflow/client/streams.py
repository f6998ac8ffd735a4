"""Streams: the events of runs as they happen, over as many connections as it takes."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from types import TracebackType
from typing import Self

from stepflow.client.driving import finish
from stepflow.client.exchange import Exchange, Failed, Failure
from stepflow.client.reading import Reading
from stepflow.client.transport import Answer, Unreached
from stepflow.errors import RunNotFoundError, ServerUnavailableError
from stepflow.wire.streams import StreamEvent


class AsyncEventStream:
    """The events of one run or of several, in order, each journal event exactly once, until every run has ended.

    Iterate over it with ``async for``; ``async with`` gives its connection back if you leave early. A connection that breaks is made again, after as
    long as the server asks for and with growing pauses, and goes on behind the last event that you were given. ``cursor`` is that
    event's id: ``after=cursor`` continues in another process. A ``RunSnapshot`` with ``reset`` means that the server can't go on from
    there, and says how things are instead.

    Iterating raises ``RunNotFoundError``, ``UnauthenticatedError``, ``ForbiddenError``, and ``ServerUnavailableError`` when the client's patience
    is at an end.
    """

    def __init__(self, exchange: Exchange, reading: Reading) -> None:
        self._exchange = exchange
        self._reading = reading
        self._answer: Answer | None = None
        self._closed = False
        self._known = False
        self._failures = 0
        self._troubled_since: float | None = None

    @property
    def cursor(self) -> str | None:
        """The id of the last event, to go on from; None before the first one that has an id."""
        return self._reading.cursor

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> StreamEvent:
        while not self._closed:
            event = self._reading.take()
            if event is not None:
                return event
            if self._reading.over:
                await self.aclose()
            elif self._reading.expired:
                await self._hang_up()
                self._failures += 1
                await self._pause(self._failures - 1)
            await self._receive()
        raise StopAsyncIteration

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """End it here; the runs go on."""
        self._closed = True
        await self._hang_up()

    # ------------------------------------------------------------------ connections
    async def _receive(self) -> None:
        """Read once, or connect: whatever goes wrong is waited out, or raised."""
        if self._closed:
            return
        try:
            if self._answer is None:
                await self._connect()
            else:
                await self._read(self._answer)
        except Failed as failed:
            await self._hang_up()
            await self._wait_out(failed.failure, failed.__cause__)

    async def _connect(self) -> None:
        self._reading.connected()
        answer = await self._exchange.open(self._reading.call(), within=self._exchange.settings.idle_timeout)
        self._known = True
        if answer.status == 204:
            await answer.close()
            self._reading.end()
            return
        self._answer = answer

    async def _read(self, answer: Answer) -> None:
        try:
            chunk = await answer.read()
        except Unreached as error:
            raise Failed(_lost(str(error))) from error
        if not chunk:
            raise Failed(_lost("the server ended it"))
        self._failures = 0
        self._troubled_since = None
        self._reading.feed(chunk)

    async def _hang_up(self) -> None:
        answer, self._answer = self._answer, None
        if answer is not None:
            await answer.close()

    # ------------------------------------------------------------------ trouble
    async def _wait_out(self, failure: Failure, cause: BaseException | None) -> None:
        error = failure.error
        if isinstance(error, RunNotFoundError) and self._reading.leave_out(error.run_id):
            return
        settings = self._exchange.settings
        patience = settings.patience if self._known else settings.timeout
        now = settings.clock.monotonic()
        if self._troubled_since is None:
            self._troubled_since = now
        if not failure.again or now - self._troubled_since >= patience:
            self._closed = True
            raise error from cause
        self._failures += 1
        await self._pause(self._failures, failure.told)

    async def _pause(self, attempt: int, told: float = 0.0) -> None:
        """As long as the server wants, and longer from one failure to the next."""
        if attempt < 1:
            return
        settings = self._exchange.settings
        policy = replace(settings.retry, attempts=None)
        delay = policy.next_delay(attempt, ServerUnavailableError(), random=settings.random.random)
        assert delay is not None
        await self._exchange.transport.pause(max(self._reading.retry, told) + delay.total_seconds())


class EventStream:
    """``AsyncEventStream``, blocking: iterate over it with ``for``, leave it early with ``with`` or ``close()``."""

    def __init__(self, inner: AsyncEventStream) -> None:
        self._inner = inner

    @property
    def cursor(self) -> str | None:
        """See ``AsyncEventStream.cursor``."""
        return self._inner.cursor

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> StreamEvent:
        with suppress(StopAsyncIteration):
            return finish(self._inner.__anext__())
        raise StopIteration

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        self.close()

    def close(self) -> None:
        """See ``AsyncEventStream.aclose``."""
        finish(self._inner.aclose())


def _lost(reason: str) -> Failure:
    return Failure(ServerUnavailableError(f"the stream was cut: {reason}"), again=True)
