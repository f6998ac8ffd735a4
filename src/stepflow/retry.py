"""Retry: when another attempt follows a failure, and after which delay. Arithmetic only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from math import isfinite
from typing import Any

from stepflow.durations import parse_duration
from stepflow.errors import (
    DefinitionError,
    DurationError,
    FatalError,
    PayloadTooLargeError,
    RetryAfter,
    SerializationError,
)
from stepflow.types import Duration

RETRY_AFTER_SHORTEST = timedelta(milliseconds=1)
RETRY_AFTER_LONGEST = timedelta(days=365)
"""The delay of a ``RetryAfter`` is clamped to these; a server may answer anything."""

_MICROSECOND = timedelta(microseconds=1)

# Another attempt would end the same way: the value is what it is.
_FINAL = (FatalError, SerializationError, PayloadTooLargeError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """How often, and how long after one another, attempts are made.

    ``attempts`` counts the first one; ``None`` is unlimited. The n-th retry comes ``delay * backoff**(n-1)`` after the
    failure, at most ``max_delay``. With ``jitter`` a delay is drawn evenly from its upper half, so that many failures of one
    moment do not come back in one moment ("equal jitter": Marc Brooker, *Exponential Backoff And Jitter*, AWS Architecture
    Blog, 2015). Only failures that are instances of ``on``, and not of ``never_on``, are tried again.

    ``DefinitionError`` if a value makes no sense. Durations are kept as ``timedelta``.
    """

    attempts: int | None = 3
    delay: Duration = "1s"
    backoff: float = 2.0
    max_delay: Duration = "1m"
    jitter: bool = True
    on: tuple[type[Exception], ...] = (Exception,)
    never_on: tuple[type[Exception], ...] = ()

    def __post_init__(self) -> None:
        if self.attempts is not None and (not _is_int(self.attempts) or self.attempts < 1):
            raise DefinitionError(
                f"Retry(attempts={self.attempts!r}): a whole number from 1 on, or None for unlimited "
                "(the first attempt counts, so 1 means no retry)"
            )
        if not _is_number(self.backoff) or not self.backoff >= 1 or not isfinite(self.backoff):
            raise DefinitionError(f"Retry(backoff={self.backoff!r}): a number from 1 on")
        if not isinstance(self.jitter, bool):
            raise DefinitionError(f"Retry(jitter={self.jitter!r}): True or False")
        delay = _duration("delay", self.delay)
        max_delay = _duration("max_delay", self.max_delay)
        if delay > max_delay:
            raise DefinitionError(
                f"Retry(delay={self.delay!r}) is longer than max_delay={self.max_delay!r}; raise max_delay too"
            )
        _check_classes("on", self.on)
        _check_classes("never_on", self.never_on)
        object.__setattr__(self, "delay", delay)
        object.__setattr__(self, "max_delay", max_delay)

    @classmethod
    def of(cls, retry: Retry | int) -> Retry:
        """The policy itself, or the default one with this many attempts."""
        return retry if isinstance(retry, Retry) else cls(attempts=retry)

    def next_delay(
        self, attempt: int, error: BaseException, *, random: Callable[[], float]
    ) -> timedelta | None:
        """How long to wait after the ``attempt``-th attempt (from 1) failed with ``error``; None is to give up.

        ``random`` returns numbers from 0 up to, not including, 1. A ``FatalError`` (also one inside an exception group), a value that
        can't be encoded or is too large, and whatever is no ``Exception`` are final. A ``RetryAfter`` uses up an attempt and sets its own
        delay, without jitter, clamped to 1 ms … 365 days; ``on`` does not concern it, ``never_on`` does.
        """
        if self.attempts is not None and attempt >= self.attempts:
            return None
        if not isinstance(error, Exception) or _is_final(error) or isinstance(error, self.never_on):
            return None
        if isinstance(error, RetryAfter):
            wanted = _wanted_delay(error.delay)
            return wanted if wanted is not None else self._backed_off(attempt, random)
        return self._backed_off(attempt, random) if isinstance(error, self.on) else None

    def _backed_off(self, attempt: int, random: Callable[[], float]) -> timedelta:
        first = parse_duration(self.delay) // _MICROSECOND
        longest = parse_duration(self.max_delay) // _MICROSECOND
        try:
            whole = int(min(first * self.backoff ** (attempt - 1), longest)) if first else 0
        except OverflowError:  # two to the power of 10,000 is over every limit anyway
            whole = longest
        if self.jitter:
            half = whole // 2
            whole = half + int((whole - half) * random())
        return timedelta(microseconds=whole)


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _duration(name: str, value: Duration) -> timedelta:
    try:
        return parse_duration(value)
    except DurationError as error:
        raise DefinitionError(f"Retry({name}={value!r:.120}): {error}") from error


def _check_classes(name: str, classes: Any) -> None:
    if not isinstance(classes, tuple):
        raise DefinitionError(f"Retry({name}={classes!r}): a tuple of exception classes, like (ValueError,)")
    for each in classes:  # pyright: ignore[reportUnknownVariableType]
        if not isinstance(each, type) or not issubclass(each, Exception):
            raise DefinitionError(f"Retry({name}=...): {each!r} is not a subclass of Exception")


def _is_final(error: Exception) -> bool:
    """Whether the error, or a leaf of the group that it is, rules out another attempt."""
    pending: list[BaseException] = [error]
    while pending:
        each = pending.pop()
        if isinstance(each, _FINAL):
            return True
        if isinstance(each, BaseExceptionGroup):
            pending.extend(each.exceptions)  # pyright: ignore[reportUnknownMemberType,reportUnknownArgumentType]
    return False


def _wanted_delay(delay: Duration) -> timedelta | None:
    """What a ``RetryAfter`` asks for, clamped; None if it can't be read, so that the policy's own delay holds.

    Digits alone are seconds, as in HTTP's ``Retry-After`` header. An instant that is over already means the shortest.
    """
    if isinstance(delay, str) and delay.isascii() and delay.strip().isdecimal():
        delay = float(delay)
    if isinstance(delay, timedelta):
        delay = delay.total_seconds()
    try:
        if isinstance(delay, str):
            wanted = parse_duration(delay)
        else:
            wanted = parse_duration(min(max(delay, 0), RETRY_AFTER_LONGEST.total_seconds()))
    except (DurationError, TypeError):  # a user may have put anything there
        return None
    return min(max(wanted, RETRY_AFTER_SHORTEST), RETRY_AFTER_LONGEST)
