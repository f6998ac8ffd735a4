"""Mutants of delivery: which entries reach the code, in which order, and what is handed out in return."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from stepflow._engine.commands import WaitForEvent
from stepflow._engine.divergence import KEYED
from stepflow._engine.execution import Advance, Execution
from stepflow._engine.lookup import Lookup
from stepflow.model.journal import Entry, EventReceived

Patch = pytest.MonkeyPatch


def give(self: Execution, entry: Entry) -> bool:
    """Deliver an entry, as ``advance`` does. False if nobody waits for it."""
    if isinstance(entry, KEYED):
        command = self.lookup.pending.get(entry.key)
        if command is None:
            return False
        self._answer(entry, command)
    else:
        self._deliver(entry)
    return True


def accept_late_results(patch: Patch) -> None:
    """A result is journaled although the workflow gave its command up."""

    def advance(self: Execution, entries: Sequence[Entry]) -> Advance:
        with self._loop:
            for entry in entries:
                give(self, entry)
                self._report.accepted.append(entry)
                self._run_dry()
        return self._collect(False)

    patch.setattr(Execution, "advance", advance)


def deliver_without_running_dry(patch: Patch) -> None:
    """All entries are delivered first, and then the code runs."""

    def advance(self: Execution, entries: Sequence[Entry]) -> Advance:
        with self._loop:
            for entry in entries:
                if give(self, entry):
                    self._report.accepted.append(entry)
            self._run_dry()
        return self._collect(False)

    patch.setattr(Execution, "advance", advance)


def move_the_cursor_for_dropped_events(patch: Patch) -> None:
    """An event that came when its wait had ended is lost for the next one."""
    advance = Execution.advance

    def moving(self: Execution, entries: Sequence[Entry]) -> Advance:
        report = advance(self, entries)
        for entry in entries:
            if isinstance(entry, EventReceived) and entry not in report.accepted:
                self.mailbox.received(entry.event_id, entry.pos)
        return report

    patch.setattr(Execution, "advance", moving)


def hand_out_commands_while_more_entries_follow(patch: Patch) -> None:
    """Commands come out before all that was recorded is delivered."""
    collect = Execution._collect
    patch.setattr(Execution, "_collect", lambda self, more: collect(self, False))


def keep_quiet_about_withdrawn_commands(patch: Patch) -> None:
    """What the workflow cancelled goes on running."""

    def withdraw(self: Execution, command: Any) -> None:
        if not self.evicting:
            self.lookup.withdraw(command)
            if isinstance(command, WaitForEvent):
                self.mailbox.remove(command)

    patch.setattr(Execution, "withdraw", withdraw)


def deliver_the_last_first(patch: Patch) -> None:
    """Entries that come at once are delivered from the last to the first."""
    advance = Execution.advance
    patch.setattr(Execution, "advance", lambda self, entries: advance(self, entries[::-1]))


def forget_what_was_given_up(patch: Patch) -> None:
    """A recorded answer to a command that the code gave up may answer another one."""
    withdraw = Lookup.withdraw

    def forgetting(self: Lookup, command: Any) -> bool:
        done = withdraw(self, command)
        self._withdrawn.clear()
        return done

    patch.setattr(Lookup, "withdraw", forgetting)


def hand_out_what_was_given_up(patch: Patch) -> None:
    """What the code asked for and gave up in one go is performed."""
    collect = Execution._collect

    def all_of_them(self: Execution, more: bool) -> Advance:
        asked = list(self._asked)
        report = collect(self, more)
        if report.outcome is None and not more:
            report.commands[:] = asked
        return report

    patch.setattr(Execution, "_collect", all_of_them)


def forget_that_events_set_aside_were_consumed(patch: Patch) -> None:
    """An event that the old code received, and nobody asks for now, is received again."""
    patch.setattr("stepflow._engine.answers.note_unasked", lambda run, entry: None)
