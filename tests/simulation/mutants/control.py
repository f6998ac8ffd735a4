"""Mutants of starting and control: keys, cancels, pauses, resumes, retries, and who may claim what."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from stepflow.model import transitions
from stepflow.model.states import RunStatus
from stepflow.model.transitions import Action
from stepflow.storage import _dictionaries, memory
from stepflow.storage._rules import runs

Patch = pytest.MonkeyPatch


def _decide(patch: Patch, status: RunStatus, action: Action, decision: Any) -> None:
    patch.setattr(transitions, "TABLE", {**transitions.TABLE, (status, action): decision})


def use_a_key_twice(patch: Patch) -> None:
    """An idempotency key finds nothing: every trigger with it is a run of its own."""
    patch.setattr(_dictionaries.Dictionaries, "find_by_key", lambda self, key: None)


def create_over_what_is_there(patch: Patch) -> None:
    """A run is created again where one of its id is already."""
    original = runs.already

    def already(work: Any, new: Any) -> Any:
        run = work.records.find(new.id)
        if run is not None and run.status is RunStatus.QUEUED and run.idempotency_key is None:
            return None
        return original(work, new)

    from stepflow.storage._rules import applying, journal

    patch.setattr(applying, "already", already)
    patch.setattr(journal, "already", already)


def resume_does_not_take_back_a_pause(patch: Patch) -> None:
    """A resume of a queued run whose pause is still noted has nothing to do."""
    _decide(patch, RunStatus.QUEUED, Action.RESUME, transitions.Already())


def resume_of_a_running_run_does_nothing(patch: Patch) -> None:
    """The same while the run is with an owner."""
    _decide(patch, RunStatus.RUNNING, Action.RESUME, transitions.Already())


def resume_nothing(patch: Patch) -> None:
    """A paused run stays paused."""
    _decide(patch, RunStatus.PAUSED, Action.RESUME, transitions.Already())


def cancel_nothing_that_runs(patch: Patch) -> None:
    """A cancel of a running run is not noted."""
    _decide(patch, RunStatus.RUNNING, Action.CANCEL, transitions.Already())


def cancel_nothing_that_sleeps(patch: Patch) -> None:
    """A cancel of a suspended run is not noted."""
    _decide(patch, RunStatus.SUSPENDED, Action.CANCEL, transitions.Already())


def pause_nothing_that_runs(patch: Patch) -> None:
    """A pause of a running run is not noted."""
    _decide(patch, RunStatus.RUNNING, Action.PAUSE, transitions.Already())


def retry_the_same_attempt(patch: Patch) -> None:
    """``app.retry`` does not count the attempt."""
    original = runs._try_again

    def try_again(work: Any, run: Any) -> None:
        run.attempt -= 1
        original(work, run)

    patch.setattr(runs, "_try_again", try_again)


def retry_what_has_completed(patch: Patch) -> None:
    """A completed run may be retried, and loses its result."""
    _decide(patch, RunStatus.COMPLETED, Action.RETRY, transitions.TryAgain())


def claim_from_the_living(patch: Patch) -> None:
    """Every running run may be taken over, whether its worker lives or not."""

    def orphans(self: Any) -> Any:
        return [self._records.runs[run_id] for run_ids in self._records.owned.values() for run_id in run_ids]

    patch.setattr(memory.MemoryStorage, "_orphans", orphans)


def let_leases_run_out_early(patch: Patch) -> None:
    """A worker counts as dead some seconds before its lease is over."""
    original = memory.MemoryStorage._forget_expired

    def forget(self: Any, claimant: str, now: Any) -> None:
        original(self, claimant, now + timedelta(seconds=4.6))

    patch.setattr(memory.MemoryStorage, "_forget_expired", forget)


def never_give_up_on_a_worker(patch: Patch) -> None:
    """A lease that ran out is never noticed: the runs of the dead are lost."""
    patch.setattr(memory.MemoryStorage, "_forget_expired", lambda self, claimant, now: None)


def forget_a_cancel_at_a_claim(patch: Patch) -> None:
    """Whoever claims a run is not told that it is to end."""
    original = memory.take

    def take(work: Any, run: Any, worker: str) -> Any:
        run.cancel_requested = False
        return original(work, run, worker)

    patch.setattr(memory, "take", take)


def list_a_run_twice(patch: Patch) -> None:
    """A page begins with the last run of the page before."""
    original = memory.MemoryStorage.list_runs

    async def list_runs(self: Any, where: Any, *, cursor: str | None = None, limit: int = 50) -> Any:
        page = await original(self, where, cursor=cursor, limit=limit)
        if cursor is not None and self._records.runs:
            first = next(iter(self._records.runs.values()))
            page = type(page)(items=[self._records.record(first), *page.items], next_cursor=page.next_cursor)
        return page

    patch.setattr(memory.MemoryStorage, "list_runs", list_runs)
