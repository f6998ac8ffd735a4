"""Telling: what a commit means to those who observe, once it is durable."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from stepflow.hooks import (
    EventSent,
    Fact,
    Hooks,
    RunCreated,
    RunEnded,
    RunPaused,
    RunResumed,
    RunRetried,
    RunStarted,
    RunSuspended,
    StepFinished,
    StepRetried,
    StepStarted,
)
from stepflow.model import journal
from stepflow.model.journal import Entry
from stepflow.model.names import name_of
from stepflow.model.runs import NewRun
from stepflow.storage.writes import CommitRun, Fail
from stepflow.types import RunId, StepKey


class Teller:
    """Tells ``hooks``, which may become others, about one run. Made for runs only if there are some."""

    __slots__ = ("_run_id", "_workflow_id", "commit", "hooks")

    def __init__(self, hooks: Hooks, run_id: RunId, workflow_id: str) -> None:
        self.hooks = hooks
        self._run_id = run_id
        self._workflow_id = workflow_id
        self.commit: CommitRun | None = None
        """The commit that is on its way."""

    def claimed(self, entries: Sequence[Entry], attempt: int, at: datetime) -> None:
        """The run goes on, or begins, with this whole journal; its last entry is the claim."""
        last = entries[-1]
        takeover = isinstance(last, journal.Claimed) and last.takeover
        if not takeover and _is_beginning(entries):
            self.hooks.tell(
                RunStarted(at=at, run_id=self._run_id, workflow_id=self._workflow_id, attempt=attempt)
            )
        else:
            self.resumed(at, takeover=takeover)

    def resumed(self, at: datetime, *, takeover: bool = False) -> None:
        self.hooks.tell(
            RunResumed(at=at, run_id=self._run_id, workflow_id=self._workflow_id, takeover=takeover)
        )

    def written(self, started_at: datetime | None, *, new: NewRun | None) -> None:
        """The commit is durable; ``new``: the run that it created."""
        commit, self.commit = self.commit, None
        if commit is None:
            return
        if new is not None:
            self.hooks.tell(_created(new))
            at = commit.entries[0].at
            self.hooks.tell(RunStarted(at=at, run_id=self._run_id, workflow_id=self._workflow_id))
        children, events = iter(commit.creates), iter(commit.sends)
        for entry in commit.entries:
            match entry:
                case journal.ChildStarted():
                    self.hooks.tell(_created(next(children)))
                case journal.EventSent(at=at, event_id=event_id):
                    run_id = next(events).run_id
                    self.hooks.tell(EventSent(at=at, event_id=event_id, run_id=run_id, sender=self._run_id))
                case _:
                    for fact in self._facts_of(entry, commit, started_at):
                        self.hooks.tell(fact)

    def step_started(self, key: StepKey, attempt: int, at: datetime) -> None:
        self.hooks.tell(
            StepStarted(
                at=at,
                run_id=self._run_id,
                workflow_id=self._workflow_id,
                key=key,
                name=name_of(key),
                attempt=attempt,
            )
        )

    def step_retried(self, entry: journal.AttemptFailed, started_at: datetime | None) -> None:
        """At once: the entry itself rides on a later write."""
        self.hooks.tell(
            StepRetried(
                at=entry.at,
                run_id=self._run_id,
                workflow_id=self._workflow_id,
                key=entry.key,
                name=name_of(entry.key),
                attempt=entry.attempt,
                duration=_between(started_at, entry.at),
                error=entry.failure,
                retry_at=entry.retry_at,
            )
        )

    def _facts_of(self, entry: Entry, commit: CommitRun, started_at: datetime | None) -> Iterator[Fact]:
        run_id, workflow_id, at = self._run_id, self._workflow_id, entry.at
        match entry:
            case journal.StepCompleted() | journal.StepFailed():
                yield StepFinished(
                    at=at,
                    run_id=run_id,
                    workflow_id=workflow_id,
                    key=entry.key,
                    name=name_of(entry.key),
                    attempt=entry.attempts,
                    duration=_between(entry.started_at, at),
                    error=entry.failure if isinstance(entry, journal.StepFailed) else None,
                )
            case journal.AttemptStarted(attempt=attempt):
                yield RunStarted(at=at, run_id=run_id, workflow_id=workflow_id, attempt=attempt)
            case journal.RunAttemptFailed():
                yield RunRetried(
                    at=at,
                    run_id=run_id,
                    workflow_id=workflow_id,
                    attempt=entry.attempt,
                    error=entry.failure,
                    retry_at=entry.retry_at,
                )
            case journal.Suspended(wake_at=wake_at, waits=waits):
                ids = tuple(wait.event_id for wait in waits)
                yield RunSuspended(
                    at=at, run_id=run_id, workflow_id=workflow_id, wake_at=wake_at, waits_for=ids
                )
            case journal.Paused(reason=reason, detail=detail):
                yield RunPaused(at=at, run_id=run_id, workflow_id=workflow_id, reason=reason, detail=detail)
            case journal.Ended(status=status):
                transition = commit.transition
                yield RunEnded(
                    at=at,
                    run_id=run_id,
                    workflow_id=workflow_id,
                    status=status,
                    duration=None if started_at is None else _between(started_at, at),
                    error=transition.failure if isinstance(transition, Fail) else None,
                )
            case _:
                return


def _is_beginning(entries: Sequence[Entry]) -> bool:
    """Whether nothing has happened yet in the present attempt but that it was claimed."""
    for entry in reversed(entries):
        if isinstance(entry, journal.AttemptStarted):
            return True
        if not isinstance(entry, journal.Claimed | journal.Paused | journal.Resumed):
            return False
    return True


def _created(child: NewRun) -> RunCreated:
    return RunCreated(at=child.created_at, run_id=child.id, workflow_id=child.workflow_id, queue=child.queue)


def _between(start: datetime | None, end: datetime) -> timedelta:
    return timedelta(0) if start is None else max(timedelta(0), end - start)
