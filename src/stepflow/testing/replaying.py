"""Replaying: a run that was recorded, played again with the code of now, and where the two differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec

from stepflow._engine.commands import (
    Command,
    ContinueAs,
    Diverged,
    Raised,
    Returned,
    RunStep,
    SendEvent,
    StartChild,
    TimedOut,
    Undecodable,
    WaitForEvent,
    WasCancelled,
)
from stepflow._engine.divergence import KEYED, KeyedEntry
from stepflow._engine.execution import Execution
from stepflow._engine.lookup import Contradiction, Dropped, NotAsked
from stepflow._engine.registry import Registry
from stepflow._runtime.executions import Executions
from stepflow.app import Stepflow
from stepflow.codecs.failures import record_failure
from stepflow.errors import StepflowError
from stepflow.model.ids import CHILD_EVENT_PREFIX
from stepflow.model.journal import (
    AttemptFailed,
    AttemptStarted,
    Continued,
    Ended,
    Entry,
    JournalRow,
    Paused,
    RunAttemptFailed,
    Suspended,
)
from stepflow.model.payloads import Payload
from stepflow.model.runs import RunRecord
from stepflow.model.states import PauseReason, RunStatus
from stepflow.types import StepKey

_FIRST_ASKED = (RunStep, StartChild, SendEvent)


class Verdict(StrEnum):
    """What a replay of a recorded run came to, the best first."""

    IDENTICAL = "identical"
    """The same steps, the same waits, the same end."""
    DIFFERENT = "different"
    """Something is new, gone or moved, or ends differently; a run in flight goes on all the same."""
    DIVERGENT = "divergent"
    """Code and journal contradict each other, or the code fails where it did not: a run in flight would stand still, or fail."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One recorded run beside what the code makes of it now. ``new``, ``gone`` and ``moved`` are keys of steps."""

    run_id: str
    workflow_id: str
    verdict: Verdict
    new: tuple[StepKey, ...] = ()
    gone: tuple[StepKey, ...] = ()
    moved: tuple[StepKey, ...] = ()
    notes: tuple[str, ...] = ()
    """What else there is to say, a sentence each."""

    @property
    def text(self) -> str:
        """All of it, to be read: the verdict, then what differs, a line each, marked as in a diff."""
        lines = [f"run {self.run_id!r} of {self.workflow_id!r}: {self.verdict.value}"]
        lines += [f"  - {key}: recorded, and not asked for any more" for key in self.gone]
        lines += [f"  + {key}: asked for now, and not recorded" for key in self.new]
        lines += [f"  ~ {key}: asked for at another place than it was recorded at" for key in self.moved]
        lines += [f"  ! {note}" for note in self.notes]
        return "\n".join(lines)


class Replayer:
    """Replays runs with the workflows, codecs and errors of an app. No I/O, no clock: the journal is all there is."""

    def __init__(self, app: Stepflow) -> None:
        self._registry: Registry = app._registry  # pyright: ignore[reportPrivateUsage]
        self._values = app._values  # pyright: ignore[reportPrivateUsage]
        self._errors = app._errors  # pyright: ignore[reportPrivateUsage]
        self._executions = Executions(self._registry, self._values, self._errors, kind=_Watched)

    def knows(self, workflow_id: str) -> bool:
        """Whether the app has this workflow."""
        return workflow_id in self._registry

    def compare(self, run: RunRecord, rows: Sequence[JournalRow], *, redacted: bool = False) -> Comparison:
        """Replay the present journal of ``run`` and say what differs. Call it while no workflow code is running.

        ``redacted``: values are not those that were recorded, so of two ends only the kind is compared.
        """
        entries = present(rows)
        definition = self._registry.get(run.workflow_id)
        attempts = [entry.attempt for entry in entries if isinstance(entry, AttemptStarted)]
        execution = self._executions.of_claimed(
            run, definition, attempt=attempts[-1] if attempts else max(1, run.attempt if not entries else 1)
        )
        assert isinstance(execution, _Watched)
        try:
            commands = execution.replay(entries).commands
            return self._judge(run, entries, execution, commands, redacted)
        finally:
            execution.evict()

    def _judge(
        self,
        run: RunRecord,
        entries: Sequence[Entry],
        execution: _Watched,
        commands: Sequence[Command],
        redacted: bool,
    ) -> Comparison:
        gone = tuple(dict.fromkeys(execution.keys_left_over()))
        moved = tuple(key for key in execution.moved() if key not in gone)
        new = _new(entries, commands)
        divergence = _divergence(execution)
        if divergence is not None:
            pausing = _last(entries, Paused)
            told = pausing is not None and pausing.reason is PauseReason.NON_DETERMINISM
            notes = (divergence, *(("it was paused for that when it was recorded",) if told else ()))
            return _comparison(run, Verdict.DIVERGENT, new=new, gone=gone, moved=moved, notes=notes)
        broken, notes = self._compare_ends(run, entries, execution, redacted)
        if broken:
            verdict = Verdict.DIVERGENT
        else:
            verdict = Verdict.DIFFERENT if new or gone or moved or notes else Verdict.IDENTICAL
        return _comparison(run, verdict, new=new, gone=gone, moved=moved, notes=notes)

    # -------------------------------------------------------------- ends
    def _compare_ends(
        self, run: RunRecord, entries: Sequence[Entry], execution: Execution, redacted: bool
    ) -> tuple[bool, tuple[str, ...]]:
        """Whether the code is broken by what was recorded; and what is to be said of the end."""
        recorded = self._recorded_end(run, entries)
        if recorded is None:
            return self._compare_waiting(run, entries, execution)
        now = self._end_of(execution)
        if now == recorded or (redacted and now is not None and now[0] == recorded[0]):
            return False, ()
        if now is None and run.status is RunStatus.CANCELLED:
            return False, ()
        if now is None:
            asked = ", ".join(command.key for command in execution.pending()) or "nothing"
            return False, (f"it ended ({recorded[0]}); the code goes on now, and waits for {asked}",)
        broken = now[0] == "failed" and recorded[0] in ("completed", "continued")
        return broken, (f"it ended as {_shown(recorded)}, and ends now as {_shown(now)}",)

    def _recorded_end(self, run: RunRecord, entries: Sequence[Entry]) -> tuple[str, str] | None:
        last = entries[-1] if entries else None
        if isinstance(last, RunAttemptFailed):
            return "failed", f"{last.failure.type}: {last.failure.message}"
        if not isinstance(last, Ended):
            return None
        match last.status:
            case RunStatus.COMPLETED:
                return "completed", "" if run.output is None else self._text(run.output)
            case RunStatus.FAILED:
                failure = run.failure
                return "failed", "" if failure is None else f"{failure.type}: {failure.message}"
            case _:
                return "cancelled", ""

    def _end_of(self, execution: Execution) -> tuple[str, str] | None:
        """How the replayed run ended: in one word, and with what."""
        match execution.outcome:
            case Returned(value):
                try:
                    encoded = self._values.encode(value, what="the result")
                except StepflowError as error:
                    return "failed", self._said(error)
                return "completed", self._text(encoded)
            case Raised(error):
                return "failed", self._said(error)
            case WasCancelled():
                return "cancelled", ""
            case TimedOut():
                limit = execution.facts.timeout
                return "failed", f"stepflow.errors.RunTimeoutError: the run did not end within {limit}"
            case ContinueAs():
                return "continued", ""
            case _:
                return None

    def _text(self, payload: Payload) -> str:
        """The value as JSON, without the codec's wrapping and without blanks: two encryptions of one value are the same."""
        return msgspec.json.format(self._values.text(payload), indent=-1).decode()

    def _said(self, error: BaseException) -> str:
        failure = record_failure(error, values=self._values, allowed=self._errors.allows)
        return f"{failure.type}: {failure.message}"

    # -------------------------------------------------------------- runs that wait
    def _compare_waiting(
        self, run: RunRecord, entries: Sequence[Entry], execution: Execution
    ) -> tuple[bool, tuple[str, ...]]:
        now = self._end_of(execution)
        if now is not None and run.status in (RunStatus.SUSPENDED, RunStatus.PAUSED):
            return now[0] == "failed", (f"it waited; the code does not, and ends as {_shown(now)}",)
        last = entries[-1] if entries else None
        if not isinstance(last, Suspended):
            return False, ()
        notes = [
            note
            for note in (_other_waits(last, execution), _other_time(last, entries, execution))
            if note is not None
        ]
        return False, tuple(notes)


class _Watched(Execution):
    """An execution that notes which recorded entries came before the code asked for them."""

    def __init__(self, *args: Any, **ways: Any) -> None:
        super().__init__(*args, **ways)
        self._early: list[StepKey] = []

    def _not_matched(self, entry: KeyedEntry, found: NotAsked | Dropped | Contradiction) -> None:
        if isinstance(found, NotAsked):
            self._early.append(entry.key)
        super()._not_matched(entry, found)

    def moved(self) -> tuple[StepKey, ...]:
        """Keys of entries that were recorded earlier than the code asks for them now."""
        return tuple(dict.fromkeys(self._early))

    def keys_left_over(self) -> list[StepKey]:
        """Keys of entries that the code never asked for."""
        undelivered = [entry.key for entry in self._backlog if isinstance(entry, KEYED)]
        return [*(entry.key for entry in self.lookup.left_over()), *undelivered]


def present(rows: Sequence[JournalRow]) -> list[Entry]:
    """The entries of the present journal: those since the last ``continue_as``."""
    entries = [entry for row in rows for entry in row.entries]
    for place in range(len(entries) - 1, -1, -1):
        if isinstance(entries[place], Continued):
            return entries[place:]
    return entries


def _comparison(
    run: RunRecord,
    verdict: Verdict,
    *,
    new: tuple[StepKey, ...],
    gone: tuple[StepKey, ...],
    moved: tuple[StepKey, ...],
    notes: tuple[str, ...],
) -> Comparison:
    return Comparison(
        run_id=run.id,
        workflow_id=run.workflow_id,
        verdict=verdict,
        new=new,
        gone=gone,
        moved=moved,
        notes=notes,
    )


def _divergence(execution: Execution) -> str | None:
    match execution.outcome:
        case Diverged(detail) | Undecodable(detail):
            return detail
        case _:
            return None


def _new(entries: Sequence[Entry], commands: Sequence[Command]) -> tuple[StepKey, ...]:
    """What the code asks for at once and the journal has nothing of. Of a run that was at work, those may have been running."""
    tried = {entry.key for entry in entries if isinstance(entry, AttemptFailed)}
    if entries and not isinstance(entries[-1], (Suspended, Ended)):
        return ()
    return tuple(
        command.key for command in commands if isinstance(command, _FIRST_ASKED) and command.key not in tried
    )


def _other_waits(last: Suspended, execution: Execution) -> str | None:
    recorded = sorted(
        {wait.event_id for wait in last.waits} - _children(wait.event_id for wait in last.waits)
    )
    asked = sorted({each.event_id for each in execution.pending() if isinstance(each, WaitForEvent)})
    if recorded == asked:
        return None
    return f"it waited for the events {recorded}, and waits now for {asked}"


def _children(event_ids: Any) -> set[str]:
    return {event_id for event_id in event_ids if event_id.startswith(CHILD_EVENT_PREFIX)}


def _other_time(last: Suspended, entries: Sequence[Entry], execution: Execution) -> str | None:
    due: list[datetime] = [at for at in (execution.due_at(), _retry_at(entries, execution)) if at is not None]
    now = min(due, default=None)
    if now == last.wake_at:
        return None
    return f"it was going to wake at {last.wake_at}, and would wake now at {now}"


def _retry_at(entries: Sequence[Entry], execution: Execution) -> datetime | None:
    waiting = {command.key for command in execution.pending()}
    retries = {entry.key: entry.retry_at for entry in entries if isinstance(entry, AttemptFailed)}
    return min((at for key, at in retries.items() if key in waiting), default=None)


def _last(entries: Sequence[Entry], kind: type[Paused]) -> Paused | None:
    return next((entry for entry in reversed(entries) if isinstance(entry, kind)), None)


def _shown(end: tuple[str, str]) -> str:
    word, detail = end
    return f"{word} ({detail:.200})" if detail else word
