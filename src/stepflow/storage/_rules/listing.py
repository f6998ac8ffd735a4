"""Listing: which runs a filter lets through, and cursors that belong to their filter."""

from __future__ import annotations

import base64
import binascii

import msgspec

from stepflow.errors import InputError
from stepflow.model.ids import stable_digest
from stepflow.model.runs import RunFilter
from stepflow.storage._rules.records import RunState
from stepflow.types import RunId

LIMIT = 1_000
"""The most runs on one page."""


class Place(msgspec.Struct, frozen=True, array_like=True):
    """Where a page ended: the last run's ``created_at`` in microseconds since 1970, and its id."""

    created_at: int
    run_id: RunId
    of: str


_DECODER = msgspec.json.Decoder(Place)


def matches(where: RunFilter, run: RunState) -> bool:
    """Whether the filter lets the run through."""
    return (
        (not where.statuses or run.status in where.statuses)
        and (where.workflow_id is None or run.workflow_id == where.workflow_id)
        and (where.queue is None or run.queue == where.queue)
        and (where.created_after is None or run.created_at > where.created_after)
        and (where.created_before is None or run.created_at < where.created_before)
        and (where.parent_id is None or (run.parent is not None and run.parent.run_id == where.parent_id))
        and all(run.tags.get(name) == value for name, value in where.tags.items())
    )


def write_cursor(where: RunFilter, created_at: int, run_id: RunId) -> str:
    """The cursor after this run; opaque, and good for this filter only."""
    place = Place(created_at, run_id, _digest(where))
    return base64.urlsafe_b64encode(msgspec.json.encode(place)).decode().rstrip("=")


def read_cursor(where: RunFilter, cursor: str) -> Place:
    """The place that a cursor names; ``InputError`` if this filter did not give it."""
    try:
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        place = _DECODER.decode(base64.b64decode(padded, altchars=b"-_", validate=True))
    except (ValueError, binascii.Error, msgspec.DecodeError) as error:
        raise InputError("malformed cursor; pass back next_cursor as it was given") from error
    if place.of != _digest(where):
        raise InputError("this cursor belongs to a listing with another filter")
    return place


def check_limit(limit: int) -> int:
    """``limit``, if a page may be that long; else ``InputError``."""
    if 1 <= limit <= LIMIT:
        return limit
    raise InputError(f"a page has 1 to {LIMIT:,} runs, not {limit:,}")


def _digest(where: RunFilter) -> str:
    return stable_digest(
        ",".join(sorted(where.statuses)),
        where.workflow_id or "",
        msgspec.json.encode(sorted(where.tags.items())).decode(),
        str(where.created_after),
        str(where.created_before),
        where.queue or "",
        where.parent_id or "",
        size=6,
    )
