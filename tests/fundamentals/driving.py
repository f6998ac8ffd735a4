"""A small synchronous world for executions: performs their commands, keeps their journal, replays any part of it.

Time is simulated: steps take as long as the ``World`` says, events come when it says, and the clock jumps to whatever
is next. The world outlives a crash (it is the store and everything outside), so a run resumed from any prefix of its
journal has to write exactly the rest of that journal again.
"""

from __future__ import annotations

import inspect
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, TypeAlias

import msgspec
from msgspec.structs import replace

from stepflow import errors
from stepflow._engine.commands import (
    AwaitChild,
    Command,
    ContinueAs,
    Outcome,
    Raised,
    Returned,
    RunStep,
    SendEvent,
    StartChild,
    WaitForEvent,
)
from stepflow._engine.current import in_step, step_run_of
from stepflow._engine.divergence import KEYED
from stepflow._engine.execution import Advance, Execution, LogLine, RunFacts
from stepflow._engine.mailbox import child_event
from stepflow.errors import DeserializationError, SerializationError, StepFailedError
from stepflow.model.events import Event
from stepflow.model.failures import Failure
from stepflow.model.journal import (
    AttemptFailed,
    AttemptStarted,
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
)
from stepflow.model.payloads import NULL, Payload
from stepflow.model.states import RunStatus

T0 = datetime(2026, 1, 1, tzinfo=UTC)
RUN_ID = "run_driven"
ChildEnd: TypeAlias = tuple[RunStatus, Any]
"""How a child ends: its status, and its result or the exception that it failed with."""


# ------------------------------------------------------------------ values
def encode(value: Any, what: str = "a value") -> Payload:
    try:
        return Payload(msgspec.Raw(msgspec.json.encode(value)))
    except (TypeError, ValueError) as error:
        raise SerializationError(f"{what}: {error}") from error


def decode(payload: Payload, type_: Any) -> Any:
    try:
        return msgspec.json.decode(payload.data, type=type_)
    except (msgspec.ValidationError, msgspec.DecodeError) as error:
        raise DeserializationError(str(error)) from error


def record(error: BaseException) -> Failure:
    """The exception as data; builtins and Stepflow's own can be rebuilt from their arguments."""
    try:
        args = encode(error.args)
    except SerializationError:
        args = None
    kind = type(error)
    known = getattr(errors, kind.__name__, None) is kind or kind.__module__ == "builtins"
    return Failure(type=kind.__name__, message=str(error), rebuilt=known and args is not None, args=args)


def rebuild(failure: Failure) -> BaseException:
    if failure.rebuilt and failure.args is not None:
        found = getattr(errors, failure.type, None) or getattr(__import__("builtins"), failure.type)
        rebuilt: BaseException = found(*msgspec.json.decode(failure.args.data))
        return rebuilt
    return StepFailedError(failure.message, type=failure.type)


# ------------------------------------------------------------------ the world
@dataclass(kw_only=True)
class World:
    """All that is outside of the run, and what it remembers when the run's process dies.

    ``events`` are (seconds after the start, event id, payload). ``takes`` says how many seconds an attempt of a step
    takes. ``children`` says how a child of a workflow ends, and ``children_take`` after how many seconds (None: never).
    ``cancel_after`` seconds the run is asked to cancel. ``choose`` picks among things that happen at one instant.
    """

    events: Iterable[tuple[float, str, Any]] = ()
    takes: Callable[[RunStep], float] = lambda command: 0.0
    children: dict[str, ChildEnd] = field(default_factory=dict[str, ChildEnd])
    children_take: float | None = 1.0
    cancel_after: float | None = None
    choose: Callable[[list[Happening]], Happening] = lambda happenings: happenings[0]

    def __post_init__(self) -> None:
        self.bodies: list[str] = []
        self.sent: dict[str, SendEvent] = {}
        self.started: dict[str, StartChild] = {}
        self.cancelled: list[str] = []
        self._log: dict[str, Event] = {}
        self._ends: dict[tuple[str, int, datetime | None], datetime] = {}
        for number, (after, event_id, value) in enumerate(self.events):
            at = T0 + timedelta(seconds=after)
            self.append(f"given {number}", event_id, encode(value), at)

    def append(self, dedup: str, event_id: str, payload: Payload, at: datetime) -> None:
        """Add an event to the log; the same one again is once."""
        if dedup not in self._log:
            self._log[dedup] = Event(event_id=event_id, pos=len(self._log) + 1, payload=payload, at=at)

    def log(self) -> Iterable[Event]:
        return self._log.values()

    def end_of(self, command: RunStep, now: datetime) -> datetime:
        """When the present attempt of the step ends: an attempt that a crash interrupted ends as if it had not."""
        begin = max(now, command.retry_at) if command.retry_at is not None else now
        what = (command.key, command.attempts, command.retry_at)
        return self._ends.setdefault(what, begin + timedelta(seconds=self.takes(command)))

    def end_child(self, child_id: str, workflow_id: str, at: datetime) -> None:
        """Let a started child run to its end, which the parent is told."""
        if self.children_take is None:
            return
        status, value = self.children.get(workflow_id, (RunStatus.COMPLETED, None))
        failure = value if isinstance(value, BaseException) else None
        end = {
            "status": status,
            "value": None if failure or status is not RunStatus.COMPLETED else encode(value),
            "failure": record(failure) if failure else None,
        }
        after = timedelta(seconds=self.children_take)
        self.append(f"end {child_id}", child_event(child_id), encode(end), at + after)

    def cancel_child(self, child_id: str, at: datetime) -> None:
        if child_id not in self.cancelled:
            self.cancelled.append(child_id)
        end = {"status": RunStatus.CANCELLED, "value": None, "failure": None}
        self.append(f"end {child_id}", child_event(child_id), encode(end), at + timedelta(seconds=1))


class _End(msgspec.Struct):
    status: RunStatus
    value: Payload | None = None
    failure: Failure | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Happening:
    """Something that may happen next. ``what`` tells kinds apart: "now", "step", "event", "cancel" or "timer"."""

    at: datetime
    what: str
    make: Callable[[datetime], Entry | None]


# ------------------------------------------------------------------ one run
@dataclass(kw_only=True)
class History:
    """What came of a run: its journal and its outcome (None: it waits for something that never comes)."""

    main: Callable[..., Any]
    facts: RunFacts
    world: World
    entries: list[Entry]
    outcome: Outcome | None
    logs: list[LogLine]
    withdrawn: list[str]
    waiting: list[str]
    left_over: tuple[str, ...]

    @property
    def value(self) -> Any:
        """What main returned."""
        assert isinstance(self.outcome, Returned), self.outcome
        return self.outcome.value

    @property
    def error(self) -> BaseException:
        """What main raised."""
        assert isinstance(self.outcome, Raised), self.outcome
        return self.outcome.error

    @property
    def keys(self) -> list[str]:
        """The keys of the entries that have one, in journal order."""
        return [entry.key for entry in self.entries if isinstance(entry, KEYED)]

    @property
    def told(self) -> str:
        """The outcome as text: two histories of one run have to tell the same."""
        if isinstance(self.outcome, Raised):
            return f"raised {type(self.outcome.error).__name__}: {self.outcome.error}"
        if isinstance(self.outcome, ContinueAs):
            return f"continued as {bytes(self.outcome.input.data)!r}"
        return repr(self.outcome)


class Driver:
    """Performs the commands of one run until it ends, or until nothing is left that could happen."""

    def __init__(self, main: Callable[..., Any], facts: RunFacts, world: World) -> None:
        self.main = main
        self.facts = facts
        self.world = world
        self.now = T0
        self.entries: list[Entry] = []
        self.logs: list[LogLine] = []
        self.withdrawn: list[str] = []
        self._at_once: deque[Callable[[datetime], Entry]] = deque()
        self._steps: dict[str, RunStep] = {}
        self._cancelled = False
        self.execution = Execution(facts, self._start, encode=encode, decode=decode, rebuild=rebuild)

    def _start(self, payload: Payload) -> Any:
        wanted = inspect.signature(self.main).parameters
        return self.main(*([decode(payload, Any)] if wanted else []))

    def begin(self) -> Driver:
        """A run that nobody claimed yet."""
        self._deliver(Claimed(at=T0, worker="w1"))
        return self

    def restore(self, entries: Sequence[Entry], *, slices: int = 1) -> Driver:
        """The run as its journal has it, given in as many parts as ``slices``."""
        self.entries = list(entries)
        self.now = max((entry.at for entry in entries), default=T0)
        self._cancelled = any(isinstance(entry, CancelRequested) for entry in entries)
        size = max(1, -(-len(entries) // slices))
        parts = [entries[start : start + size] for start in range(0, len(entries), size)] or [entries]
        for part in parts[:-1]:
            self.execution.replay(part, more=True)
        self._take(self.execution.replay(parts[-1]))
        return self

    def begin_attempt(self) -> Driver:
        self._deliver(AttemptStarted(at=self.now, attempt=self.facts.attempt))
        return self

    def run(self) -> History:
        """Go on until the end."""
        for _ in range(100_000):
            if self.execution.outcome is not None:
                break
            happening = self._next()
            if happening is None:
                break
            self.now = max(self.now, happening.at)
            entry = happening.make(self.now)
            if entry is not None:
                self._deliver(entry)
        else:
            raise AssertionError("the run does not come to an end")
        return self.end()

    def end(self) -> History:
        """What came of it. The execution is evicted: no task of it is left to the garbage collector."""
        history = History(
            main=self.main,
            facts=self.facts,
            world=self.world,
            entries=list(self.entries),
            outcome=self.execution.outcome,
            logs=self.logs,
            withdrawn=self.withdrawn,
            waiting=[command.key for command in self.execution.pending()],
            left_over=self.execution.left_over(),
        )
        self.execution.evict()
        return history

    # -------------------------------------------------------------- what may happen
    def _next(self) -> Happening | None:
        happenings = list(self._happenings())
        if not happenings:
            return None
        first = min(max(each.at, self.now) for each in happenings)
        return self.world.choose([each for each in happenings if max(each.at, self.now) == first])

    def _happenings(self) -> Iterable[Happening]:
        """In the order in which they are taken by default, if several happen at one instant."""
        if self._at_once:
            yield Happening(at=self.now, what="now", make=lambda now: self._at_once.popleft()(now))
            return
        for command in self._steps.values():
            yield Happening(
                at=self.world.end_of(command, self.now),
                what="step",
                make=partial(self._end_step, command),
            )
        yield from self._events()
        if self.world.cancel_after is not None and not self._cancelled:
            at = T0 + timedelta(seconds=self.world.cancel_after)
            yield Happening(at=at, what="cancel", make=self._cancel)
        due = self.execution.due_at()
        if due is not None:
            yield Happening(at=due, what="timer", make=self.execution.due_entry)

    def _events(self) -> Iterable[Happening]:
        seen: set[str] = set()
        for event in sorted(self.world.log(), key=lambda each: each.at):
            if event.event_id in seen:
                continue
            taker = self.execution.mailbox.taker(event.event_id, event.pos)
            if taker is not None:
                seen.add(event.event_id)  # the first one, in order
                yield Happening(at=event.at, what="event", make=partial(self._receive, event, taker))

    def _cancel(self, now: datetime) -> Entry:
        self._cancelled = True
        return CancelRequested(at=self.execution.at(now))

    def _receive(self, event: Event, taker: WaitForEvent | AwaitChild, now: datetime) -> Entry:
        at = self.execution.at(now)
        if isinstance(taker, WaitForEvent):
            return EventReceived(
                key=taker.key, at=at, event_id=event.event_id, pos=event.pos, payload=event.payload
            )
        end = decode(event.payload, _End)
        return ChildEnded(
            key=taker.key,
            at=at,
            child_id=taker.child_id,
            workflow_id=taker.workflow_id,
            pos=event.pos,
            status=end.status,
            value=end.value,
            failure=end.failure,
        )

    # -------------------------------------------------------------- performing
    def _deliver(self, entry: Entry) -> None:
        report = self.execution.advance([entry])
        self.entries.extend(report.accepted)
        self._take(report)

    def _take(self, report: Advance) -> None:
        self.logs.extend(report.logs)
        for command in report.withdrawn:
            self.withdrawn.append(command.key)
            self._steps.pop(command.key, None)
        for child_id in report.cancels:
            self.world.cancel_child(child_id, self.now)
        for command in report.commands:
            self._perform(command)

    def _perform(self, command: Command) -> None:
        match command:
            case RunStep():
                if command.options.at_most_once and not command.intended:
                    self._at_once.append(
                        lambda now: StepIntended(
                            key=command.key, function=command.function, at=self.execution.at(now)
                        )
                    )
                self.world.end_of(command, self.now)
                self._steps[command.key] = command
            case StartChild():
                self._at_once.append(lambda now: self._start_child(command, now))
            case SendEvent():
                self._at_once.append(lambda now: self._send(command, now))
            case _:
                pass  # timers and waits are the execution's own affair

    def _start_child(self, command: StartChild, now: datetime) -> Entry:
        at = self.execution.at(now)
        self.world.started.setdefault(command.child_id, command)
        if not command.detached:
            self.world.end_child(command.child_id, command.workflow_id, at)
        return ChildStarted(
            key=command.key,
            at=at,
            child_id=command.child_id,
            workflow_id=command.workflow_id,
            detached=command.detached,
        )

    def _send(self, command: SendEvent, now: datetime) -> Entry:
        at = self.execution.at(now)
        self.world.sent.setdefault(command.key, command)
        if command.run_id in (None, self.facts.run_id):
            self.world.append(f"sent {command.key}", command.event_id, command.payload, at)
        return EventSent(key=command.key, at=at, event_id=command.event_id)

    def _end_step(self, command: RunStep, now: datetime) -> Entry:
        attempt = command.attempts + 1
        at = self.execution.at(now)
        self.world.bodies.append(command.key)
        try:
            with in_step(step_run_of(self.execution, command, attempt)):
                value = encode(_finish(command.body(*command.args, **command.kwargs)), command.key)
        except Exception as error:  # whatever a body raises is its failure
            delay = command.options.retry.next_delay(attempt, error, random=lambda: 0.5)
            if delay is not None:
                return AttemptFailed(
                    key=command.key,
                    function=command.function,
                    at=at,
                    attempt=attempt,
                    failure=record(error),
                    retry_at=now + delay,
                )
            del self._steps[command.key]
            return StepFailed(
                key=command.key, function=command.function, at=at, failure=record(error), attempts=attempt
            )
        del self._steps[command.key]
        return StepCompleted(key=command.key, function=command.function, at=at, value=value, attempts=attempt)


def _finish(result: Any) -> Any:
    """The result of a body; a coroutine is run, and must not wait for anything."""
    if not inspect.iscoroutine(result):
        return result
    try:
        result.send(None)
    except StopIteration as end:
        return end.value
    result.close()
    raise AssertionError("the body of a driven step must not wait")


# ------------------------------------------------------------------ what tests call
def drive(
    main: Callable[..., Any],
    input: Any = None,
    *,
    world: World | None = None,
    timeout: timedelta | None = None,
    run_id: str = RUN_ID,
) -> History:
    """Run ``main``, a coroutine function of no argument or one, from its first claim to its end."""
    facts = RunFacts(
        run_id=run_id,
        workflow_id="driven",
        input=NULL if input is None else encode(input),
        timeout=timeout,
    )
    return Driver(main, facts, world if world is not None else World()).begin().run()


def resume(
    history: History, prefix: int, *, main: Callable[..., Any] | None = None, slices: int = 1
) -> History:
    """The run as after a crash that left the first ``prefix`` entries of its journal; ``main`` may be newer code."""
    driver = Driver(main or history.main, history.facts, history.world)
    return driver.restore(history.entries[:prefix], slices=slices).run()


def try_again(history: History, *, main: Callable[..., Any] | None = None) -> History:
    """The next attempt of the run: workflow-level retry."""
    facts = replace(history.facts, attempt=history.facts.attempt + 1)
    driver = Driver(main or history.main, facts, history.world)
    return driver.restore(history.entries).begin_attempt().run()


def assert_replays(history: History) -> None:
    """From every prefix of its journal the run writes the same journal, and runs no recorded step again."""
    for prefix in range(1, len(history.entries) + 1):
        history.world.bodies.clear()
        again = resume(history, prefix, slices=1 + prefix % 3)
        assert again.entries == history.entries, f"after {prefix} entries the journal went on differently"
        assert again.told == history.told, f"after {prefix} entries the outcome is different"
        recorded = [e.key for e in history.entries[:prefix] if isinstance(e, StepCompleted | StepFailed)]
        repeated = set(recorded) & set(history.world.bodies)
        assert not repeated, f"after {prefix} entries these ran again: {sorted(repeated)}"
