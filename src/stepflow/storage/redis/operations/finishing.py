"""Finishing: what a change left to be done elsewhere is done, by its maker or by whoever comes upon it."""

from __future__ import annotations

from typing import assert_never

from stepflow.failpoints import failpoint
from stepflow.storage._rules.records import Work
from stepflow.storage.redis.calls import command
from stepflow.storage.redis.intents import CommitIntent, EndIntent, RemoveIntent, read_wake, write_intent
from stepflow.storage.redis.keys import Partition
from stepflow.storage.redis.operations.control import (
    Blocked,
    cancel,
    change,
    end_intent,
    perform_end,
    perform_remove,
)
from stepflow.storage.redis.operations.creating import place
from stepflow.storage.redis.operations.events import WAKES, look, perform_wake, send, unwait
from stepflow.storage.redis.operations.moves import settle_commit, settle_waits
from stepflow.storage.redis.operations.records import Held, OneRun, Present, load, save
from stepflow.storage.redis.sagas import Act, Saga
from stepflow.storage.writes import Committed, Controlled, ControlRun, Gone, Refused, Sent
from stepflow.types import EventId, RunId


def finish(act: Act, held: Held) -> Saga[None]:
    """Perform the run's intent."""
    match held.intent:
        case None:
            return
        case CommitIntent() as intent:
            yield from follow(act, held.run.id, intent)
        case EndIntent() as intent:
            yield from perform_end(act, held.run, intent)
        case RemoveIntent():
            yield from perform_remove(act, held.run.id)
        case never:
            assert_never(never)


def follow(act: Act, run_id: RunId, intent: CommitIntent) -> Saga[Committed]:
    """The rest of a commit, in an order that lets a commit see itself: children and events, waits, cancels, transition."""
    failpoint("outbox.before_apply")
    for new in intent.creates:
        yield from place(act, new)
    woken: list[RunId] = []
    for number, event in enumerate(intent.sends):
        outcome = yield from send(act, event, origin=f"{run_id}@{intent.born}.{intent.seq}.{number}")
        if isinstance(outcome, Sent):
            woken += outcome.woken
    ready = yield from look(
        act, run_id, intent.waits, registers={wait.event_id: intent.seq for wait in intent.waits}
    )
    if intent.cancels and (intent.waits or intent.unwaits):
        yield from _rewait(act, run_id, intent)
    for other in intent.cancels:
        if other != run_id:
            woken += yield from cancel(act, other)
    failpoint("outbox.after_apply")
    committed, concerned = yield from _close(act, run_id, intent, ready)
    return Committed(
        events_ready=committed.events_ready,
        woken=tuple(dict.fromkeys((*woken, *committed.woken, *concerned))),
    )


def _rewait(act: Act, run_id: RunId, intent: CommitIntent) -> Saga[None]:
    """The commit's waits in its run's records, before what it cancels may tell the run something."""
    while True:
        held = yield from load(act, run_id)
        if held is None or held.intent_text != write_intent(intent):
            return
        one = OneRun(held)
        settle_waits(one, intent)
        if (yield from save(act, one, keeps_intent=True)):
            return


def _close(
    act: Act, run_id: RunId, intent: CommitIntent, ready: Present
) -> Saga[tuple[Committed, tuple[RunId, ...]]]:
    """The commit's transition, in the run's slot, and its intent goes with it."""
    while True:
        held = yield from load(act, run_id)
        if held is None or held.intent_text != write_intent(intent):
            return Committed(events_ready=any(ready.values())), ()  # somebody else came to this point first
        one = OneRun(held)
        work = Work(one, act.now)
        committed = yield from settle_commit(act, work, one, intent, ready)
        ending = end_intent(one, held.children)
        if not (yield from save(act, one, ending)):
            continue
        act.noted(work)
        yield from unwait(act, run_id, {**one.dropped, **dict.fromkeys(_left(intent, one))}, one.seq)
        if ending is None:
            return committed, ()
        return committed, (yield from perform_end(act, one.run, ending))


def control_run(act: Act, write: ControlRun) -> Saga[Controlled | Refused | Gone]:
    """An operation on a run, once nothing is left to be done of what came before."""
    while True:
        outcome = yield from change(act, write.run_id, write.action)
        if not isinstance(outcome, Blocked):
            if isinstance(outcome, Controlled):
                act.changed.add(write.run_id)
            return outcome
        yield from finish(act, outcome.held)


def sweep(act: Act, here: Partition, name: str) -> Saga[None]:
    """Perform what is pending in a partition under that name: a run's intent, or the waking of runs."""
    if not name.startswith(WAKES):
        held = yield from load(act, name)
        if held is None or held.intent is None:
            yield [command(here.tag, "ZREM", here.pending, name)]
        else:
            yield from finish(act, held)
        return
    [text] = yield [command(here.tag, "HGET", here.outbox, name)]
    if text is None:
        yield [command(here.tag, "ZREM", here.pending, name)]
    else:
        yield from perform_wake(act, read_wake(text))


def _left(intent: CommitIntent, one: OneRun) -> list[EventId]:
    """What the commit does not wait for any more; its records may have said so before."""
    return [event_id for event_id in intent.unwaits if event_id not in one.kept]
