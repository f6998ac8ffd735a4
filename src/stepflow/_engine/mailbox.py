"""Mailbox: which of a run's waits the next event belongs to.

Every event after the run's creation reaches it once, in order, one for each wait; several waits on one id are
served in the order they were asked. The cursor of an id moves when an event is received, never when it is dropped.
"""

from __future__ import annotations

from collections.abc import Mapping

from stepflow._engine.commands import AwaitChild, WaitForEvent
from stepflow.model.ids import CHILD_EVENT_PREFIX
from stepflow.types import EventId, RunId

Waiting = WaitForEvent | AwaitChild


def child_event(child_id: RunId) -> EventId:
    """The reserved id of the event that tells a parent that this child ended."""
    return f"{CHILD_EVENT_PREFIX}{child_id}"


class Mailbox:
    """Cursors and waits of one run, by event id. ``changed`` are ids whose registration may need an update."""

    __slots__ = ("_created_pos", "_waiting", "changed", "cursors")

    def __init__(self, created_pos: int) -> None:
        self._created_pos = created_pos
        self._waiting: dict[EventId, list[Waiting]] = {}
        self.cursors: dict[EventId, int] = {}
        self.changed: set[EventId] = set()

    @property
    def created_pos(self) -> int:
        """The run's place among the events."""
        return self._created_pos

    def created_at(self, pos: int) -> None:
        """The run is durable, and this is its place among the events: only later ones concern it."""
        self._created_pos = pos

    def add(self, wait: Waiting) -> None:
        event_id = _event_id(wait)
        self._waiting.setdefault(event_id, []).append(wait)
        self.changed.add(event_id)

    def remove(self, wait: Waiting) -> None:
        event_id = _event_id(wait)
        waiting = self._waiting.get(event_id)
        if waiting is not None and wait in waiting:
            waiting.remove(wait)
            if not waiting:
                del self._waiting[event_id]
            self.changed.add(event_id)

    def received(self, event_id: EventId, pos: int) -> None:
        """Move the cursor past ``pos``."""
        self.cursors[event_id] = max(pos, self.cursors.get(event_id, 0))
        self.changed.add(event_id)

    def taker(self, event_id: EventId, pos: int) -> Waiting | None:
        """The wait that the event at ``pos`` belongs to, or None if nobody may have it (now)."""
        if pos <= self.cursors.get(event_id, 0):
            return None
        for wait in self._waiting.get(event_id, ()):
            if pos > self._lower_bound(wait):
                return wait
        return None

    def awaiting(self, child_id: RunId) -> list[Waiting]:
        """All who wait for this child's end."""
        return list(self._waiting.get(child_event(child_id), ()))

    def after(self, event_id: EventId) -> int | None:
        """The position after which the next event of ``event_id`` is wanted; None if nobody waits for it."""
        waiting = self._waiting.get(event_id)
        if not waiting:
            return None
        return max(self.cursors.get(event_id, 0), min(self._lower_bound(wait) for wait in waiting))

    def waits(self) -> Mapping[EventId, list[Waiting]]:
        """All waits, by event id, each in the order they were asked."""
        return self._waiting

    def _lower_bound(self, wait: Waiting) -> int:
        return max(self._created_pos, wait.after if isinstance(wait, WaitForEvent) else 0)


def _event_id(wait: Waiting) -> EventId:
    return wait.event_id if isinstance(wait, WaitForEvent) else child_event(wait.child_id)
