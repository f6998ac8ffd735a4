"""Durations: ``"1h30m"`` to an exact ``timedelta`` and back."""

from __future__ import annotations

import re
from datetime import timedelta
from functools import lru_cache
from math import isfinite

from stepflow.errors import DurationError
from stepflow.types import Duration

_FORMS = (
    "write '500ms', '30s', '15m', '1h30m', '3d', '2w', ISO-8601 'P3D', a timedelta, or seconds as a number"
)
_MICROSECOND = timedelta(microseconds=1)
_LONGEST = timedelta.max // _MICROSECOND
_LONGEST_TEXT = 100

_UNITS = {
    "w": (604_800_000_000, ("w", "week", "weeks")),
    "d": (86_400_000_000, ("d", "day", "days")),
    "h": (3_600_000_000, ("h", "hr", "hrs", "hour", "hours")),
    "m": (60_000_000, ("m", "min", "mins", "minute", "minutes")),
    "s": (1_000_000, ("s", "sec", "secs", "second", "seconds")),
    "ms": (1_000, ("ms", "msec", "msecs", "millisecond", "milliseconds")),
    "us": (1, ("us", "\u00b5s", "\u03bcs", "microsecond", "microseconds")),
}
_MICROSECONDS = {word: size for size, words in _UNITS.values() for word in words}
_CALENDAR = frozenset({"mo", "mon", "mth", "month", "months", "y", "yr", "yrs", "year", "years"})

# Each pattern is used with fullmatch or from a fixed place, and no two neighbouring parts of it can take the
# same character: matching is linear, whatever the text.
_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z\u00b5\u03bc]+)\s*")
_ISO_NUMBER = r"([0-9]+(?:[.,][0-9]+)?)"
_ISO = re.compile(
    rf"P(?:{_ISO_NUMBER}Y)?(?:{_ISO_NUMBER}M)?(?:{_ISO_NUMBER}W)?(?:{_ISO_NUMBER}D)?"
    rf"(T(?:{_ISO_NUMBER}H)?(?:{_ISO_NUMBER}M)?(?:{_ISO_NUMBER}S)?)?"
)


def parse_duration(value: Duration) -> timedelta:
    """The duration as a ``timedelta``, exact to the microsecond, never shorter than what was written.

    Text is a row of numbers with units, the largest first (``"1h30m"``, ``"2 days"``), or ISO-8601 (``"P3D"``,
    ``"PT1H30M"``); a plain number is seconds. What is finer than a microsecond is rounded up. ``DurationError``
    for anything else: a text without a unit, months and years, negative or infinite durations, and those that a
    ``timedelta`` can't hold (about 2.7 million years).
    """
    if isinstance(value, str):
        return _parse_text(value)
    if isinstance(value, timedelta):
        return _checked(value // _MICROSECOND, value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise DurationError(f"{_shown(value)} is not a duration; {_FORMS}")
    if isinstance(value, int):
        return _checked(value * 1_000_000, value)
    return _checked(_from_float(value), value)


def format_duration(duration: timedelta) -> str:
    """The shortest text that ``parse_duration`` reads as this very duration: ``"1h30m"``; ``"0s"`` for none."""
    rest = _checked(duration // _MICROSECOND, duration) // _MICROSECOND
    parts: list[str] = []
    for unit, (size, _) in _UNITS.items():
        if unit == "w":
            continue  # people read 14d more easily than 2w, and 10d much more easily than 1w3d
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


@lru_cache(maxsize=1024)
def _parse_text(text: str) -> timedelta:
    trimmed = text.strip()
    if not trimmed:
        raise DurationError(f"an empty text is not a duration; {_FORMS}")
    if len(trimmed) > _LONGEST_TEXT:
        raise DurationError(f"{_shown(text)} is too long for a duration; {_FORMS}")
    if trimmed[0] == "-":
        raise DurationError(f"{text!r} is negative; a duration is 0 or more")
    parse = _parse_iso if trimmed[0] == "P" else _parse_parts
    return _checked(parse(trimmed), text)


def _parse_parts(text: str) -> int:
    total = 0
    place = 0
    smallest = None
    while place < len(text):
        part = _PART.match(text, place)
        if part is None:
            unit_missing = re.fullmatch(r"[0-9]+(?:\.[0-9]+)?", text[place:])
            hint = "it needs a unit, like '30s' or '15m'" if unit_missing else _FORMS
            raise DurationError(f"{text!r} is not a duration; {hint}")
        size = _unit_size(part[2], text)
        if smallest is not None and size >= smallest:
            raise DurationError(f"{text!r} is not a duration: name each unit once, the largest first")
        total += _times(part[1], size)
        smallest = size
        place = part.end()
    return total


def _unit_size(unit: str, text: str) -> int:
    word = unit.lower()
    if word in _CALENDAR:
        raise _calendar_error(text)
    if unit == "M":
        raise DurationError(f"{text!r} is ambiguous: write 'm' for minutes; months have no length")
    size = _MICROSECONDS.get(word)
    if size is None:
        raise DurationError(f"{text!r} has an unknown unit {unit!r}; {_FORMS}")
    return size


def _parse_iso(text: str) -> int:
    match = _ISO.fullmatch(text)
    if match is None:
        raise DurationError(f"{text!r} is not an ISO-8601 duration; {_FORMS}")
    years, months, weeks, days, time, hours, minutes, seconds = match.groups()
    if years or months:
        raise _calendar_error(text)
    counts = {"w": weeks, "d": days, "h": hours, "m": minutes, "s": seconds}
    if time == "T" or not any(counts.values()):
        raise DurationError(f"{text!r} is not an ISO-8601 duration; {_FORMS}")
    return sum(
        _times(count.replace(",", "."), _MICROSECONDS[unit]) for unit, count in counts.items() if count
    )


def _calendar_error(text: str) -> DurationError:
    return DurationError(
        f"{text!r} names months or years, which have no fixed length; "
        "say it in days, like '60d', or use sleep_until() with a date"
    )


def _times(count: str, size: int) -> int:
    """A decimal number times microseconds, rounded up."""
    whole, _, fraction = count.partition(".")
    divisor: int = 10 ** len(fraction)
    return -(-int(whole + fraction) * size // divisor)


def _from_float(seconds: float) -> int:
    """Microseconds. ``0.1`` means a tenth: the number as it is written, not as binary stores it.

    The noise of floating point (``0.1 + 0.2``) is far below a nanosecond and is cut off there; from the nanosecond
    on, rounding goes up, so that nothing is ever early.
    """
    if not isfinite(seconds):
        raise DurationError(f"{seconds!r} is not a duration; {_FORMS}")
    mantissa, _, exponent = float.__repr__(seconds).partition("e")  # of a subclass (NumPy's) too
    whole, _, fraction = mantissa.partition(".")
    power = int(exponent or 0) - len(fraction) + 9
    factor: int = 10 ** max(power, 0)
    divisor: int = 10 ** max(-power, 0)
    nanoseconds = (int(whole + fraction) * factor + divisor // 2) // divisor
    microseconds = -(-nanoseconds // 1_000)
    return max(microseconds, 1) if seconds > 0 else microseconds


def _checked(microseconds: int, given: Duration) -> timedelta:
    if microseconds < 0:
        raise DurationError(f"{_shown(given)} is negative; a duration is 0 or more")
    if microseconds > _LONGEST:
        raise DurationError(f"{_shown(given)} is too long: the longest is {timedelta.max.days} days")
    return timedelta(microseconds=microseconds)


def _shown(value: object) -> str:
    if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() > 128:
        return "a huge number"  # Python refuses to print some of them
    return f"{value!r:.120}"
