"""Driver: one claimed run. It advances the execution, writes what came of it, and only then performs it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from datetime import datetime, timedelta

from msgspec.structs import replace

from stepflow._engine.commands import ContinueAs, RunStep, SendEvent, StartChild, WasCancelled
from stepflow._engine.current import emit
from stepflow._engine.definition import WorkflowDefinition
from stepflow._engine.execution import Advance, Execution
from stepflow._runtime.cargo import Cargo
from stepflow._runtime.ending import Ending, Poisoned, RunOutcome
from stepflow._runtime.happenings import Happenings
from stepflow._runtime.host import Host
from stepflow._runtime.loading import CLAIMS_WITHOUT_PROGRESS, Loaded, replay, weight_of
from stepflow._runtime.registrations import NO_CHANGES, Changes, Registrations
from stepflow._runtime.steps import Steps
from stepflow._runtime.telling import Teller
from stepflow._runtime.timers import Alarm
from stepflow._runtime.transactional import StepTransaction
from stepflow._runtime.turns import Turns
from stepflow.failpoints import failpoint
from stepflow.model.events import Event, Wait
from stepflow.model.journal import (
    AttemptStarted,
    CancelRequested,
    Claimed,
    Continued,
    Entry,
    JournalRow,
    Paused,
    RunAttemptFailed,
    StepIntended,
    Suspended,
)
from stepflow.model.runs import NewRun, RunRecord
from stepflow.model.states import PauseReason
from stepflow.storage import writes
from stepflow.storage.writes import Claim, CommitRun, CreateRun, Transition, Write
from stepflow.types import RunId, WorkerId

_log = logging.getLogger("stepflow.run")
LONG_JOURNAL = 10_000
"""Entries of a journal from which on the run is warned about."""

HOT = timedelta(seconds=5)
"""A run whose next timer is further away than this gives up its slot."""


_ENVELOPE = 512
"""About how many bytes a write has beside the values in it."""

_STUCK = (
    "its code waits for something that nothing will bring: a lock, queue, event or future of asyncio that no task of "
    "this run releases (shared with another run?). Mend the code and resume the run, or cancel it"
)


class Driver:
    """Owns one run in this process, from its claim until a transition gives it up.

    Everything here runs in plain callbacks of the host loop. While a write is in flight, further entries are advanced over
    speculatively; what they ask for is performed after the write that carries them, never before.
    """

    _left_by: tuple[WorkerId, str] | None = None
    """The writer and write id of the row that gave the run up."""

    def __init__(
        self,
        host: Host[Driver],
        definition: WorkflowDefinition,
        execution: Execution,
        *,
        seq: int,
        queue: str,
        waits: Sequence[Wait] = (),
        create: NewRun | None = None,
    ) -> None:
        self.host = host
        self.definition = definition
        self.execution = execution
        self.run_id: RunId = execution.facts.run_id
        self.seq = seq
        self.writer = host.worker_id
        self.queue = queue
        self.attempt = execution.facts.attempt
        self.weight = 0
        self.write_size = _ENVELOPE
        self.dropped = False
        self.steps = Steps(self, host)
        self._create = create
        self._registrations = Registrations(execution.mailbox, waits)
        self._happenings = Happenings(execution, host.clock, host.child_queue)
        self._outcome: RunOutcome | None = None
        self._alarm: Alarm | None = None
        self._cancel_asked = False
        self._cancel_came_late = False
        self._pause_asked = False
        self._release_asked = False
        self._resting_until: datetime | None = None
        self._cargo = Cargo()
        # the write that is on its way
        self._enlisted = False
        self._flying = False
        self._transition: Transition | None = None
        self._continued: Continued | None = None
        self._changes: Changes = NO_CHANGES
        self._loaded: Cargo | None = None
        self._created = False
        self._length = 0
        self._settled = False
        """Whether nothing may happen to it now: it is being replayed, on its way out, or gone."""
        self._postponed: list[RunStep] = []
        self._turns: Turns | None = None
        """Steps whose results are written in transactions of their own, if there are such now."""
        self.teller: Teller | None = None
        self.teller = host.audience.teller_for(self)

    @property
    def workflow_id(self) -> str:
        return self.execution.facts.workflow_id

    # ================================================================ beginning
    def begin_new(self, claimed: Claimed) -> None:
        """A run that is created and claimed at once: its first advance comes before its first write."""
        self.deliver(claimed)

    async def begin(self, loaded: Loaded, claim: Claim, started: AttemptStarted | None) -> None:
        """A claimed run: replay its journal, in slices, then go on. ``started`` begins a new attempt now."""
        run = claim.run
        self._length = len(loaded.entries)
        self.weight = weight_of(loaded.entries)
        self._settled = True
        if loaded.poisoned:
            detail = f"its worker was lost {CLAIMS_WITHOUT_PROGRESS} times without any progress"
            self._outcome = Poisoned(detail)
        elif started is not None:
            self.attempt = self._cargo.attempt = started.attempt
            self._cargo.entries.append(started)  # before the intents of the steps that it leads to
            entries = (*loaded.entries, started)
            self._absorb(await replay(self.execution, entries, self.host.clock), recorded=True)
        elif loaded.failed is not None:
            self._rest(loaded.failed, run)
        else:
            if self.teller is not None:
                self.teller.claimed(loaded.entries, self.attempt, self.at())
            self._absorb(await replay(self.execution, loaded.entries, self.host.clock), recorded=True)
        self._settled = self.dropped
        self._receive(claim.events)
        self._take_requests(run)

    def left_at(self, row: JournalRow) -> bool:
        """Whether it gave its run up with this row, and not with another one that has its place now: stores may forget."""
        return row.seq == self.seq and (row.writer, row.write_id) == self._left_by

    def go_on(self, claim: Claim) -> None:
        """The run was claimed again while its execution was still in memory: only the new rows are replayed."""
        entries = [entry for row in claim.rows if row.seq > self.seq for entry in row.entries]
        self.seq = claim.run.seq
        self.writer = self.host.worker_id
        self._cancel_asked = self._pause_asked = False
        self._registrations.reset(claim.run.waits)
        self.teller = self.host.audience.teller_for(self)  # others may have begun to watch while it slept
        if self.teller is not None and self._resting_until is None:
            self.teller.resumed(self.at())
        self._absorb(self.execution.replay(entries), recorded=True)
        self.steps.wake()
        self._receive(claim.events)
        self._take_requests(claim.run)

    def go_on_as(self, continued: Continued, former: Driver, *, release: bool) -> None:
        """The first advance of a fresh journal, whose first entry is durable already.

        What was asked of the ``former`` driver and not done yet is asked of this one; ``release``: the worker is stopping.
        """
        self._release_asked = release
        self._pause_asked = former._pause_asked
        self._absorb(self.execution.replay((continued,)), recorded=True)
        self.requested(cancel=former._cancel_came_late, pause=False)
        self.pump()

    def _take_requests(self, run: RunRecord) -> None:
        self.requested(cancel=run.cancel_requested, pause=run.pause_requested)
        self.pump()

    def _rest(self, failed: RunAttemptFailed, run: RunRecord) -> None:
        """The present attempt failed. The next one begins with an execution of its own, once it is due."""
        if run.cancel_requested:
            self._cancel_asked = True
            self._cargo.entries.append(CancelRequested(at=max(failed.at, self.host.clock.now())))
            self._outcome = WasCancelled()
        else:
            self._resting_until = failed.retry_at

    # ================================================================ what happens to the run
    def deliver(self, entry: Entry) -> None:
        """Something happened: advance over it, and write what came of it."""
        if not self._settled:
            if self._turns is not None:
                self._turns.held.append((entry, False))
                return
            self._absorb(self.execution.advance((entry,)))
            self.pump()

    def deliver_quietly(self, entry: Entry) -> None:
        """Something happened that needs no write of its own: it rides on the next one."""
        if not self._settled:
            if self._turns is not None:
                self._turns.held.append((entry, True))
                return
            self._cargo.riders += tuple(self.execution.advance((entry,)).accepted)
            self.pump()

    def events_arrived(self, events: Sequence[Event]) -> None:
        """Events that were read for this run's waits, by position."""
        self._receive(events)
        self.pump()

    def _receive(self, events: Sequence[Event]) -> None:
        if events:
            self.grow(sum(event.payload.size for event in events))
            self._happenings.arrived(events)

    def look_for_events(self) -> None:
        """A hint came: read what is there for the waits of this run."""
        if self._settled:
            return
        waits = tuple(self._registrations.current())
        if waits:
            self.host.fetch_events(self, waits)

    def requested(self, *, cancel: bool, pause: bool) -> bool:
        """Somebody asked for a cancel (it becomes an entry) or a pause (nothing new starts, what runs is recorded)."""
        if self._settled or self._outcome is not None:
            if isinstance(self._outcome, ContinueAs):
                self._cancel_came_late |= cancel and not self._cancel_asked
                self._pause_asked |= pause
            return False  # of others it is asked again, whoever has them then
        cancel = cancel and not self._cancel_asked
        pause = pause and not self._pause_asked
        if cancel:
            failpoint("cancel.received")
            self._cancel_asked = True
            self.deliver(CancelRequested(at=self.at()))
        if pause:
            self._pause_asked = True
            self.pump()
        return cancel or pause

    def unpause(self) -> None:
        """The pause is not wanted any more, and has not come about yet."""
        if not self._settled:
            self._pause_asked = False
            postponed, self._postponed = self._postponed, []
            self._cargo.starts += postponed
            self.pump()

    def ask_release(self) -> None:
        """Shutdown: as a pause, but the run is queued for whoever comes."""
        self._release_asked = True
        self.pump()

    def end_bodies(self) -> None:
        """The grace of a shutdown is over: bodies are cut off, their steps run again elsewhere."""
        self.steps.abandon_all()
        self.pump()

    def cut_off(self, command: RunStep) -> None:
        """The task of a step was cancelled from outside. Whatever that was, the step did not fail: the run is as one whose process died."""
        _log.warning(
            "the task of step %r of run %s was cancelled by something else than Stepflow (is the event loop ending "
            "without the app having been closed?): the run goes on later, from its last recorded step",
            command.name,
            self.run_id,
        )
        self.host.lost(self.run_id)

    def drop(self) -> None:
        """Another worker has the run, or it is gone: nothing of it has any effect here any more."""
        if not self.dropped:
            self.dropped = self._settled = True
            self.steps.close()
            if self._alarm is not None:
                self._alarm.cancel()
            self.execution.evict()

    @property
    def pause_asked(self) -> bool:
        return self._pause_asked

    @property
    def is_writing(self) -> bool:
        """Whether a write of it is on its way."""
        return self._flying

    @property
    def waits_for_events(self) -> bool:
        """Whether the storage knows it to wait for an event."""
        return bool(self._registrations)

    def at(self) -> datetime:
        """The instant to record for what happens now."""
        return self.execution.at(self.host.clock.now())

    # ================================================================ advancing
    def pump(self) -> None:
        """Advance over everything that is due at once, then write, perform or wait."""
        if self._settled:
            return
        if self._turns is not None:
            self._prepare_turn(self._turns)
            return
        while self._outcome is None and (entry := self._happenings.next_entry()) is not None:
            self._absorb(self.execution.advance((entry,)))
        if self._flying or self._enlisted:
            return
        cargo = self._cargo
        if not (cargo.entries or self._must_write()):
            if cargo.starts or cargo.stops or cargo.logs:
                self._perform(cargo.take_held())
                if self._busy():
                    return  # a body ended at once, and what it left is being written
            if self.steps.running or not self._quiet():
                self._set_alarm()
                return
        self._enlisted = True
        self.host.committer.enlist(self)

    # ================================================================ transactions of steps
    def begin_transaction(self) -> StepTransaction:
        """A transaction for the result of one of its steps; ``NotTransactionalError``."""
        return StepTransaction(self, self.host.storage, self.host.committer, self.host.clock)

    def take_turn(self) -> asyncio.Future[None]:
        """Done as soon as nothing of this run is on its way to the storage; until ``end_turn`` nothing is, and what happens waits."""
        if self._turns is None:
            self._turns = Turns()
        turn = self._turns.ask()
        self.pump()
        return turn

    def next_commit(self, entries: tuple[Entry, ...]) -> CommitRun:
        """The next row of the journal."""
        return CommitRun(
            run_id=self.run_id,
            seq=self.seq + 1,
            writer=self.writer,
            write_id=self.host.committer.new_write_id(),
            entries=entries,
        )

    def end_turn(self, turn: asyncio.Future[None], commit: CommitRun | None) -> None:
        """The turn is over; ``commit`` was written in it."""
        turns = self._turns
        if self.dropped or turns is None or not turns.end(turn):
            return
        if commit is not None:
            self.seq = commit.seq
            self._length += len(commit.entries)
            if self.teller is not None:
                self.teller.commit = commit
                self.teller.written(self.execution.started_at, new=None)
            self._absorb(self.execution.advance(commit.entries), recorded=True)
            self.host.progressed(self)
        for entry, quietly in turns.take_held():
            report = self.execution.advance((entry,))
            if quietly:
                self._cargo.riders += tuple(report.accepted)
            else:
                self._absorb(report)
        self.pump()

    def written_by_another(self, outcome: writes.Outcome) -> None:
        """The storage refused what was written in a turn."""
        if not self.dropped:
            self.drop()
            self.host.refused(self, outcome)

    def _prepare_turn(self, turns: Turns) -> None:
        """Write and perform what came up before; then it is the next one's turn."""
        if turns.holder is not None or self._busy():
            return
        cargo = self._cargo
        if not (cargo.entries or self._must_write()):
            if cargo.starts or cargo.stops or cargo.logs:
                self._perform(cargo.take_held())
                if self.dropped or self._busy():
                    return
            if turns.grant():
                return
            self._turns = None  # nobody wants one any more
            self.pump()
            return
        self._enlisted = True
        self.host.committer.enlist(self)

    def _absorb(self, report: Advance, *, recorded: bool = False) -> None:
        """Take over what an advance produced. ``recorded``: its entries are in the journal already."""
        cargo = self._cargo
        if not recorded:
            cargo.entries += report.accepted
        if report.withdrawn or report.logs or report.cancels:
            cargo.load(report)
        for command in report.commands:
            if isinstance(command, RunStep):
                if command.options.at_most_once and not self._intend(command):
                    continue
                cargo.starts.append(command)
            elif isinstance(command, (StartChild, SendEvent)):
                self._happenings.ask(command)
        if report.outcome is not None:
            self._outcome = report.outcome

    def _intend(self, command: RunStep) -> bool:
        """A step that is at most once leaves its intent before it starts. False if it had one: it may have run already."""
        if command.intended:
            self._happenings.interrupted(command)
            return False
        self._cargo.entries.append(StepIntended(key=command.key, function=command.function, at=self.at()))
        return True

    def _perform(self, loaded: Cargo) -> None:
        """Do what is allowed now, because everything that led to it is durable."""
        for line in loaded.logs:
            emit(self.run_id, line.level, line.message, line.args, line.extra)
        if loaded.stops:
            self.steps.stop(loaded.stops)
        is_pending = self.execution.lookup.is_pending
        for command in loaded.starts:
            if (self._pause_asked or self._release_asked) and not command.options.at_most_once:
                self._postponed.append(command)  # it is asked for again when the run goes on elsewhere
            elif is_pending(command):  # (that of an intent which is written already can't wait)
                self.steps.start(command)

    def _busy(self) -> bool:
        return self._flying or self._enlisted

    @property
    def _leaving(self) -> bool:
        return self._pause_asked or self._release_asked

    def _must_write(self) -> bool:
        return bool(
            self._cargo.urgent
            or self._outcome is not None
            or self._create is not None
            or self._registrations.needed
            or (self._leaving and self.steps.idle)
        )

    def _quiet(self) -> bool:
        """Nothing executes, nothing is due soon: the run may leave memory."""
        if self._resting_until is not None:
            return True
        if self._outcome is not None or self._cargo.starts or self._happenings or not self.steps.quiet:
            return False
        wake_at = self._wake_at()
        return wake_at is None or wake_at > self.host.clock.now() + HOT

    def _wake_at(self) -> datetime | None:
        if self._resting_until is not None:
            return self._resting_until
        due, retry = self.execution.due_at(), self.steps.retry_at
        return min(due, retry) if due is not None and retry is not None else due or retry

    def _set_alarm(self) -> None:
        execution = self.execution
        if self._alarm is None and not execution.timers.armed and execution.deadline is None:
            return  # as of most runs, most of the time
        due = execution.due_at()
        if self._alarm is not None:
            if not self._alarm.cancelled and self._alarm.when == due:
                return
            self._alarm.cancel()
        self._alarm = self.host.timers.at(due, self.pump) if due is not None else None

    # ================================================================ writing
    def grow(self, size: int) -> None:
        """The run's journal grows by about this many bytes of values."""
        self.weight += size
        self.write_size += size

    def take_write(self) -> Write | None:
        """Everything that came up since the last write, as one commit."""
        self._enlisted = False
        if self.dropped:
            # Whoever triggers the run waits for it to be there, whoever executes it.
            return None if self._create is None else CreateRun(run=self._create)
        cargo = self._cargo
        transition = None
        if self._outcome is not None or self._leaving or not (self.steps.running or cargo.starts):
            transition = self._decide_transition()
        changes = self._registrations.take_changes()
        creates, sends = self._happenings.take_created()
        self._created = bool(creates)
        if not (cargo.urgent or transition or creates or sends or changes[0]):
            asyncio.get_running_loop().call_soon(self.pump)  # performs what was held back
            return None
        if transition is not None:
            self.steps.hush()
            self._settled = True
        entries = (*cargo.riders, *cargo.entries) if cargo.riders else tuple(cargo.entries)
        self._length += len(entries)
        if self._length >= LONG_JOURNAL:
            self._warn_of_length(self._length - len(entries))
        self._flying = True
        self.write_size = _ENVELOPE
        self._transition, self._changes = transition, changes
        self._loaded, self._cargo = cargo, Cargo()
        commit = self.next_commit(entries)
        if transition is not None or changes is not NO_CHANGES or creates or sends or cargo.has_orders:
            commit = replace(
                commit,
                transition=transition,
                creates=creates,
                sends=sends,
                waits=changes[0],
                unwaits=changes[1],
                cancels=cargo.cancels,
                attempt=cargo.attempt,
            )
            self._left_by = (commit.writer, commit.write_id)
        if self.teller is not None:
            self.teller.commit = commit
        failpoint("step.before_checkpoint")
        if self._create is not None:
            failpoint("start.before_write")
            return CreateRun(run=self._create, commit=commit)
        return commit

    def _warn_of_length(self, before: int) -> None:
        """Warn once when the journal gets long: every resume from the storage replays it."""
        if before < LONG_JOURNAL:
            _log.warning(
                "the journal of run %s has %d entries: end it with continue_as(...) now and then, or split the work "
                "into child runs",
                self.run_id,
                self._length,
            )

    def _decide_transition(self) -> Transition | None:
        """What becomes of the run with this write; adds the entry that says so."""
        if self._outcome is not None:
            ending = Ending(self.definition, self.host.values, self.host.record_failure, self.host.random)
            transition, entry = ending.of(self._outcome, self.execution, self.at())
            if isinstance(entry, Continued):
                self._continued, self._cargo.attempt = entry, 1
            self._cargo.entries.append(entry)
            return transition
        if self._leaving and self.steps.idle:
            if not self._pause_asked:
                return writes.Release()
            self._cargo.entries.append(Paused(at=self.at(), reason=PauseReason.REQUESTED))
            return writes.Pause(reason=PauseReason.REQUESTED)
        if not self._quiet():
            return None
        wake_at = self._wake_at()
        if wake_at is None and not self.execution.pending():
            self._cargo.entries.append(Paused(at=self.at(), reason=PauseReason.STUCK, detail=_STUCK))
            return writes.Pause(reason=PauseReason.STUCK, detail=_STUCK)
        failpoint("suspend.before_write")
        self._cargo.entries.append(
            Suspended(at=self.at(), wake_at=wake_at, waits=tuple(self._registrations.current()))
        )
        return writes.Suspend(wake_at=wake_at)

    def written(self, outcome: writes.Outcome) -> None:
        """The commit is durable: perform what it asked for. Or it was refused: the run is not ours."""
        new = self._create
        created_pos: int | None = None
        match outcome:
            case writes.Committed():
                committed = outcome
            case writes.Created(committed=committed) if committed is not None:
                self._create = None
                created_pos = outcome.created_pos
                self.host.created(self, outcome)
                failpoint("start.after_write")
            case _:
                self.drop()
                self.host.refused(self, outcome)
                return
        if self.dropped:
            return
        self._flying = False
        self.seq += 1
        if self._changes is not NO_CHANGES:
            self._registrations.written(self._changes)
        if created_pos is not None:
            self._registrations.created(created_pos)
        if self._created:
            failpoint("child.after_create")
        if self.teller is not None:
            self.teller.written(self.execution.started_at, new=new)
        loaded, self._loaded = self._loaded, None
        assert loaded is not None, "a write is answered once"
        self._perform(loaded)
        self.host.progressed(self)
        failpoint("step.after")
        if self._transition is not None:
            self._leave(self._transition, again=committed.events_ready)
            return
        if committed.events_ready:
            self.look_for_events()
        self.pump()

    def write_failed(self, error: Exception) -> None:
        """The storage can't take this write, now or later."""
        self.drop()
        self.host.failed(self, error)

    def _leave(self, transition: Transition, *, again: bool) -> None:
        over = self.execution.outcome is not None or self._resting_until is not None
        if over or not isinstance(transition, writes.Suspend):
            self.drop()
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        self._transition = None
        self._settled = self.dropped
        if self._continued is not None:
            failpoint("continue.after_write")
            self.host.continue_as(self, self._continued)
        else:
            self.host.left(self, transition, again=again)
