"""Invariants: what must be true when everything has ended. Each is one small check over all that was seen."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from stepflow._runtime.ending import Ending
from stepflow._runtime.executions import Executions
from stepflow._runtime.loading import _present
from stepflow.model.journal import (
    AttemptStarted,
    Ended,
    EventReceived,
    RunAttemptFailed,
    StepCompleted,
    StepFailed,
)
from stepflow.model.states import RunStatus
from stepflow.storage import writes
from stepflow.storage._checking.walking import Check
from stepflow.storage._rules.runs import CONTROL
from stepflow.storage.checking import CheckableStorage
from tests.simulation.cluster import Cluster
from tests.simulation.history import History
from tests.simulation.observer import Observer
from tests.simulation.proxy import at_once
from tests.simulation.users import Users
from tests.simulation.world import World


@dataclass(frozen=True, slots=True)
class Seen:
    """All there is to judge."""

    world: World
    cluster: Cluster
    users: Users
    observer: Observer

    @property
    def forgetful(self) -> bool:
        """Whether the store ever fell back to an older state: then what it had acknowledged may be gone."""
        return bool(self.observer.failovers)

    def histories(self) -> list[History]:
        return [*self.observer.runs.values(), *self.observer.former]


def nothing_is_lost(seen: Seen) -> Iterator[str]:
    """5: every run has ended, and whoever asked something got an answer."""
    for run_id, history in seen.observer.runs.items():
        record = history.record
        if not record.status.ended:
            yield f"{run_id} never ended: {record.status}, owner {record.worker}, due {record.due_at}, waits {record.waits}"
    for wish in seen.users.wishes:
        if not wish.settled:
            yield f"nobody ever answered: {wish.name}"


def acknowledged_starts_are_kept(seen: Seen) -> Iterator[str]:
    """7: a run that was acknowledged is there, unless somebody deleted it."""
    if seen.forgetful:
        return
    for index, run_id in seen.users.run_ids.items():
        if index not in seen.users.deleted and run_id not in seen.observer.runs:
            yield f"{run_id} was acknowledged and is gone"


def acknowledged_events_are_kept(seen: Seen) -> Iterator[str]:
    """7, 8: an event that was acknowledged is there, once."""
    if seen.forgetful:
        return
    by_id: dict[str, Counter[str | None]] = defaultdict(Counter)
    for event_id in {event_id for event_id, _ in seen.users.acknowledged_events}:
        by_id[event_id].update(event.dedup_id for event in seen.observer.events_of(event_id, "nobody"))
    for event_id, name in seen.users.acknowledged_events:
        if by_id[event_id][name] != 1:
            yield f"event {name} was acknowledged and is there {by_id[event_id][name]} times"


def keys_start_one_run(seen: Seen) -> Iterator[str]:
    """11: runs that were triggered with one key, or id, are one."""
    if seen.forgetful:
        return
    plans = Counter(history.record.tags.get("plan") for history in seen.observer.runs.values())
    for plan, count in plans.items():
        if plan is not None and count > 1:
            yield f"{count} runs of plan {plan}"


def events_come_in_order(seen: Seen) -> Iterator[str]:
    """8: what a run received of an event id is what was sent, from its start, in order, none left out, none twice."""
    for run_id, history in seen.observer.runs.items():
        received: dict[str, list[int]] = defaultdict(list)
        for entry, *_ in history.placed():
            if isinstance(entry, EventReceived):
                received[entry.event_id].append(entry.pos)
        for event_id, positions in received.items():
            events = seen.observer.events_of(event_id, run_id)
            after = history.cursors.get(event_id, history.record.created_pos)
            sent = [event.pos for event in events if event.pos > after]
            if positions != sent[: len(positions)]:
                yield f"{run_id}: received {event_id} at {positions}, sent were {sent}"


def effects_match(seen: Seen) -> Iterator[str]:
    """3: what is recorded was returned by a body that ran; without faults each attempt ran once."""
    if seen.forgetful:
        return
    marks = seen.observer.ledger.marks
    undisturbed = not seen.world.faults
    for history in seen.histories():
        run_id, created = history.record.id, history.record.created_pos
        for entry, _, generation, attempt in history.placed():
            if isinstance(entry, StepCompleted | StepFailed):
                ran = marks.get((run_id, created, generation, attempt, entry.key), [])
                ran = ran or marks.get((run_id, created, 0, attempt, entry.key), [])
                yield from _recorded(run_id, entry, ran, undisturbed)


def _recorded(
    run_id: str, entry: StepCompleted | StepFailed, ran: list[Any], undisturbed: bool
) -> Iterator[str]:
    if not ran:
        yield f"{run_id}: {entry.key} has an outcome, and its body never began"
    elif isinstance(entry, StepCompleted):
        value = bytes(entry.value.data).decode()
        if not any(mark.returned is not None and f'"{mark.returned}"' == value for mark in ran):
            yield f"{run_id}: {entry.key} is recorded with {value}, which no body returned"
    if undisturbed and len(ran) != entry.attempts:
        yield f"{run_id}: {entry.key} ran {len(ran)} times for {entry.attempts} attempts, and nothing went wrong"


def at_most_once_is_kept(seen: Seen) -> Iterator[str]:
    """3: a body that is at most once begins at most once in an attempt of its run."""
    if seen.forgetful:
        return
    for step, ran in seen.observer.ledger.marks.items():
        if len(ran) > 1 and any(mark.once for mark in ran):
            yield f"{step}: at most once, and began {len(ran)} times"


def outcomes_follow_from_histories(seen: Seen) -> Iterator[str]:
    """6: replaying what is recorded gives the recorded end."""
    app = next(process.app for process in seen.world.processes if process.app is not None)
    executions = Executions(app._registry, app._values, app._errors)
    for run_id, history in seen.observer.runs.items():
        record, rows = history.record, history.rows
        if not record.status.ended or not rows or rows[-1].writer == CONTROL:
            continue
        entries = _present([row for row in rows if row.seq >= record.first_seq])
        if isinstance(entries[-1], Ended):
            entries = entries[:-1]
        if _rests(entries):
            continue  # it was cancelled between two attempts, while its code did not run
        definition = app._registry.get(record.workflow_id)
        execution = executions.of_claimed(record, definition, attempt=record.attempt)
        try:
            report = execution.replay(entries)
            if report.outcome is None:
                yield f"{run_id} ended as {record.status}, its journal leads to no end"
                continue
            ending = Ending(definition, app._values, executions.record_failure, lambda: 0.5)
            transition, _ = ending.of(report.outcome, execution, rows[-1].entries[-1].at)
            yield from _same_end(run_id, record, transition)
        finally:
            execution.evict()


def _rests(entries: list[Any]) -> bool:
    """Whether the last attempt of the run has failed, and the next one has not begun."""
    for entry in reversed(entries):
        if isinstance(entry, AttemptStarted):
            return False
        if isinstance(entry, RunAttemptFailed):
            return True
    return False


def _same_end(run_id: str, record: Any, transition: Any) -> Iterator[str]:
    match transition:
        case writes.Complete(output=output):
            if record.status is not RunStatus.COMPLETED or output != record.output:
                yield f"{run_id} is {record.status} with {record.output}, its journal leads to {output}"
        case writes.Fail(failure=failure):
            same = record.failure is not None and (failure.type, failure.message) == (
                record.failure.type,
                record.failure.message,
            )
            if record.status is not RunStatus.FAILED or not same:
                yield f"{run_id} is {record.status} with {record.failure}, its journal leads to {failure}"
        case writes.Cancel():
            if record.status is not RunStatus.CANCELLED:
                yield f"{run_id} is {record.status}, its journal leads to cancelled"
        case _:
            yield f"{run_id} ended as {record.status}, its journal leads to {type(transition).__name__}"


def streams_show_the_journal(seen: Seen) -> Iterator[str]:
    """10: a reader sees every entry, once, in order, however often the line broke."""
    if seen.forgetful:
        return
    lived_before = {history.record.id for history in seen.observer.former}
    for follow in seen.users.follows:
        if not follow.events or follow.run_id in lived_before:
            continue  # a reader of two runs of one id has seen parts of both
        places = [tuple(map(int, event.id.split("."))) for event in follow.events]
        if places != sorted(set(places)):
            yield f"a reader of {follow.run_id} saw entries twice, or out of order: {places}"
        for history in seen.histories():
            if history.record.id == follow.run_id and not history.deleted:
                shown = {(row.seq, n): entry for row in history.rows for n, entry in enumerate(row.entries)}
                yield from _missing(follow.run_id, follow.events, places, shown, history)


def _missing(
    run_id: str, events: Any, places: list[Any], shown: dict[Any, Any], history: History
) -> Iterator[str]:
    for event, place in zip(events, places, strict=True):
        if shown.get(place) != event.entry:
            yield f"a reader of {run_id} saw at {place} what is not in the journal"
    if history.record.first_seq == 1:  # continue_as deletes rows, also before slow readers saw them
        expected = [place for place in sorted(shown) if place <= places[-1]]
        if places != expected:
            yield f"a reader of {run_id} missed {sorted(set(expected) - set(places))}"


def the_store_is_clean(seen: Seen) -> Iterator[str]:
    """14: nothing contradicts anything, nobody is registered, and nothing is left of what has ended."""
    inner = seen.cluster.store.inner
    workers = at_once(inner.list_workers(now=seen.world.instant()))
    closed = {process.name: process for process in seen.cluster.last}
    for worker in workers:
        process = closed.get(worker.id.rpartition(".")[0])
        if process is not None and worker.id not in process.stillborn:  # of others, the lease has to run out
            yield f"{worker.id} is still registered"


def the_store_is_whole(seen: Seen) -> Iterator[str]:
    """2, 10, 14: what `stepflow storage check` looks for."""
    yield from contradictions(seen.cluster.store.inner, seen.world, seen.observer)
    inner = seen.cluster.store.inner
    if isinstance(inner, CheckableStorage):
        for finding in at_once(_collect(inner.check())):
            if finding.damage:
                yield f"{finding.what}: {finding.run_id}: {finding.detail}"


def contradictions(storage: Any, world: World, observer: Observer) -> Iterator[str]:
    """What is wrong with the store at this very instant, run by run; it has to be whole at any."""
    check = Check(storage, now=world.instant())
    live = {worker.id for worker in at_once(storage.list_workers(now=world.instant()))}
    for run_id in list(observer.runs):
        record = at_once(storage.get_run(run_id))
        if record is not None:
            for finding in at_once(check._examine(record, live)):
                if finding.damage:
                    yield f"{finding.what}: {finding.run_id}: {finding.detail}"


async def _collect(found: Any) -> list[Any]:
    return [finding async for finding in found]


def nothing_failed_unheard(seen: Seen) -> Iterator[str]:
    """Nothing that a real process would have logged as a failure of the engine."""
    for process in seen.world.processes:
        for context in process.loop.noise:
            error = context.get("exception")
            yield f"{process.name}: {context.get('message')}: {error!r}"


INVARIANTS: tuple[Callable[[Seen], Iterator[str]], ...] = (
    nothing_is_lost,
    acknowledged_starts_are_kept,
    acknowledged_events_are_kept,
    keys_start_one_run,
    events_come_in_order,
    effects_match,
    at_most_once_is_kept,
    outcomes_follow_from_histories,
    streams_show_the_journal,
    the_store_is_clean,
    the_store_is_whole,
    nothing_failed_unheard,
)
