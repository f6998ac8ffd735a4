"""Simulated: drives an execution through a program, and checks at every turn what must hold whatever the program does."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from random import Random
from typing import Any

from stepflow._engine.commands import (
    Command,
    Outcome,
    Raised,
    Returned,
    RunStep,
    SendEvent,
    StartChild,
    StartTimer,
    WaitForEvent,
)
from stepflow._engine.execution import Advance
from stepflow.model.failures import Failure
from stepflow.model.journal import (
    AttemptFailed,
    CancelRequested,
    ChildEnded,
    ChildStarted,
    Claimed,
    Entry,
    EventReceived,
    EventSent,
    StepCompleted,
    StepFailed,
    StepIntended,
    StepInterrupted,
    Suspended,
)
from stepflow.model.states import RunStatus
from tests.fundamentals.accounts import Candidate, Finished, Flight, ended_steps
from tests.fundamentals.interpreter import describe
from tests.fundamentals.programs import Node, Program
from tests.fundamentals.watched import Watched, decode, encode
from tests.fundamentals.world import COMMIT, CREATED_POS, EPOCH, SECOND, Posted, World

HOLD_OFF = 5 * SECOND
LIMIT = 3_000


_alive: list[Watched] = []


@contextmanager
def all_evicted() -> Generator[None]:
    """In the end every execution is evicted, also if an assertion cut its simulation short."""
    try:
        yield
    finally:
        while _alive:
            _alive.pop().evict()


class Simulation:
    """One driver's view of a run: ``journal`` is what a driver before it left."""

    def __init__(
        self,
        program: Program,
        journal: Sequence[Entry] = (),
        *,
        main: Node | None = None,
        attempt: int = 1,
        slices: Random | None = None,
        watch: bool = False,
    ) -> None:
        self.program = program
        self.main = program.main if main is None else main
        self.attempt = attempt
        self.journal = list(journal)
        self.flights: dict[str, Flight] = {}
        self.executed: Counter[str] = Counter()
        self.slices = slices
        self.fingerprints: dict[int, Any] = {}
        self.watch = watch
        self.now = max((entry.at for entry in journal), default=EPOCH)
        self.world = World(program)
        self.run = self._open()

    # -------------------------------------------------------------- opening and closing
    def _open(self, *fresh: Entry) -> Watched:
        run = Watched(self.program, self.main, self.attempt)
        _alive.append(run)
        self.run = run
        self.flights.clear()
        recorded = ended_steps(self.journal)
        entries = [*self.journal, *fresh]
        if entries:
            report = self._replay(run, entries)
            self.journal = entries
        else:
            first = Claimed(at=self.now, worker="w")
            report = run.advance([first])
            self.journal.append(first)
        for command in report.commands:
            assert command.key not in recorded, f"recorded step {command.key} is asked for again"
        self._take(report, lost=True)
        return run

    def _replay(self, run: Watched, entries: list[Entry]) -> Advance:
        done = 0
        while self.slices is not None and done < len(entries):
            size = self.slices.randrange(1, 5)
            report = run.replay(entries[done : done + size], more=True)
            done += size
            assert not report.commands, "commands came out while more entries follow"
        return run.replay(entries[done:])

    def close(self) -> None:
        """Evict the execution, as a worker does when it drops one; nothing may come of it."""
        run = self.run
        traced = len(run.player.trace)
        outcome, pending = run.outcome, len(run.lookup.pending)
        held = list(run._stage.tasks)
        run.evict()
        _alive.remove(run)
        assert (run.outcome, len(run.lookup.pending)) == (outcome, pending), "the eviction had an effect"
        assert run.player.opened == run.player.closed, "a block was not left"
        assert all(task.done() or task.get_coro().cr_frame is None for task in held)
        assert "Task was destroyed but it is pending!" not in run.noise
        assert not [noise for noise in run.noise if noise.startswith("Exception in callback")], run.noise
        assert run.player.complaints == []
        times = [note[-1] for note in run.player.trace]
        assert times == sorted(times), "workflow code saw time step back"
        if outcome is not None and isinstance(outcome, (Returned, Raised)):
            assert traced == len(run.player.trace), "code ran after the run's end"

    # -------------------------------------------------------------- what comes out of the execution
    def _take(self, report: Advance, *, lost: bool = False) -> None:
        run = self.run
        for command in report.withdrawn:
            flight = self.flights.get(command.key)
            if flight is not None and run.outcome is None and self.world.is_deaf(command.key):
                flight.deaf = True
            else:
                self.flights.pop(command.key, None)
        for command in report.commands:
            if isinstance(command, (RunStep, StartChild, SendEvent)):
                self._launch(command, lost=lost)
        if self.watch:
            self.fingerprints[len(self.journal)] = run.fingerprint()
        if run.outcome is None:
            asked = {c.key for c in run.pending() if isinstance(c, (RunStep, StartChild, SendEvent))}
            flying = {key for key, flight in self.flights.items() if not flight.deaf}
            assert asked == flying, f"asked for {asked}, flying {flying}"

    def _launch(self, command: Command, *, lost: bool = False) -> None:
        key = command.key
        assert key not in self.flights, f"{key} was handed out twice"
        due = self.run.asked_at[key]
        once = isinstance(command, RunStep) and command.options.at_most_once
        lost = lost and once and getattr(command, "intended", False)
        if isinstance(command, RunStep) and not lost and (command.intended or not once):
            self.executed[key] += 1
            due = (command.retry_at or due) + self.world.latency(key, command.attempts)
        else:
            due += COMMIT
        self.flights[key] = Flight(command, due, lost=lost)

    # -------------------------------------------------------------- the next thing that happens
    def step(self) -> bool:
        """Let the next thing happen. False if the run has ended, or nothing can happen any more."""
        run = self.run
        if run.outcome is not None:
            return False
        candidates = [*self._flights_due(), *self._timers_due(), *self._events_due(), *self._turns_due()]
        if not candidates:
            return False
        first = min(candidates, key=lambda c: (c.due, c.rank, c.tie))
        self.now = max(self.now, first.due)
        if first.kind == "turn":
            self._turn(first.what)
            return True
        chosen = [first]
        if self.program.batched and first.kind == "flight":
            due = [c for c in candidates if c.due <= self.now]
            chosen = sorted((c for c in due if c.kind == "flight"), key=lambda c: (c.due, c.tie))
            if all(
                c.kind != "timer" and not isinstance(getattr(c.what, "command", 0), SendEvent) for c in due
            ):
                chosen += sorted((c for c in due if c.kind == "event"), key=lambda c: c.tie)
        self._deliver([self._entry(candidate) for candidate in chosen])
        return True

    def _deliver(self, entries: list[Entry]) -> None:
        """Offer entries; a deaf body's must be refused."""
        run = self.run
        before = run.now
        hopeless = {
            entry.key
            for entry in entries
            if (flight := self.flights.get(getattr(entry, "key", ""))) and flight.deaf
        }
        for entry in entries:
            flight = self.flights.get(getattr(entry, "key", ""))
            if flight is not None:
                del self.flights[entry.key]  # type: ignore[union-attr]
        report = run.advance(entries)
        order = [entries.index(entry) for entry in report.accepted]
        assert order == sorted(order)
        assert not {getattr(entry, "key", None) for entry in report.accepted} & hopeless, (
            "a late result was accepted"
        )
        assert run.now >= before, "time stepped back"
        self.journal += report.accepted
        for entry in report.accepted:
            if isinstance(entry, (AttemptFailed, StepIntended)) and entry.key in run.lookup.pending:
                self._launch(run.lookup.pending[entry.key])  # the next attempt, or the body, begins by itself
        self._take(report)

    def _flights_due(self) -> list[Candidate]:
        return [
            Candidate(max(flight.due, self.now), 1, self.world.draw(key), "flight", flight)
            for key, flight in self.flights.items()
        ]

    def _timers_due(self) -> list[Candidate]:
        due = self.run.due_at()
        expected = self._expected_timer()
        assert due == (expected[0] if expected else None), f"due at {due}, expected {expected}"
        if due is None:
            return []
        due = max(due, self.now)
        return [Candidate(due, 0 if self.world.timers_first(due) else 2, 0, "timer", expected)]

    def _expected_timer(self) -> tuple[datetime, int, str] | None:
        """Which timer must come next, worked out without the engine's own heap."""
        run = self.run
        takeovers = [entry.at for entry in self.journal if isinstance(entry, Claimed) and entry.takeover]
        expected: list[tuple[datetime, int, str]] = []
        for command in run.pending():
            if isinstance(command, (StartTimer, WaitForEvent)) and command.deadline is not None:
                asked = run.asked_at[command.key]
                floors = [at + min(command.deadline - asked, HOLD_OFF) for at in takeovers if asked <= at]
                expected.append((max([command.deadline, *floors]), command.order, command.key))
        if self.program.timeout is not None and not run._stage.timed_out:
            expected.append((self._started() + timedelta(seconds=self.program.timeout), 0, ""))
        return min(expected, default=None)

    def _started(self) -> datetime:
        return next(entry.at for entry in self.journal if isinstance(entry, Claimed))

    def _events_due(self) -> list[Candidate]:
        run = self.run
        candidates: list[Candidate] = []
        for event_id in run.mailbox.waits():
            for posted in self.world.log(event_id, self.journal, run.gave_up_child):
                taker = run.mailbox.taker(event_id, posted.pos)
                if taker is not None:
                    due = max(posted.at, self.now)
                    candidates.append(Candidate(due, 3, taker.order, "event", (event_id, posted)))
                    break
        return candidates

    def _turns_due(self) -> list[Candidate]:
        turn = self.world.turn(self.journal)
        if turn is None:
            return []
        number, kind, at = turn
        return [Candidate(max(at, self.now), self.world.draw(number) % 5, 1, "turn", kind)]

    # -------------------------------------------------------------- what is written down about it
    def _turn(self, kind: str) -> None:
        at = self.run.at(self.now)
        if kind == "cancel":
            self._deliver([CancelRequested(at=at)])
            return
        fresh: list[Entry] = []
        if kind == "suspend" and not isinstance(self.journal[-1], Suspended):
            fresh.append(Suspended(at=at))
        fresh.append(Claimed(at=at, worker="w", takeover=kind == "takeover"))
        if kind == "suspend" and self.world.draw("kept", len(self.journal)) % 2:
            report = self.run.replay(fresh)  # its execution was kept in memory
            self.journal += fresh
            self._take(report)
        else:
            self.close()
            self._open(*fresh)

    def _entry(self, candidate: Candidate) -> Entry:
        match candidate.kind:
            case "flight":
                return self._end_of(candidate.what)
            case "timer":
                return self._fired(*candidate.what)
            case _:
                return self._received(*candidate.what)

    def _fired(self, due: datetime, order: int, key: str) -> Entry:
        entry = self.run.due_entry(self.now)
        assert entry is not None
        assert getattr(entry, "key", "") == key, f"{entry} fired instead of {key}"
        assert entry.at == max(due, self.run.now)
        return entry

    def _received(self, event_id: str, posted: Posted) -> Entry:
        run = self.run
        at = run.at(self.now)
        taker = run.mailbox.taker(event_id, posted.pos)
        assert taker is not None
        first = min(wait.order for wait in run.mailbox.waits()[event_id])
        assert taker.order == first, "a later wait came first"
        assert posted.pos > CREATED_POS, "an event from before the run was delivered"
        if posted.child is None:
            payload = encode(f"{event_id}@{posted.pos - CREATED_POS}")
            return EventReceived(key=taker.key, at=at, event_id=event_id, pos=posted.pos, payload=payload)
        started, status = posted.child
        return ChildEnded(
            key=taker.key,
            at=at,
            child_id=started.child_id,
            workflow_id=started.workflow_id,
            pos=posted.pos,
            status=status,
            value=encode(f"end of {started.key}") if status is RunStatus.COMPLETED else None,
            failure=Failure(type="BrokenError", message=started.key) if status is RunStatus.FAILED else None,
        )

    def _end_of(self, flight: Flight) -> Entry:
        command = flight.command
        at = self.run.at(self.now)
        key = command.key
        if isinstance(command, StartChild):
            return ChildStarted(key=key, at=at, child_id=command.child_id, workflow_id=command.workflow_id)
        if isinstance(command, SendEvent):
            return EventSent(key=key, at=at, event_id=command.event_id)
        assert isinstance(command, RunStep)
        function = command.function
        if flight.lost:
            return StepInterrupted(key=key, at=at, function=function)
        if command.options.at_most_once and not command.intended:
            return StepIntended(key=key, at=at, function=function)
        fate = command.args[0]
        value = f"{key}#{self.executed[key]}"
        attempt = command.attempts + 1
        failure = Failure(type="BrokenError", message=value)
        if fate == "flaky" and attempt == 1:
            retry_at = at + SECOND
            return AttemptFailed(
                key=key, at=at, function=function, attempt=attempt, failure=failure, retry_at=retry_at
            )
        if fate == "broken":
            return StepFailed(key=key, at=at, function=function, failure=failure, attempts=attempt)
        return StepCompleted(key=key, at=at, function=function, value=encode(value), attempts=attempt)

    # -------------------------------------------------------------- to the end
    def finish(self) -> Finished:
        """Drive the run to its end, or until nothing can happen any more; then drop it."""
        for _ in range(LIMIT):
            if not self.step():
                break
        else:
            raise AssertionError("the program does not end")
        run = self.run
        outcome = self._told(run.outcome)
        if run.outcome is not None:
            assert all(task.done() for task in run._stage.tasks), "a task outlived the run"
            assert run.player.opened == run.player.closed, "a block outlived the run"
        trace, left_over = list(run.player.trace), run.left_over()
        received = [(e.event_id, e.pos) for e in self.journal if isinstance(e, EventReceived)]
        assert len(received) == len(set(received)), "an event was received twice"
        recorded = {
            entry.key: decode(entry.value, str) for entry in self.journal if isinstance(entry, StepCompleted)
        }
        for key, value in recorded.items():
            got = run.seen.get(key, value)
            assert got == value, f"{key} got {got}, the journal has {value}"
        self.close()
        return Finished(outcome, self.journal, trace, self.executed, self.fingerprints, left_over)

    def _told(self, outcome: Outcome | None) -> Any:
        match outcome:
            case None:
                return ["stuck", sorted(command.key for command in self.run.pending())]
            case Returned(value):
                return ["returned", value]
            case Raised(error):
                return ["raised", describe(error)]
            case _:
                return [type(outcome).__name__]
