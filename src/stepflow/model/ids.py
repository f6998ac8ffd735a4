"""Ids: which are well formed, and how new ones are made."""

from __future__ import annotations

import itertools
import re
from hashlib import blake2b

from stepflow.errors import InvalidIdError, RunNotFoundError

_RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._~:@-]{0,199}")
CHILD_EVENT_PREFIX = "run/"
"""The ids of events that say a child ended; nobody else may send or wait for one."""

_ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyz"


def is_text(value: object, most: int) -> bool:
    """Whether it is a text of 1 to ``most`` characters that can be stored: a lone surrogate is no character."""
    if not isinstance(value, str) or not 0 < len(value) <= most:
        return False
    return value.isascii() or not any("\ud800" <= character <= "\udfff" for character in value)


def check_run_id(value: str) -> str:
    """``value``, if a run can have this id; else ``RunNotFoundError``, as for one that none has."""
    if isinstance(value, str) and _RUN_ID.fullmatch(value):
        return value
    raise RunNotFoundError(value)


def check_id(what: str, value: str) -> str:
    """``value``, if it is a well-formed run, workflow, queue or worker id; else ``InvalidIdError``."""
    if isinstance(value, str) and _RUN_ID.fullmatch(value):
        return value
    raise InvalidIdError(
        f"{what} {value!r:.220} is malformed: 1 to 200 letters, digits or . _ ~ : @ - "
        "and the first a letter or digit"
    )


def check_event_id(value: str) -> str:
    """``value``, if it is a well-formed event id that users may send; else ``InvalidIdError``."""
    if not isinstance(value, str) or not 0 < len(value) <= 200 or not value.isprintable():
        raise InvalidIdError(f"event id {value!r:.220} must be 1 to 200 printable characters")
    if value.startswith(CHILD_EVENT_PREFIX):
        raise InvalidIdError(f"event id {value!r} is reserved: run/… tells a parent of its child")
    if any(segment in ("", ".", "..") for segment in value.split("/")):
        raise InvalidIdError(f"event id {value!r} has an empty, '.' or '..' segment")
    return value


def check_name(what: str, value: str) -> str:
    """``value``, if it can name a step, sleep or wait: 1 to 200 printable characters."""
    if isinstance(value, str) and 0 < len(value) <= 200 and value.isprintable():
        return value
    raise InvalidIdError(f"{what} name {value!r:.220} must be 1 to 200 printable characters")


def stable_digest(*parts: str, size: int = 16) -> str:
    """A hex digest that is the same on every machine, for every Python; parts can't run together."""
    digest = blake2b(digest_size=size)
    for part in parts:
        encoded = part.encode()
        digest.update(len(encoded).to_bytes(8, "big"))
        digest.update(encoded)
    return digest.hexdigest()


def _base36(number: int, width: int) -> str:
    digits: list[str] = []
    for _ in range(width):
        number, rest = divmod(number, 36)
        digits.append(_ALPHABET[rest])
    return "".join(reversed(digits))


class IdMaker:
    """Makes ids that sort by the time they were made, without a system call for each.

    ``stamp`` is milliseconds since 1970; ``nonce`` a random number unlike that of any other process.
    Not thread-safe by design: each event loop owns one.
    """

    __slots__ = ("_count", "_nonce", "_stamp", "_time")

    def __init__(self, nonce: int) -> None:
        self._nonce = _base36(nonce, 8)
        self._count = itertools.count()
        self._stamp = -1
        self._time = ""

    def next(self, prefix: str, stamp: int) -> str:
        """``prefix`` + 9 characters of time + 4 of a counter + 8 of the process."""
        if stamp != self._stamp:  # many are made within a millisecond
            self._stamp, self._time = stamp, _base36(stamp, 9)
        return f"{prefix}{self._time}{_base36(next(self._count), 4)}{self._nonce}"
