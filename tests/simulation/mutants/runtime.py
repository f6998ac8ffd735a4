"""Mutants of the runtime: what is performed when, what is run again, and what is looked at."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from stepflow._engine.execution import Execution
from stepflow._engine.history import Kept
from stepflow._runtime import journal_stream
from stepflow._runtime.adopting import Adopting
from stepflow._runtime.bodies import Bodies
from stepflow._runtime.driver import Driver
from stepflow._runtime.ending import Ending
from stepflow._runtime.happenings import Happenings
from stepflow._runtime.slots import Slots
from stepflow._runtime.steps import Steps
from stepflow._runtime.watching import Watching
from stepflow._runtime.worker import Worker
from stepflow.storage.writes import Committed, Fenced

Patch = pytest.MonkeyPatch


def perform_before_it_is_durable(patch: Patch) -> None:
    """Steps begin when their commit is sent, not when it is acknowledged."""
    original = Driver.take_write

    def take_write(self: Any) -> Any:
        write = original(self)
        if write is not None and self._loaded is not None and self._transition is None:
            starts, self._loaded.starts = self._loaded.starts, []
            for command in starts:
                if self.execution.lookup.is_pending(command):
                    self.host.clock.call_at(self.host.clock.now(), lambda c=command: self._begin_early(c))
        return write

    def begin_early(self: Any, command: Any) -> None:
        if not self.dropped and command.key not in self.steps.running:
            self.steps.start(command)

    patch.setattr(Driver, "take_write", take_write)
    patch.setattr(Driver, "_begin_early", begin_early, raising=False)


def go_on_when_fenced(patch: Patch) -> None:
    """A refused commit is taken for a durable one."""
    original = Driver.written

    def written(self: Any, outcome: Any) -> None:
        original(self, Committed() if isinstance(outcome, Fenced) else outcome)

    patch.setattr(Driver, "written", written)


def leave_no_intent(patch: Patch) -> None:
    """A step that is at most once begins without a word in the journal."""
    patch.setattr(Driver, "_intend", lambda self, command: True)


def run_what_was_interrupted(patch: Patch) -> None:
    """A step that is at most once and has an intent begins again."""

    def intend(self: Any, command: Any) -> bool:
        return True if command.intended else bool(original(self, command))

    original = Driver._intend
    patch.setattr(Driver, "_intend", intend)


def retry_what_others_have_done(patch: Patch) -> None:
    """Retries that rested in a kept execution begin, whatever was recorded meanwhile."""

    def wake(self: Any) -> None:
        resting = list(self._resting.values())
        self._resting.clear()
        for _, _, command in resting:
            self.start(command)

    patch.setattr(Steps, "wake", wake)


def forget_retries(patch: Patch) -> None:
    """A retry that is due does not begin."""
    patch.setattr(Steps, "_rested", lambda self, command: None)


def count_no_attempts(patch: Patch) -> None:
    """A failed attempt that will be retried is not recorded."""
    patch.setattr(Driver, "deliver_quietly", lambda self, entry: self.pump())


def pass_events_over(patch: Patch) -> None:
    """An event that nobody waits for at its turn is dropped, and a later one received in its stead."""
    patch.setattr(Happenings, "_hold", lambda self, event: None)


def skip_the_next_event(patch: Patch) -> None:
    """Of two events that are read at once only the last arrives."""
    original = Driver._receive

    def receive(self: Any, events: Any) -> None:
        original(self, events[-1:])

    patch.setattr(Driver, "_receive", receive)


def fire_early(patch: Patch) -> None:
    """Timers fire two seconds before their time."""
    original = Execution.due_entry
    patch.setattr(Execution, "due_entry", lambda self, now: original(self, now + timedelta(seconds=2)))


def set_no_alarm(patch: Patch) -> None:
    """A run in memory is not looked at again when its next timer is due."""
    patch.setattr(Driver, "_set_alarm", lambda self: None)


def keep_nothing_of_earlier_attempts(patch: Patch) -> None:
    """A new attempt of a run begins as if nothing had been recorded."""
    patch.setattr(Kept, "take", lambda self, mailbox: ())


def continue_without_cursors(patch: Patch) -> None:
    """A fresh journal begins without the places of the events received so far."""
    original = Ending._continue

    def go_on(self: Any, input: Any, execution: Any, now: Any) -> Any:
        transition, entry = original(self, input, execution, now)
        return transition, replace(entry, cursors={}) if hasattr(entry, "cursors") else entry

    patch.setattr(Ending, "_continue", go_on)


def do_not_poll(patch: Patch) -> None:
    """Without a hint nobody looks."""
    patch.setattr(Worker, "_poll", lambda self: None)


def adopt_nothing(patch: Patch) -> None:
    """A run that is ours and that nobody drives is left alone."""

    async def nothing(self: Any, *about: Any, **more: Any) -> None:
        return None

    patch.setattr(Adopting, "look", nothing)
    patch.setattr(Adopting, "look_at", nothing)


def read_no_events(patch: Patch) -> None:
    """A run in memory does not hear of its events."""

    async def nothing(self: Any, driver: Any, waits: Any) -> None:
        return None

    patch.setattr(Watching, "fetch_events", nothing)


def read_no_requests(patch: Patch) -> None:
    """A cancel or pause of a running run is not looked for."""
    patch.setattr(Watching, "_look_for_requests", lambda self: None)


def take_any_number(patch: Patch) -> None:
    """A worker claims more runs than it has room for."""
    patch.setattr(Slots, "take", lambda self, queue: None)
    patch.setattr(Slots, "give", lambda self, queue: None)


def run_a_step_beside_itself(patch: Patch) -> None:
    """A step begins although a former body of it still runs in this process."""

    def admit(self: Any, body: Any) -> None:
        self._begin(body)

    patch.setattr(Bodies, "admit", admit)


def read_only_the_last_row(patch: Patch) -> None:
    """A kept execution is not told what others wrote of its run."""
    original = Driver.go_on
    patch.setattr(Driver, "go_on", lambda self, claim: original(self, replace(claim, rows=claim.rows[-1:])))


def go_on_in_another_journal(patch: Patch) -> None:
    """A kept execution is gone on with if only the number of its last row fits, whoever wrote it."""
    patch.setattr(Driver, "left_at", lambda self, row: row.seq == self.seq)


def skip_the_rest_of_a_row(patch: Patch) -> None:
    """A reader who comes back begins with the next row, though entries of the last one are missing."""
    original = journal_stream.parse_cursor

    def parse(after: str | None) -> Any:
        seq, index = original(after)
        return (seq, 1_000_000) if after is not None else (seq, index)

    from stepflow import service

    patch.setattr(service, "parse_cursor", parse)


def suspend_while_steps_run(patch: Patch) -> None:
    """A run is given up although bodies of it are at work."""
    patch.setattr(Steps, "quiet", property(lambda self: True))
    patch.setattr(Driver, "_quiet", lambda self: self._outcome is None and not self._happenings)
