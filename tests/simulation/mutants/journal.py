"""Mutants of the journal: what may be appended, by whom, and what comes with it."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from stepflow.model.journal import CancelRequested
from stepflow.model.states import RunStatus
from stepflow.storage import _dictionaries
from stepflow.storage._rules import applying, events, journal, runs
from stepflow.storage.writes import Committed, Fenced, Gone, Pause

Patch = pytest.MonkeyPatch


def ignore_the_owner(patch: Patch) -> None:
    """A commit at the next seq goes in, whoever owns the run."""

    def commit(work: Any, write: Any) -> Any:
        run = work.records.find(write.run_id)
        if run is None or work.records.last_seq(write.run_id) != write.seq - 1:
            return journal._not_next(work, write)
        work.records.append(write.run_id, write.seq, write.writer, write.write_id, write.entries)
        work.changed.add(write.run_id)
        return journal.follow_up(work, run, write)

    patch.setattr(applying, "commit", commit)


def ignore_the_seq(patch: Patch) -> None:
    """A commit of the owner goes in at whatever place it names."""

    def commit(work: Any, write: Any) -> Any:
        records = work.records
        if records.owner(write.run_id) != write.writer:
            return journal._not_next(work, write)
        records.append(write.run_id, write.seq, write.writer, write.write_id, write.entries)
        return journal.follow_up(work, records.find(write.run_id), write)

    patch.setattr(applying, "commit", commit)


def fence_only_commits_that_move_the_run(patch: Patch) -> None:
    """A plain step commit of a former owner is said to be durable, and is not."""
    original = journal.commit

    def commit(work: Any, write: Any) -> Any:
        outcome = original(work, write)
        return Committed() if write.transition is None and not isinstance(outcome, Committed) else outcome

    patch.setattr(applying, "commit", commit)


def apply_a_commit_twice(patch: Patch) -> None:
    """A commit that is sent again is done again, all but its row."""
    original = journal._not_next

    def not_next(work: Any, write: Any) -> Any:
        outcome = original(work, write)
        run = work.records.find(write.run_id)
        if isinstance(outcome, Committed) and run is not None:
            journal.follow_up(work, run, write)
        return outcome

    patch.setattr(journal, "_not_next", not_next)


def fence_a_commit_that_is_sent_again(patch: Patch) -> None:
    """An ambiguous commit that was done is refused when it is sent again, as if it were another's."""

    def not_next(work: Any, write: Any) -> Any:
        return Gone() if work.records.find(write.run_id) is None else Fenced()

    patch.setattr(journal, "_not_next", not_next)


def claim_without_a_row(patch: Patch) -> None:
    """A claim changes the run's row and appends nothing: the former owner is not fenced."""
    from stepflow.storage import memory
    from stepflow.storage._rules import claims

    def take(work: Any, run: Any, worker: str) -> Any:
        seq = work.records.last_seq(run.id)
        row = claims.claimed_row(run.id, seq, worker, work.now, takeover=run.status is RunStatus.RUNNING)
        run.status, run.worker, run.due_at = RunStatus.RUNNING, worker, None
        run.started_at = run.started_at or work.now
        work.records.save(run)
        return row

    patch.setattr(memory, "take", take)


def force_cancel_without_a_row(patch: Patch) -> None:
    """What the store does to a run for somebody who does not own it leaves no row."""
    patch.setattr(runs, "_note", lambda work, run, action, entry: None)


def suspend_over_events(patch: Patch) -> None:
    """A run is suspended although an event that it waits for is there."""
    original = journal._suspend

    def suspend(work: Any, run: Any, transition: Any) -> bool:
        class Blind:
            def __getattr__(self, name: str) -> Any:
                return getattr(work.records, name)

            def has_event(self, *about: Any) -> bool:
                return False

        class Half:
            records = Blind()
            now, ready, changed = work.now, work.ready, work.changed

        return original(Half(), run, transition)  # type: ignore[arg-type]

    patch.setattr(journal, "_suspend", suspend)


def suspend_over_a_cancel(patch: Patch) -> None:
    """A run is suspended although somebody has asked for its cancel."""
    original = journal._suspend

    def suspend(work: Any, run: Any, transition: Any) -> bool:
        asked, run.cancel_requested = run.cancel_requested, False
        ready = original(work, run, transition)
        run.cancel_requested = asked
        return ready

    patch.setattr(journal, "_suspend", suspend)


def suspend_over_a_pause(patch: Patch) -> None:
    """A run is suspended although somebody has asked for its pause."""
    original = journal._suspend

    def suspend(work: Any, run: Any, transition: Any) -> bool:
        asked, run.pause_requested = run.pause_requested, False
        ready = original(work, run, transition)
        run.pause_requested = asked
        return ready

    patch.setattr(journal, "_suspend", suspend)


def pause_although_it_was_taken_back(patch: Patch) -> None:
    """A pause on its way to the store is done, also when a resume came before it."""
    original = journal._move

    def move(work: Any, run: Any, transition: Any, **rest: Any) -> Any:
        if isinstance(transition, Pause):
            run.pause_requested = True
        return original(work, run, transition, **rest)

    patch.setattr(journal, "_move", move)


def forget_the_cancel_of_a_run_that_pauses(patch: Patch) -> None:
    """A cancel that came while the pause was on its way waits for a resume."""

    def paused(work: Any, run: Any, transition: Any) -> Any:
        runs.pause(work, run, transition.reason, transition.detail)
        run.cancel_requested = False
        work.records.save(run)
        return ()

    patch.setattr(journal, "_pause", paused)


def forget_a_cancel_with_any_commit(patch: Patch) -> None:
    """The request goes away with the next commit that moves the run, journaled or not."""
    original = journal.follow_up

    def follow_up(work: Any, run: Any, write: Any) -> Any:
        if not any(isinstance(entry, CancelRequested) for entry in write.entries):
            run.cancel_requested = False
        return original(work, run, write)

    patch.setattr(journal, "follow_up", follow_up)
    patch.setattr(applying, "follow_up", follow_up)


def end_twice(patch: Patch) -> None:
    """An ended run may still be cancelled from outside."""
    from stepflow.model import transitions

    table = dict(transitions.TABLE)
    table[RunStatus.COMPLETED, transitions.Action.FORCE_CANCEL] = transitions.EndCancelled()
    table[RunStatus.FAILED, transitions.Action.FORCE_CANCEL] = transitions.EndCancelled()
    patch.setattr(transitions, "TABLE", table)


def lose_a_row_now_and_then(patch: Patch) -> None:
    """Every fiftieth row does not go in."""
    original = _dictionaries.Dictionaries.append
    count = [0]

    def append(self: Any, *row: Any) -> None:
        count[0] += 1
        if count[0] % 50:
            original(self, *row)

    patch.setattr(_dictionaries.Dictionaries, "append", append)


def give_positions_twice(patch: Patch) -> None:
    """Two events may have one position."""
    original = _dictionaries.Dictionaries.next_pos
    count = [0]

    def next_pos(self: Any) -> int:
        count[0] += 1
        if count[0] % 7 == 0 and self._last_pos:
            return int(self._last_pos)
        return original(self)

    patch.setattr(_dictionaries.Dictionaries, "next_pos", next_pos)


def register_waits_after_looking(patch: Patch) -> None:
    """A wait begins behind whatever is there already: an event that came just before it is missed."""
    original = _dictionaries.Dictionaries.set_wait

    def set_wait(self: Any, run_id: str, wait: Any) -> None:
        original(self, run_id, replace(wait, after=max(wait.after, self._last_pos)))

    patch.setattr(_dictionaries.Dictionaries, "set_wait", set_wait)


def tell_no_parent(patch: Patch) -> None:
    """A child's end is no event to its parent."""
    patch.setattr(runs, "tell_parent", lambda work, child, parent: ())


def leave_children_alone(patch: Patch) -> None:
    """An ended parent does not cancel its children."""
    patch.setattr(_dictionaries.Dictionaries, "unfinished_children", lambda self, run_id: [])


def keep_waits_of_the_ended(patch: Patch) -> None:
    """What has ended still waits."""
    original = _dictionaries.Dictionaries.drop_waits

    def drop_waits(self: Any, run_id: str, event_ids: Any) -> None:
        run = self.runs.get(run_id)
        if run is None or not run.status.ended:
            original(self, run_id, event_ids)

    patch.setattr(_dictionaries.Dictionaries, "drop_waits", drop_waits)


def wake_nobody(patch: Patch) -> None:
    """An event is stored, and the suspended runs that wait for it sleep on."""
    patch.setattr(events, "_wake", lambda work, event: ())


def wake_only_the_first(patch: Patch) -> None:
    """Of all who wait for an event, one is woken."""
    original = events._wake

    def wake(work: Any, event: Any) -> Any:
        waiting = work.records.waiting

        class One:
            def __getattr__(self, name: str) -> Any:
                return getattr(work.records, name)

            def waiting(self, event_id: str) -> Any:
                return dict(sorted(waiting(event_id).items())[:1])

        class Half:
            records = One()
            now, ready, changed = work.now, work.ready, work.changed

        return original(Half(), event)  # type: ignore[arg-type]

    patch.setattr(events, "_wake", wake)


def store_an_event_twice(patch: Patch) -> None:
    """The same event id twice is two events."""
    patch.setattr(_dictionaries.Dictionaries, "event_of", lambda self, event_id, dedup_id: None)
