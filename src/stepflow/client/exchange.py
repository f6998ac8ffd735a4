"""Exchange: a call becomes an answer or one of Stepflow's errors, repeated where that is safe and worth it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from email.utils import parsedate_to_datetime
from random import Random, SystemRandom
from typing import Any, Final, NamedTuple, TypedDict, TypeVar

from stepflow.client.calls import Call
from stepflow.client.transport import Answer, Request, Transport, Unreached, is_http_url
from stepflow.clock import Clock, SystemClock
from stepflow.durations import parse_duration
from stepflow.errors import InputError, ServerUnavailableError
from stepflow.retry import Retry
from stepflow.types import Duration
from stepflow.wire.problems import Problem, error_of, read_problem

T = TypeVar("T")

RETRY: Final = Retry(attempts=5, delay="250ms", max_delay="10s")
_BUSY: Final = (429, 502, 503, 504)
_NOTHING_DONE: Final = ("too-many-requests", "too-many-streams", "closing", "not-open")
"""Refusals that come before anything is done: even what must not be done twice may be tried again."""

_LONGEST_PAUSE = 3600.0


class ClientOptions(TypedDict, total=False):
    """How a client behaves.

    One credential at most: ``api_key`` (secret or public), ``public_api_key``, or a bearer ``token``, which may be a function that is asked anew
    for every request. A call is given up ``timeout`` after it began, whatever happens to it, and repeated as ``retry`` says. Streams and waits that
    were connected once come back for as long as ``patience``; a stream on which nothing comes for ``idle_timeout`` (heartbeats come every 15 s) is
    opened anew. ``clock`` and ``random`` (jitter, keys) are for tests.
    """

    api_key: str | None
    public_api_key: str | None
    token: str | Callable[[], str] | None
    timeout: Duration
    patience: Duration
    idle_timeout: Duration
    retry: Retry | int
    clock: Clock | None
    random: Random | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The same, checked. Seconds as numbers."""

    address: str
    credential: Callable[[], Mapping[str, str]]
    timeout: float
    patience: float
    idle_timeout: float
    retry: Retry
    clock: Clock
    random: Random

    @classmethod
    def of(cls, base_url: str, options: ClientOptions) -> Settings:
        """``InputError`` for an address or a credential that can't be used."""
        if not is_http_url(base_url):
            raise InputError("base_url is where the API is served, like https://shop.example/stepflow")
        retry = options.get("retry", RETRY)
        return cls(
            address=base_url.rstrip("/"),
            credential=_credential(options),
            timeout=_seconds("timeout", options.get("timeout", "30s")),
            patience=_seconds("patience", options.get("patience", "5m")),
            idle_timeout=_seconds("idle_timeout", options.get("idle_timeout", "60s")),
            retry=retry if isinstance(retry, Retry) else replace(RETRY, attempts=retry),
            clock=options.get("clock") or SystemClock(),
            random=options.get("random") or SystemRandom(),
        )


class Failure(NamedTuple):
    """Why an attempt failed, whether the same may be tried again, and how long the server wants to be left alone."""

    error: Exception
    again: bool
    told: float = 0.0


class Failed(Exception):
    """An attempt that failed, for whoever decides whether there is another."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(str(failure.error))
        self.failure = failure


class Exchange:
    """Sends calls to one server. Holds no state between them, so it may be used by many at once."""

    def __init__(self, transport: Transport, settings: Settings) -> None:
        self.transport = transport
        self.settings = settings

    async def send(self, call: Call[T]) -> T:
        """The call's value. Raises what the server would have raised in process, or ``ServerUnavailableError``."""
        clock = self.settings.clock
        limit = (self.settings.patience if call.patient else self.settings.timeout) + call.held
        deadline = clock.monotonic() + limit
        attempt = 0
        while True:
            attempt += 1
            try:
                body = await self._once(call, deadline)
            except Failed as failed:
                pause = self.pause_after(call, failed.failure, attempt)
                if pause is None or clock.monotonic() + pause >= deadline:
                    raise failed.failure.error from failed.__cause__
                await self.transport.pause(pause)
            else:
                return call.read(body)

    def pause_after(self, call: Call[Any], failure: Failure, attempt: int) -> float | None:
        """Seconds until the next attempt; None to give up."""
        if not failure.again or not call.again:
            return None
        policy = replace(self.settings.retry, attempts=None) if call.patient else self.settings.retry
        delay = policy.next_delay(attempt, failure.error, random=self.settings.random.random)
        return None if delay is None else max(delay.total_seconds(), failure.told)

    async def _once(self, call: Call[Any], deadline: float) -> bytes:
        left = deadline - self.settings.clock.monotonic()
        answer = await self.open(call, within=max(left, 0.001))
        try:
            return await self._read(call, answer, deadline)
        finally:
            await answer.close()

    async def open(self, call: Call[Any], *, within: float) -> Answer:
        """An answer of a status that the call knows, its body unread; raises ``Failed``."""
        request = self._request(call, within)
        try:
            answer = await self.transport.open(request)
        except Unreached as error:
            raise Failed(self._unreached(call, error)) from error
        if answer.status in call.answers:
            return answer
        try:
            body = await self._read(call, answer, self.settings.clock.monotonic() + within)
        finally:
            await answer.close()
        raise Failed(self._refusal(call, answer, body))

    async def _read(self, call: Call[Any], answer: Answer, deadline: float) -> bytes:
        parts: list[bytes] = []
        try:
            while part := await answer.read():
                parts.append(part)
                if self.settings.clock.monotonic() >= deadline:
                    raise Unreached("the answer did not come in time", sent=True)
        except Unreached as error:
            raise Failed(self._unreached(call, error)) from error
        return b"".join(parts)

    def _request(self, call: Call[Any], timeout: float) -> Request:
        headers = {"Accept": "application/json", "User-Agent": "stepflow", **self.settings.credential()}
        if call.body is not None:
            headers["Content-Type"] = "application/json"
        return Request(
            method=call.method,
            url=self.settings.address + call.target,
            headers={**headers, **dict(call.headers)},
            body=call.body,
            timeout=timeout,
        )

    # ------------------------------------------------------------------ failures
    def _unreached(self, call: Call[Any], error: Unreached) -> Failure:
        what = ServerUnavailableError(f"no answer from {self.settings.address}: {error}")
        return Failure(what, again=call.safe or not error.sent)

    def _refusal(self, call: Call[Any], answer: Answer, body: bytes) -> Failure:
        problem = read_problem(answer.status, body)
        told = self._told(answer.headers.get("retry-after", ""))
        if told is not None and "retryAfter" not in problem.data:
            problem = Problem(
                type=problem.type,
                title=problem.title,
                status=problem.status,
                detail=problem.detail,
                data={**problem.data, "retryAfter": told},
            )
        again = answer.status in _BUSY and (
            call.safe or problem.type in _NOTHING_DONE or answer.status == 429
        )
        return Failure(error_of(problem), again=again, told=told or 0.0)

    def _told(self, header: str) -> float | None:
        """``Retry-After`` in seconds, within reason; it may be a date."""
        header = header.strip()
        if header.isascii() and header.isdigit():
            return min(float(header[:9]), _LONGEST_PAUSE)
        try:
            when = parsedate_to_datetime(header)
        except ValueError:
            return None
        if when.tzinfo is None:
            return None
        seconds = (when - self.settings.clock.now()).total_seconds()
        return min(max(seconds, 0.0), _LONGEST_PAUSE)

    def new_id(self, prefix: str) -> str:
        """An id that nobody else has: 128 random bits."""
        return f"{prefix}{self.settings.random.getrandbits(128):032x}"


def _seconds(name: str, value: Duration) -> float:
    found = parse_duration(value)
    if found <= timedelta(0):
        raise InputError(f"{name}={value!r}: longer than nothing")
    return found.total_seconds()


def _credential(options: ClientOptions) -> Callable[[], Mapping[str, str]]:
    given = [name for name in ("api_key", "public_api_key", "token") if options.get(name) is not None]
    if len(given) > 1:
        raise InputError(f"give one credential, not {' and '.join(given)}")
    token = options.get("token")
    if token is not None:
        ask = token if callable(token) else _always(_checked("token", token))
        return lambda: {"Authorization": f"Bearer {_checked('token', ask())}"}
    key = options.get("api_key") or options.get("public_api_key")
    if key is None:
        if given:
            raise InputError(f"{given[0]} is empty; is the environment variable set?")
        return dict
    headers = {"X-API-Key": _checked("api_key", key)}
    return lambda: headers


def _always(token: str) -> Callable[[], str]:
    return lambda: token


def _checked(name: str, value: str) -> str:
    """A credential that can travel in a header. It is never told in an error."""
    if isinstance(value, str) and value and value.isascii() and value.isprintable() and " " not in value:
        return value
    raise InputError(f"{name} is empty, or not printable ASCII without spaces")
