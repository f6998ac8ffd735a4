"""Mutants of events: which of a run's waits gets the next one."""

from __future__ import annotations

from typing import Any

import pytest

from stepflow._engine.mailbox import Mailbox

Patch = pytest.MonkeyPatch


def serve_the_last_wait_first(patch: Patch) -> None:
    """Of several waits the youngest gets the event."""
    taker = Mailbox.taker

    def last(self: Mailbox, event_id: str, pos: int) -> Any:
        waits = self._waiting.get(event_id, [])
        return taker(self, event_id, pos) and waits[-1]

    patch.setattr(Mailbox, "taker", last)


def deliver_events_from_before_the_run(patch: Patch) -> None:
    """What was sent before the run was created reaches it."""
    patch.setattr(Mailbox, "_lower_bound", lambda self, wait: 0)


def deliver_events_twice(patch: Patch) -> None:
    """Cursors do not move."""
    patch.setattr(Mailbox, "received", lambda self, event_id, pos: None)
