"""Kept: what a new attempt of a run takes over from the attempts before it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from stepflow._engine.divergence import KeyedEntry
from stepflow._engine.mailbox import Mailbox
from stepflow.model.journal import (
    AttemptStarted,
    ChildEnded,
    ChildStarted,
    Entry,
    EventReceived,
    EventSent,
    StepCompleted,
    TimerFired,
)
from stepflow.model.states import RunStatus
from stepflow.types import RunId, StepKey


class Kept:
    """Collects the entries of earlier attempts while the journal of a retried run is read.

    Kept: successful steps, completed and detached children, received and sent events, fired sleeps. Not kept:
    failures, interruptions, timed-out waits, plain timers. Cursors of events do not move back.
    """

    def __init__(self, attempt: int) -> None:
        self._attempt = attempt
        self._collecting = attempt > 1
        self._entries: list[KeyedEntry] = []
        self._started: dict[RunId, ChildStarted] = {}
        self._completed: set[RunId] = set()
        self.unsuccessful_children: Counter[StepKey] = Counter()

    def collecting(self, entry: Entry) -> bool:
        """Whether ``entry`` belongs to an attempt before the present one."""
        if self._collecting and isinstance(entry, AttemptStarted) and entry.attempt == self._attempt:
            self._collecting = False
        return self._collecting

    def collect(self, entry: Entry) -> None:
        match entry:
            case StepCompleted() | EventReceived() | EventSent():
                self._entries.append(entry)
            case TimerFired(sleep=True):
                self._entries.append(entry)
            case ChildStarted():
                self._started[entry.child_id] = entry
                self._entries.append(entry)
            case ChildEnded(status=RunStatus.COMPLETED):
                self._completed.add(entry.child_id)
                self._entries.append(entry)
            case _:
                pass

    def take(self, mailbox: Mailbox) -> Iterable[KeyedEntry]:
        """What is kept, in journal order, as the attempt begins; moves the cursors past the events that were received."""
        self._collecting = False
        for entry in self._entries:
            if isinstance(entry, ChildStarted) and not entry.detached:
                if entry.child_id not in self._completed:
                    self.unsuccessful_children[entry.key] += 1
                    continue
            elif isinstance(entry, EventReceived):
                mailbox.received(entry.event_id, entry.pos)
            yield entry
