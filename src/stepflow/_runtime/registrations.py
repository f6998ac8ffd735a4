"""Registrations: which events the storage knows a run to wait for, and what has to change of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from stepflow._engine.commands import AwaitChild
from stepflow._engine.mailbox import Mailbox
from stepflow.model.events import Wait
from stepflow.types import EventId

Changes = tuple[tuple[Wait, ...], tuple[EventId, ...]]
"""Waits to register (or move), and event ids that nobody waits for any more."""

NO_CHANGES: Changes = ((), ())


class Registrations:
    """Compares the mailbox of an execution with what was last written of it."""

    __slots__ = ("_early", "_mailbox", "_registered")

    def __init__(self, mailbox: Mailbox, waits: Iterable[Wait]) -> None:
        self._mailbox = mailbox
        self.reset(waits)

    def reset(self, waits: Iterable[Wait]) -> None:
        """This is what the storage has now."""
        self._registered = {wait.event_id: wait.after for wait in waits}
        self._early: dict[EventId, int] = {}
        # The code may have changed since: what it does not wait for any more would wake it again and again.
        self._mailbox.changed.update(self._registered)

    def created(self, pos: int) -> None:
        """The run is durable, and this is its place among the events.

        What was registered in the same write begins too early. That may wake the run for nothing, and is mended with the
        next write; it is not worth one of its own.
        """
        mailbox = self._mailbox
        mailbox.created_at(pos)
        for event_id in self._registered:
            after = mailbox.after(event_id)
            if after is not None and self._differs(event_id):
                self._early[event_id] = after
                mailbox.changed.add(event_id)

    def __bool__(self) -> bool:
        return bool(self._registered)

    @property
    def needed(self) -> bool:
        """Whether a wait is not registered as it should be: without that, its event would wake nobody."""
        changed = self._mailbox.changed
        return bool(changed) and any(
            self._differs(event_id) and not self._suffices(event_id) for event_id in changed
        )

    def current(self) -> Iterator[Wait]:
        """All waits of the run, as they should be registered."""
        for event_id, waiting in self._mailbox.waits().items():
            first = waiting[0]
            after = self._mailbox.after(event_id)
            assert after is not None, "somebody waits"
            until = None if isinstance(first, AwaitChild) else first.deadline
            yield Wait(event_id=event_id, after=after, name=first.name, until=until)

    def take_changes(self) -> Changes:
        """What the next write has to change."""
        mailbox = self._mailbox
        if not mailbox.changed:
            return NO_CHANGES
        waits = tuple(
            wait
            for wait in self.current()
            if wait.event_id in mailbox.changed and self._differs(wait.event_id)
        )
        unwaits = tuple(
            event_id
            for event_id in sorted(mailbox.changed)
            if event_id in self._registered and mailbox.after(event_id) is None
        )
        mailbox.changed.clear()
        return waits, unwaits

    def written(self, changes: Changes) -> None:
        """The storage has taken these."""
        waits, unwaits = changes
        for wait in waits:
            self._registered[wait.event_id] = wait.after
            self._early.pop(wait.event_id, None)
        for event_id in unwaits:
            self._registered.pop(event_id, None)

    def _suffices(self, event_id: EventId) -> bool:
        """Whether all that is wrong with the registration is that it was written before the run's place was known."""
        return event_id in self._early and self._mailbox.after(event_id) == self._early[event_id]

    def _differs(self, event_id: EventId) -> bool:
        after = self._mailbox.after(event_id)
        return after is not None and self._registered.get(event_id) != after
