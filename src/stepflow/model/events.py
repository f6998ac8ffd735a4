"""Events: what is sent, what is stored, and what a run waits for."""

from __future__ import annotations

from datetime import datetime

import msgspec

from stepflow.model.payloads import Payload
from stepflow.types import EventId, RunId


class NewEvent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """An event on its way in. ``run_id`` addresses one run; None is for all who wait.

    ``dedup_id``: the same one twice (under one ``event_id``) is once. ``once``: the first event of this
    ``event_id`` (and ``run_id``) wins, any later one is answered with ``Duplicate(event=first)``.
    """

    event_id: EventId
    payload: Payload
    run_id: RunId | None = None
    dedup_id: str | None = None
    once: bool = False


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A stored event. ``pos`` is from one sequence of the whole store, in commit order."""

    event_id: EventId
    pos: int
    payload: Payload
    at: datetime
    run_id: RunId | None = None
    dedup_id: str | None = None


class Wait(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A run's registered interest in the first event of ``event_id`` with ``pos > after``.

    Eligible are events addressed to all and those addressed to this run. One run has at most one
    registration for an ``event_id``; adding another replaces it.
    """

    event_id: EventId
    after: int
    name: str = ""
    until: datetime | None = None
