"""Mutants of time: what moves it, when timers are due, and in which order they fire."""

from __future__ import annotations

import heapq
import itertools
import math
from collections import deque
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest

from stepflow._engine import answers, asking
from stepflow._engine.execution import Execution
from stepflow._engine.timers import TAKEOVER_GRACE, Timers
from stepflow.model.journal import AttemptFailed, Entry, StepIntended, TimerFired

Patch = pytest.MonkeyPatch


def ask_a_clock(patch: Patch) -> None:
    """``loop.time()`` is not that of the journal."""
    ticks, time = itertools.count(), Execution.time
    patch.setattr(Execution, "time", lambda self: time(self) + next(ticks) / 1_000)


def step_back_in_time(patch: Patch) -> None:
    """Logical time is the instant of the last entry, even if that is an old one."""

    def move(self: Execution, at: Any) -> None:
        self._now = at

    patch.setattr(Execution, "move", move)


def let_failed_attempts_move_time(patch: Patch) -> None:
    """An entry that may be lost in a crash moves time."""
    answer = answers.answer

    def moving(run: Execution, entry: Any, command: Any) -> None:
        answer(run, entry, command)
        if isinstance(entry, AttemptFailed):
            run.move(entry.at)

    patch.setattr(answers, "answer", moving)


def begin_time_anew_with_every_claim(patch: Patch) -> None:
    """Zero is the last claim."""
    claimed = Execution._claimed

    def anew(self: Execution, entry: Any) -> None:
        self.started_at = entry.at
        claimed(self, entry)

    patch.setattr(Execution, "_claimed", anew)


def fire_timers_in_the_order_of_arming(patch: Patch) -> None:
    """The deadline does not matter."""

    def arm(self: Timers, command: Any) -> None:
        self.armed.append((command.deadline, command.order, command))

    patch.setattr(Timers, "arm", arm)


def fire_timers_of_one_instant_backwards(patch: Patch) -> None:
    """Of two timers due at once the later one comes first."""
    patch.setattr(
        Timers,
        "arm",
        lambda self, command: heapq.heappush(self.armed, (command.deadline, -command.order, command)),
    )


def fire_timers_early(patch: Patch) -> None:
    """A timer fires when somebody looks."""
    due_entry = Execution.due_entry
    patch.setattr(Execution, "due_entry", lambda self, now: due_entry(self, max(now, self.due_at() or now)))


def expire_timers_at_a_takeover(patch: Patch) -> None:
    """A crash lets every short timeout pass at once."""
    patch.setattr(Timers, "hold_off", lambda self, since: None)


def hold_every_timer_off_for_five_seconds(patch: Patch) -> None:
    """A takeover delays short timers more than they would have taken."""
    patch.setattr("stepflow._engine.timers._delay", lambda command: TAKEOVER_GRACE)


def hold_timers_off_for_their_whole_delay(patch: Patch) -> None:
    """A takeover delays long timers by more than five seconds."""
    patch.setattr("stepflow._engine.timers.TAKEOVER_GRACE", timedelta(days=1))


def let_intents_move_time(patch: Patch) -> None:
    """The intent of an at-most-once step, whose body follows, moves time."""
    answer = answers.answer

    def moving(run: Execution, entry: Any, command: Any) -> None:
        answer(run, entry, command)
        if isinstance(entry, StepIntended):
            run.move(entry.at)

    patch.setattr(answers, "answer", moving)


def stand_still_at_a_claim(patch: Patch) -> None:
    """Time does not go on while nobody holds the run."""
    claimed = Execution._claimed

    def still(self: Execution, entry: Any) -> None:
        now = self._now
        claimed(self, entry)
        self._now = now or entry.at

    patch.setattr(Execution, "_claimed", still)


def record_what_the_clock_says(patch: Patch) -> None:
    """What happens now is recorded at the clock's instant, even if that is earlier than what was recorded before."""
    patch.setattr(Execution, "at", lambda self, now: now)


def record_timers_at_their_deadline(patch: Patch) -> None:
    """A timer that fires late is recorded as if it had not."""
    due_entry = Execution.due_entry

    def punctual(self: Execution, now: datetime) -> Entry | None:
        due = self.due_at()
        return due_entry(self, now if due is None else min(now, due))

    patch.setattr(Execution, "due_entry", punctual)


def cut_fractions_of_microseconds_off(patch: Patch) -> None:
    """Deadlines are not rounded to whole microseconds but cut off."""
    patch.setattr(asking, "round", math.floor, raising=False)


def decide_what_is_due_at_once(patch: Patch) -> None:
    """All timers that are due become entries together, whatever the first of them ends."""
    due_entry = Execution.due_entry
    decided: dict[Execution, deque[Entry | None]] = {}

    def together(self: Execution, now: datetime) -> Entry | None:
        waiting = decided.setdefault(self, deque())
        if not waiting:
            due = sorted(
                armed for armed in self.timers.armed if armed[0] <= now and self.lookup.is_pending(armed[2])
            )
            for deadline, _, command in due:
                with pytest.MonkeyPatch.context() as inner:
                    inner.setattr(Timers, "first", lambda timers, first=(deadline, command): first)
                    waiting.append(due_entry(self, now))
        return waiting.popleft() if waiting else due_entry(self, now)

    patch.setattr(Execution, "due_entry", together)


def put_timers_before_steps_of_one_instant(patch: Patch) -> None:
    """Of a step and a timer at one instant the timer comes first on replay, whatever the journal's order."""
    replay = Execution.replay

    def sorted_(self: Execution, entries: Sequence[Entry], *, more: bool = False) -> Any:
        ordered = list(entries)
        for index, entry in enumerate(ordered):
            before = ordered[index - 1]
            if index and isinstance(entry, TimerFired) and before.at == entry.at and hasattr(before, "key"):
                ordered[index - 1 : index + 1] = entry, before
        return replay(self, ordered, more=more)

    patch.setattr(Execution, "replay", sorted_)


def hold_timers_off_at_every_claim(patch: Patch) -> None:
    """Waking up counts as a crash."""
    claimed = Execution._claimed

    def anxious(self: Execution, entry: Any) -> None:
        claimed(self, entry)
        self.timers.hold_off(entry.at)

    patch.setattr(Execution, "_claimed", anxious)
