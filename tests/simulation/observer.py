"""Observer: sees the store at every write, remembers all it ever held, and says at once what must not be."""

from __future__ import annotations

from typing import Any

from stepflow.model.events import Wait
from stepflow.model.journal import (
    AttemptStarted,
    CancelRequested,
    Ended,
    Entry,
    JournalRow,
    TimerFired,
)
from stepflow.model.runs import RunRecord
from stepflow.model.states import PauseReason, RunStatus
from stepflow.storage._checking.records import check_record
from stepflow.storage.writes import (
    Action,
    CommitRun,
    Committed,
    Controlled,
    ControlRun,
    Created,
    CreateRun,
    Duplicate,
    Existing,
    SendEvent,
    Sent,
)
from tests.simulation.history import History, cancelled, follow
from tests.simulation.ledger import Ledger, Mark
from tests.simulation.processes import Process
from tests.simulation.proxy import at_once
from tests.simulation.requests import Requests
from tests.simulation.stores import Store
from tests.simulation.world import World

_EXPECTED_PAUSES = frozenset({PauseReason.REQUESTED, PauseReason.POISONED})


class Observer:
    """Holds every answer of the store against what it said before. ``wrong`` is what must not have happened."""

    def __init__(self, world: World, store: Store) -> None:
        self.world = world
        self.store = store
        self.wrong: list[str] = []
        self.runs: dict[str, History] = {}
        self.former: list[History] = []
        """Runs whose id another one bears now, or that were deleted."""
        self.events: dict[tuple[str, str], int] = {}
        self._addressed: dict[str, set[tuple[str, str]]] = {}
        """Run → the events that were sent to it alone, which are deleted with it."""
        """Acknowledged events: event id and dedup id → position."""
        self.requests = Requests(world)
        self.failovers = 0
        self.ledger = Ledger(self.place)
        self.ledger.began = self.body_began
        self.writes = 0
        self.calls = 0

    def complain(self, what: str) -> None:
        self.wrong.append(f"{self.world.now / 1e6:.6f} s: {what}")

    # -------------------------------------------------------------- for the ledger
    def place(self, run_id: str, worker: str | None) -> tuple[int, int]:
        history = self.runs.get(run_id)
        if history is None:
            return 0, 0
        return history.record.created_pos, history.last_claim_of(worker)

    def body_began(self, mark: Mark) -> None:
        """Invariants 1 and 3: no recorded step runs again, none twice for one claim, each after the same past."""
        run_id, _, generation, attempt, key = mark.step
        history = self.runs.get(run_id)
        if history is None:
            if not self.failovers and run_id not in {former.record.id for former in self.former}:
                self.complain(f"{run_id}: step {key} began before its run was in the store")
            return
        owned = history.record.status is RunStatus.RUNNING and history.record.worker == mark.owner[0]
        recorded = (generation, attempt, key) in history.outcomes or (generation, key) in history.completed
        if owned and recorded and (generation, attempt) == (history.generation, history.attempt):
            self.complain(f"{run_id}: step {key} has an outcome, and its owner {mark.owner[0]} runs it again")
        for other in self.ledger.marks[mark.step][:-1]:
            if other.owner == mark.owner and other.attempt == mark.attempt and not self.failovers:
                self.complain(f"{run_id}: attempt {mark.attempt} of {key} began twice for claim {mark.owner}")
            if other.seen != mark.seen and not self.failovers:
                self.complain(f"{run_id}: step {key} began after two different pasts")

    # -------------------------------------------------------------- every call
    def applied(self, process: Process | None, method: str, about: Any, result: Any) -> None:
        """A request has just been applied."""
        self.calls += 1
        if result is None:
            return
        if method == "write":
            for write, outcome in zip(about, result, strict=True):
                if isinstance(write, ControlRun) and isinstance(outcome, Controlled):
                    self.requests.done(write.run_id, write.action)
            last = {run_of(write): place for place, write in enumerate(about)}
            for place, (write, outcome) in enumerate(zip(about, result, strict=True)):
                self.writes += 1
                self._note_events(write, outcome)
                if (
                    last[run_of(write)] == place
                ):  # others of the batch came after it, and nobody saw what was between
                    moved = any(isinstance(later, (SendEvent, CommitRun)) for later in about[place + 1 :])
                    self._written(write, outcome, moved=moved)
        elif method == "claim_runs":
            for claim in result:
                self._claimed(claim)

    def _claimed(self, claim: Any) -> None:
        before = self.runs.get(claim.run.id)
        owner = None if before is None else before.record.worker
        history = self.look(claim.run.id)
        if history is None or history.record.worker != claim.run.worker:
            self.complain(f"{claim.run.id}: claimed, and the store does not say so")
        if claim.run.seq != claim.rows[-1].seq:
            self.complain(f"{claim.run.id}: the claim's last row is not its own")
        if self.world.calm and self.world.now > self.world.calm_from and claim.takeover and owner is not None:
            self._check_healthy(claim.run.id, owner)

    def _check_healthy(self, run_id: str, owner: str) -> None:
        """Invariant 12."""
        for process in self.world.processes:
            if process.usable and process.worker_id == owner:
                self.complain(f"{run_id}: taken from {owner}, which is well")

    def _written(self, write: Any, outcome: Any, *, moved: bool) -> None:
        """``moved``: what came after it in its batch may have moved its run, too, as an event does."""
        match write, outcome:
            case CommitRun(), Committed():
                self._committed(write)
            case CreateRun(), Created(run_id=run_id):
                history = self.look(run_id)
                if write.commit is not None and outcome.committed is not None:
                    self._committed(write.commit)
                elif history is None:
                    self.complain(f"{run_id}: created, and not in the store")
            case CreateRun(), Existing(run=run):
                self.look(run.id)
            case ControlRun(), Controlled() if not moved or write.action is Action.DELETE:
                self._controlled(write, outcome)
            case SendEvent(), _:
                pass  # it was noted in its turn
            case _:
                self.look(run_of(write))
        for run_id in getattr(outcome, "woken", ()):
            self.look(run_id)

    def _note_events(self, write: Any, outcome: Any) -> None:
        """An event has one place, until it goes with the run that it was addressed to; whatever else its batch does."""
        match write, outcome:
            case SendEvent(event=event), Sent(pos=pos):
                self.events[event.event_id, event.dedup_id or ""] = pos
                if event.run_id is not None:
                    self._addressed.setdefault(event.run_id, set()).add(
                        (event.event_id, event.dedup_id or "")
                    )
            case SendEvent(event=event), Duplicate(event=first, once_lost=False):
                known = self.events.get((event.event_id, event.dedup_id or ""))
                if known is not None and known != first.pos:
                    self.complain(f"event {event.dedup_id} is at {first.pos}, and was at {known}")
                self.events[event.event_id, event.dedup_id or ""] = first.pos
            case ControlRun(action=Action.DELETE), Controlled():
                for gone in self._addressed.pop(write.run_id, ()):
                    self.events.pop(gone, None)

    def _committed(self, write: CommitRun) -> None:
        """Invariants 4 and 7: the row is there, and the writer's."""
        history = self.look(write.run_id)
        if history is None:
            return self.complain(f"{write.run_id}: committed, and not in the store")
        row = next((row for row in reversed(history.rows) if row.seq == write.seq), None)
        if row is None or (row.writer, row.write_id) != (write.writer, write.write_id):
            self.complain(f"{write.run_id}: row {write.seq} of {write.writer} is said to be there and is not")
        for new in write.creates:
            self.look(new.id)
        for run_id in write.cancels:
            self.look(run_id)
        if history.record.status.ended:
            self._look_at_family(history.record)
        return None

    def _look_at_family(self, record: RunRecord) -> None:
        for run_id, other in list(self.runs.items()):
            parent = other.record.parent
            if parent is not None and parent.run_id == record.id:
                self.look(run_id)
        if record.parent is not None:
            self.look(record.parent.run_id)

    def _controlled(self, write: ControlRun, outcome: Controlled) -> None:
        """Invariant 7: what was answered to an operation is so, at the very instant."""
        history = self.look(write.run_id)
        if write.action is Action.DELETE:
            if history is not None:
                self.complain(f"{write.run_id}: deleted, and still there")
            return None
        if history is None:
            return self.complain(f"{write.run_id}: {write.action} was done, and it is not in the store")
        record, action = history.record, write.action
        if record.status is not outcome.status:
            self.complain(f"{write.run_id}: {action} was answered {outcome.status}, it is {record.status}")
        wanted = {
            Action.CANCEL: record.status is RunStatus.CANCELLED
            or record.cancel_requested
            or cancelled(history),
            Action.FORCE_CANCEL: record.status is RunStatus.CANCELLED,
            Action.PAUSE: record.status is RunStatus.PAUSED or record.pause_requested,
            Action.RESUME: record.status is not RunStatus.PAUSED and not record.pause_requested,
            Action.RETRY: record.status is RunStatus.QUEUED,
        }
        if not wanted[action]:
            self.complain(f"{write.run_id}: {action} was acknowledged, and has no effect: {record.status}")
        self._look_at_family(record)
        return None

    # -------------------------------------------------------------- one run
    def look(self, run_id: str | None) -> History | None:
        """Read the run, and check what is new of it."""
        if run_id is None:
            return None
        inner = self.store.inner
        record = at_once(inner.get_run(run_id))
        history = self.runs.get(run_id)
        if history is not None and (record is None or record.created_pos != history.record.created_pos):
            if wrong := self.requests.gone(run_id):
                self.complain(f"{run_id}: {wrong}")
            history.deleted = True
            self.former.append(history)
            del self.runs[run_id]
            history = None
        if record is None:
            return None
        if history is None:
            history = self.runs[run_id] = History(record, blind=self.failovers > 0)
        rows = at_once(inner.read_journal(run_id, after=history.rows[-1].seq if history.rows else 0))
        before, history.record = history.record, record
        for row in rows:
            follow(history, row, self.complain)
            self._check_times(history, row)
        if history.rows and record.seq != history.rows[-1].seq:
            self.complain(f"{run_id}: the record counts {record.seq} rows, {history.rows[-1].seq} were seen")
        self._check_record(history, before, [entry for row in rows for entry in row.entries])
        return history

    def _check_record(self, history: History, before: RunRecord, new: list[Entry]) -> None:
        """Invariants 5, 6 and 7, of the record alone and against the last look."""
        record = history.record
        for finding in check_record(record):
            self.complain(f"{record.id}: {finding.detail}")
        if wrong := self.requests.look(record):
            self.complain(f"{record.id}: {wrong}")
        if before.status.ended and not any(isinstance(entry, AttemptStarted) for entry in new):
            same = (before.status, before.output, before.failure) == (
                record.status,
                record.output,
                record.failure,
            )
            if not same:
                self.complain(f"{record.id}: ended as {before.status}, and now it is {record.status}")
        over = record.status.ended or any(isinstance(entry, Ended) for entry in new)
        heard = over or any(isinstance(entry, CancelRequested) for entry in new)
        if before.cancel_requested and not record.cancel_requested and not heard:
            self.complain(f"{record.id}: a cancel that was noted is forgotten")
        if record.status is RunStatus.PAUSED and record.pause_reason not in _EXPECTED_PAUSES:
            self.complain(f"{record.id}: paused as {record.pause_reason}: {record.pause_detail}")
        if record.status is RunStatus.SUSPENDED:
            if record.cancel_requested or record.pause_requested:
                self.complain(f"{record.id}: suspended with a request that nobody reads")
            self._check_waits(record)

    def _check_waits(self, record: RunRecord) -> None:
        """Nothing that a suspended run waits for is there already: it would sleep for ever."""
        if record.waits:
            found = at_once(
                self.store.inner.read_events([(record.id, wait) for wait in record.waits], limit=1)
            )
            if any(found):
                self.complain(f"{record.id}: suspended, and an event that it waits for is there")

    def _check_times(self, history: History, row: JournalRow) -> None:
        """Invariant 9: no timer fires before its time, as far as its worker's clock can be believed."""
        latest = self.world.instant().timestamp() + self.world.dials.skew
        for entry in row.entries:
            if isinstance(entry, TimerFired) and entry.at.timestamp() > latest + 0.001:
                self.complain(f"{history.record.id}: timer {entry.key} fired before its time")

    # -------------------------------------------------------------- all of them
    def look_at_all(self) -> None:
        for run_id in list(self.runs):
            self.look(run_id)

    def failed_over(self) -> None:
        """The store forgot: so does what was seen of it, as far as it goes."""
        self.failovers += 1
        self.requests.forget()
        self.events.clear()
        for run_id, history in list(self.runs.items()):
            record = at_once(self.store.inner.get_run(run_id))
            if record is None or record.created_pos != history.record.created_pos:
                del self.runs[run_id]
                continue
            history.rows = [row for row in history.rows if row.seq <= record.seq]
            history.record = record
            history.recount()

    def events_of(self, event_id: str, run_id: str) -> list[Any]:
        """The events of this id that the run may have had, by position."""
        wait = Wait(event_id=event_id, after=0)
        return list(at_once(self.store.inner.read_events([(run_id, wait)], limit=100_000))[0])


def run_of(write: Any) -> str | None:
    """The run that a write is about; an event is about itself."""
    match write:
        case CreateRun(run=run):
            return run.id
        case SendEvent(event=event):
            return f"{event.event_id} {event.dedup_id}"
        case _:
            return str(write.run_id)
