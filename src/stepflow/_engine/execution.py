"""Execution: one run in memory. Journal entries go in, commands and at last an outcome come out."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from datetime import datetime
from typing import Any, assert_never

from stepflow._engine import answers
from stepflow._engine.asking import Asking
from stepflow._engine.commands import Command, Diverged, Outcome, Raised, StartTimer, Undecodable
from stepflow._engine.commands import ContinueSignal as ContinueSignal
from stepflow._engine.divergence import KEYED, KeyedEntry, left_over
from stepflow._engine.eviction import close_tasks
from stepflow._engine.lookup import Contradiction, Dropped, Match, NeedsMore, NotAsked
from stepflow._engine.records import Advance as Advance
from stepflow._engine.records import LogLine as LogLine
from stepflow._engine.records import RunFacts as RunFacts
from stepflow.errors import DeserializationError, NotDurableError
from stepflow.model.failures import Failure
from stepflow.model.journal import (
    AttemptStarted,
    CancelRequested,
    Claimed,
    Continued,
    Entry,
    EventTimedOut,
    RunTimedOut,
    TimerFired,
)
from stepflow.model.payloads import Payload


class Execution(Asking):
    """Runs ``main`` on a ``ReplayLoop`` of its own, as the journal's entries say.

    Not thread-safe; call it from a plain callback, never from inside a task. Evict it when it is not needed any more,
    also after its end.
    """

    def __init__(
        self,
        facts: RunFacts,
        main: Callable[[Payload], Coroutine[Any, Any, Any]],
        *,
        encode: Callable[[Any, str], Payload],
        decode: Callable[[Payload, Any], Any],
        rebuild: Callable[[Failure], BaseException],
        check_workflow: Callable[[str], object] = lambda workflow_id: None,
    ) -> None:
        super().__init__(facts, encode=encode, decode=decode, rebuild=rebuild, check_workflow=check_workflow)
        self._main = main
        self.deadline: datetime | None = None
        """When the run's own timeout passes; None if it has none, or it has passed."""
        self._backlog: deque[Entry] = deque()

    # ================================================================ for the driver
    def replay(self, entries: Sequence[Entry], *, more: bool = False) -> Advance:
        """Deliver recorded entries, in order. While ``more`` follow, no commands come out."""
        self.replaying = True
        self._backlog.extend(entries)
        with self._loop:
            self._work_off(more)
        if not more:
            self.replaying = False
        return self._collect(more)

    def advance(self, entries: Sequence[Entry]) -> Advance:
        """Deliver new entries, in order; those whose command ended meanwhile are dropped."""
        accepted = self._report.accepted
        pending = self.lookup.pending
        with self._loop:
            for entry in entries:
                if self.outcome is not None:
                    break
                if isinstance(entry, KEYED):
                    command = pending.get(entry.key)
                    if command is None:
                        continue
                    self._answer(entry, command)
                else:
                    self._deliver(entry)
                accepted.append(entry)
                self._run_dry()
                if self.lookup.ready:
                    self._deliver_aside()
        return self._collect(False)

    def due_at(self) -> datetime | None:
        """When the next timer falls due; None if there is none."""
        first = self.timers.first() if self.timers.armed else None
        deadline = first[0] if first is not None else None
        if self.deadline is not None and (deadline is None or self.deadline < deadline):
            return self.deadline
        return deadline

    def due_entry(self, now: datetime) -> Entry | None:
        """The entry for the one timer that is due next at ``now``, if one is; deliver it before asking again."""
        due = self.due_at()
        if due is None or due > now or self.outcome is not None:
            return None
        at = self.at(max(now, due))
        if due == self.deadline:
            return RunTimedOut(at=at)
        first = self.timers.first()
        assert first is not None
        command = first[1]
        if isinstance(command, StartTimer):
            return TimerFired(key=command.key, at=at, delay=command.delay, sleep=command.sleep)
        return EventTimedOut(key=command.key, at=at, event_id=command.event_id)

    def at(self, now: datetime) -> datetime:
        """The instant to record for something that happens now: logical time never steps back."""
        return now if self._now is None or now > self._now else self._now

    def left_over(self) -> tuple[str, ...]:
        """What the journal has and the code did not ask for, one readable line each."""
        undelivered = [entry for entry in self._backlog if isinstance(entry, KEYED)]
        return left_over([*self.lookup.left_over(), *undelivered])

    def pending(self) -> list[Command]:
        """Every command without an answer, in the order they were asked."""
        return list(self.lookup.pending.values())

    def evict(self) -> None:
        """Drop the execution: every task is ended now, and nothing it still does has any effect."""
        self.evicting = True
        with self._loop:
            close_tasks(self._loop, lambda: self._stage.tasks)
        if all(task.done() for task in self._stage.tasks):
            self._loop.let_go()
        self._stage.tasks.clear()
        self._asked.clear()
        self._report = Advance()

    # ================================================================ delivery
    def _work_off(self, more: bool) -> None:
        backlog = self._backlog
        while backlog and self.outcome is None:
            entry = backlog[0]
            if self.kept.collecting(entry):
                backlog.popleft()
                self._skip(entry)
                continue
            if isinstance(entry, KEYED):
                found = self.lookup.find(entry, None if more else self._rest)
                if isinstance(found, NeedsMore):
                    return
                backlog.popleft()
                if not isinstance(found, Match):
                    self._not_matched(entry, found)
                    continue
                self._report.accepted.append(entry)
                self._answer(entry, found.command)
            else:
                backlog.popleft()
                self._report.accepted.append(entry)
                self._deliver(entry)
            self._run_dry()
            self._deliver_aside()

    def _rest(self) -> list[KeyedEntry]:
        """The recorded entries after the head of the backlog."""
        return [entry for entry in itertools.islice(self._backlog, 1, None) if isinstance(entry, KEYED)]

    def _not_matched(self, entry: KeyedEntry, found: NotAsked | Dropped | Contradiction) -> None:
        match found:
            case Contradiction(detail):
                self._finish(Diverged(detail))
            case Dropped():
                self.lookup.set_aside(entry)  # to be reported
            case NotAsked():
                answers.note_unasked(self, entry)
                self.lookup.set_aside(entry)
            case never:
                assert_never(never)

    def _skip(self, entry: Entry) -> None:
        """An entry of an earlier attempt: only what is kept of it matters."""
        if isinstance(entry, Claimed):
            self._claimed(entry)
        elif isinstance(entry, Continued):
            self._continued(entry)
        self.kept.collect(entry)

    def _answer(self, entry: KeyedEntry, command: Command) -> None:
        try:
            answers.answer(self, entry, command)
        except DeserializationError as error:
            self._finish(Undecodable(f"at {command.key!r}: {error}"))

    def _deliver(self, entry: Entry) -> None:
        """An entry that belongs to the run as a whole."""
        match entry:
            case Claimed():
                self._claimed(entry)
                if not self._stage.begun and self.facts.attempt == 1:
                    self._begin()
            case AttemptStarted():
                self.move(entry.at)
                for kept in self.kept.take(self.mailbox):
                    self.lookup.set_aside(kept, kept=True)
                self._begin()
            case CancelRequested():
                self.move(entry.at)
                self._stage.cancel()
            case RunTimedOut():
                self.move(entry.at)
                self.deadline = None
                self._stage.time_out()
            case Continued():
                self._continued(entry)
                self._begin()
            case _:
                pass  # suspended, paused, resumed, ended, a failed attempt of the run: nothing to replay

    def _claimed(self, entry: Claimed) -> None:
        if self.started_at is None:
            self.started_at = entry.at
        self.move(entry.at)
        if self.facts.timeout is not None and self.deadline is None and not self._stage.timed_out:
            self.deadline = self.started_at + self.facts.timeout
        if entry.takeover:
            self.timers.hold_off(entry.at)

    def _continued(self, entry: Continued) -> None:
        if self.started_at is None:
            self.started_at = entry.at
        self.generation = entry.generation
        self.input = entry.input
        self.mailbox.cursors.update(entry.cursors)
        self.move(entry.at)

    def _deliver_aside(self) -> None:
        while self.outcome is None and (entry := self.lookup.next_aside()) is not None:
            found = self.lookup.find(entry, list)
            if isinstance(found, Match):
                self._answer(entry, found.command)
                self._run_dry()
            elif isinstance(found, Contradiction):
                self._finish(Diverged(found.detail))
            else:
                self.lookup.set_aside(entry)  # a timer with another delay: to be reported

    # ================================================================ running and ending
    def _begin(self) -> None:
        try:
            main = self._main(self.input)
        except DeserializationError as error:
            self._finish(Undecodable(f"the run's input: {error}"))
            return
        self._stage.begin(main)

    def _run_dry(self) -> None:
        stage = self._stage
        while True:
            try:
                self._loop.run_dry()
            except SystemExit:
                continue  # it ended its task; the host process goes on
            except NotDurableError as error:
                self._finish(Raised(error))
            if not stage.ending or self.outcome is not None:
                return
            if stage.unwind():
                continue
            if stage.over:
                self._finish(stage.outcome())
            return

    def _finish(self, outcome: Outcome) -> None:
        self.outcome = outcome
        self._loop.drop_ready()

    def _collect(self, more: bool) -> Advance:
        report = self._report
        if more and self.outcome is None:
            return Advance()
        self._report = Advance()
        if self.outcome is not None:
            for command in self.lookup.pending.values():
                if command.handed:
                    report.withdraw(command)
        else:
            pending = self.lookup.pending
            for command in self._asked:
                if pending.get(command.key) is command:
                    command.handed = True
                    report.commands.append(command)
        self._asked.clear()
        report.outcome = self.outcome
        return report
