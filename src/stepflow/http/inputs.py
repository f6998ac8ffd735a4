"""Inputs: what a request brings, read within limits and refused with the reason."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from stepflow.durations import parse_duration
from stepflow.errors import InputError
from stepflow.http.messages import JSON, Request
from stepflow.wire.problems import Problem, problem

MOST_FIELDS = 200
"""Parameters of one query."""

MOST_FORGOTTEN = 64 * 1024
"""Bytes of a body that is read for the connection's sake only."""

_AT = re.compile(r" - at `(\$[^`]*)`")
_TRUE = {"true": True, "1": True, "false": False, "0": False, "": True}


class Refused(Exception):
    """A request that is answered with a problem; nothing was done."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.type)
        self.problem = problem


# ------------------------------------------------------------------ the query
Query = Mapping[str, Sequence[str]]


def read_query(text: str) -> Query:
    """The parameters, each with all its values; ``InputError`` for what is not UTF-8, or too much."""
    try:
        pairs = parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=MOST_FIELDS)
    except ValueError as error:
        raise InputError(f"the query can't be read: at most {MOST_FIELDS} fields, in UTF-8") from error
    found: dict[str, list[str]] = {}
    for name, value in pairs:
        found.setdefault(name, []).append(value)
    return found


def one(query: Query, name: str) -> str | None:
    """The value of a parameter that may come once."""
    values = query.get(name, ())
    if len(values) > 1:
        raise InputError(f"{name}= is given {len(values)} times; once is what it means")
    return values[0] if values else None


def flag(query: Query, name: str) -> bool:
    value = one(query, name)
    if value is None:
        return False
    if value.lower() not in _TRUE:
        raise InputError(f"{name}={value!r:.60}: true or false")
    return _TRUE[value.lower()]


def whole_number(query: Query, name: str, default: int, *, least: int, most: int) -> int:
    value = one(query, name)
    if value is None:
        return default
    if not re.fullmatch(r"-?[0-9]{1,10}", value) or not least <= int(value) <= most:
        raise InputError(f"{name}={value!r:.60}: a whole number from {least} to {most}")
    return int(value)


def duration(query: Query, name: str, *, most: timedelta | None = None) -> timedelta | None:
    value = one(query, name)
    if value is None:
        return None
    found = parse_duration(value)
    if most is not None and found > most:
        raise InputError(f"{name}={value!r:.60}: at most {most.total_seconds():g} s")
    return found


def moment(query: Query, name: str) -> datetime | None:
    """A time by RFC 3339. An offset's plus sign that was not encoded arrives as a space."""
    value = one(query, name)
    if value is None:
        return None
    try:
        found = msgspec.convert(value.replace(" ", "+"), datetime)
    except msgspec.ValidationError as error:
        raise InputError(f"{name}={value!r:.60}: a time by RFC 3339, like 2026-01-31T12:00:00Z") from error
    if found.tzinfo is None:
        raise InputError(f"{name}={value!r:.60}: a time needs its offset, like 2026-01-31T12:00:00Z")
    return found


def tags(query: Query) -> dict[str, str]:
    """``tag=key:value``, as often as there are tags."""
    found: dict[str, str] = {}
    for given in query.get("tag", ()):
        key, colon, value = given.partition(":")
        if not colon or not key:
            raise InputError(f"tag={given!r:.120}: a tag is key:value")
        if key in found:
            raise InputError(f"tag={given!r:.120}: this key is given twice")
        found[key] = value
    return found


# ------------------------------------------------------------------ the body
async def read_body(request: Request, *, most: int, within: float) -> bytes:
    """The body, never more than ``most`` bytes of it, nor longer than ``within`` seconds."""
    length = request.headers.get("content-length", "")
    if length.isascii() and length.isdigit() and (len(length) > 15 or int(length) > most):
        raise _too_large(most)
    if isinstance(request.body, bytes):
        body = request.body
    else:
        try:
            async with asyncio.timeout(within):
                body = await _collect(request.body, most)
        except TimeoutError:
            raise Refused(
                problem("request-timeout", f"the body did not arrive within {within:g} s")
            ) from None
    if len(body) > most:
        raise _too_large(most)
    return body


async def _collect(chunks: AsyncIterable[bytes], most: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    async for chunk in chunks:
        size += len(chunk)
        if size > most:
            raise _too_large(most)
        parts.append(chunk)
    return b"".join(parts)


async def read_rest(request: Request, *, within: float) -> None:
    """Read and forget what is still to come of a small body, so that the connection can be used again.

    Some servers hang up when an answer is out before its request is in, while the client already sends the next one. A large body, or
    one that does not come, is the server's to cut off.
    """
    if isinstance(request.body, bytes):
        return
    left = MOST_FORGOTTEN
    try:
        async with asyncio.timeout(within):
            async for chunk in request.body:
                left -= len(chunk)
                if left < 0:
                    return
    except TimeoutError:
        return


def _too_large(most: int) -> Refused:
    return Refused(problem("body-too-large", f"a body has at most {most:,} bytes", limit=most))


def check_media_type(headers: Mapping[str, str]) -> None:
    """What is sent has to be said to be JSON: a form from another site can't say so without asking first."""
    media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != JSON:
        raise Refused(problem("unsupported-media-type", f"send the body as Content-Type: {JSON}"))
    if headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise Refused(problem("unsupported-media-type", "send the body without a Content-Encoding"))


def read_json(body: bytes, type_: Any = Any) -> Any:
    """The body's value; an empty one is null. ``invalid-json`` or ``InputError`` says where it goes wrong."""
    if not body:
        body = b"null"
    try:
        return msgspec.json.decode(body, type=type_)
    except msgspec.ValidationError as error:
        raise InputError(f"the body does not fit: {error}", path=path_in(str(error))) from error
    except RecursionError:
        raise Refused(problem("invalid-json", "the body is nested too deeply")) from None
    except ValueError as error:
        raise Refused(problem("invalid-json", str(error))) from error


def path_in(message: str) -> str | None:
    """Where in a value a decoder found its fault. It tells only in its message, in this one form."""
    found = _AT.search(message)
    return None if found is None else found[1]
