"""Settings: how an app is opened and a run is started, checked once and then plain data."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import msgspec

from stepflow.durations import format_duration
from stepflow.errors import DurationError, InputError
from stepflow.model.ids import is_text
from stepflow.types import RunId


class OpenOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What of an app's settings matters while it is open. ``queues`` None: no worker."""

    worker_name: str | None
    queues: Mapping[str, int] | None
    concurrency: int
    threads: int
    retention: timedelta | None
    event_retention: timedelta | None
    lease: timedelta
    grace: timedelta


class StartOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How a run is started, beside its workflow and input."""

    id: RunId | None = None
    idempotency_key: str | None = None
    delay: timedelta | None = None
    at: datetime | None = None
    tags: Mapping[str, str] | None = None
    priority: int = 0
    queue: str | None = None


def checked_priority(priority: int) -> int:
    """The priority of a run; ``InputError``."""
    if not isinstance(priority, int) or isinstance(priority, bool) or abs(priority) > 2**31:
        raise InputError(f"priority={priority!r}: a whole number, higher first, 0 is the default")
    return priority


def checked_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """The tags of a run within their limits; ``InputError``."""
    checked: dict[str, str] = {}
    for name, value in tags.items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise InputError(f"tag {name!r}={value!r}: names and values are text")
        if not is_text(name, 100) or (value and not is_text(value, 500)):
            raise InputError(f"tag {name!r:.120}: a name has 1 to 100 characters, a value at most 500")
        checked[name] = value
    if len(checked) > 50:
        raise InputError(f"{len(checked)} tags: a run has at most 50")
    return checked


def checked_key(key: str | None) -> str | None:
    """The idempotency key of a run within its limit; ``InputError``."""
    if key is not None and not is_text(key, 500):
        raise InputError("an idempotency key has 1 to 500 characters")
    return key


def due_at(options: StartOptions, now: datetime) -> datetime:
    """When the run may begin. ``InputError`` and ``DurationError`` for an instant that does not exist, as none does after the year 9999."""
    if options.delay is not None and options.at is not None:
        raise InputError("give delay= or at=, not both")
    if options.at is not None and options.at.tzinfo is None:
        raise InputError(f"at={options.at!r} is naive; give it a time zone, e.g. datetime.now(UTC)")
    try:
        if options.delay is not None:
            return now + options.delay
        return now if options.at is None else max(now, options.at.astimezone(UTC))
    except OverflowError:
        if options.delay is not None:
            delay = format_duration(options.delay)
            raise DurationError(f"delay={delay!r} ends after the year 9999; give a shorter one") from None
        raise InputError(f"at={options.at!r} lies after the year 9999 in UTC; give an earlier one") from None
