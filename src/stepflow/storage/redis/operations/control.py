"""Control: what may be asked of a run from outside, how an end reaches parent and children, how a run goes."""

from __future__ import annotations

from typing import Final, NamedTuple

import msgspec

from stepflow.model.states import RunStatus
from stepflow.model.transitions import Action, Already, Refuse, decide
from stepflow.storage._rules.records import RunState, Work
from stepflow.storage._rules.runs import control
from stepflow.storage.redis.calls import Script, command, evaluate
from stepflow.storage.redis.fields import lane_of, place_of, read_event
from stepflow.storage.redis.intents import EndIntent, Intent, RemoveIntent, write_intent
from stepflow.storage.redis.operations.events import tell_parent, unwait
from stepflow.storage.redis.operations.records import Held, OneRun, load, save, settle
from stepflow.storage.redis.sagas import Act, Saga
from stepflow.storage.writes import Controlled, Gone, Refused
from stepflow.types import RunId

FORGET: Final = Script("forget")
REMOVE: Final = Script("remove")
RESERVE: Final = Script("reserve")
_REQUESTS: Final = frozenset({Action.CANCEL, Action.PAUSE, Action.RESUME})


class Blocked(NamedTuple):
    """The run has an intent that must be performed first."""

    held: Held


class Reservation(msgspec.Struct, frozen=True, omit_defaults=True):
    """Whose an idempotency key is. ``new`` is the run (as JSON) until it is known to be there."""

    run: RunId
    new: str = ""


_RESERVATION: Final = msgspec.json.Decoder(Reservation)


def read_reservation(value: bytes) -> Reservation:
    return _RESERVATION.decode(value)


# ------------------------------------------------------------------ asking
def change(
    act: Act, run_id: RunId, action: Action, *, parent: RunId | None = None
) -> Saga[Controlled | Refused | Gone | Blocked]:
    """Do what the table of states says, or ask the run's owner to. ``parent``: only to an attached child of that run."""
    while True:
        held = yield from load(act, run_id)
        if held is None:
            return Gone()
        run = held.run
        if parent is not None and not _is_child(run, parent):
            return Refused(run_id=run_id, status=run.status, reason="it is not its child")
        if held.intent is not None and not _commutes(run, action):
            return Blocked(held)
        if isinstance(held.intent, EndIntent) and run_id not in act.ending:
            # Ended by somebody who did not come to tell: whoever asks now counts on those concerned having heard of it.
            yield from perform_end(act, run, held.intent)
            continue
        one, work = _work(act, held)
        outcome = control(work, run_id, action)
        if not isinstance(outcome, Controlled):
            return outcome
        intent = _left_to_do(one, held)
        if not (yield from save(act, one, intent, keeps_intent=True)):
            continue
        act.noted(work)
        yield from unwait(act, run_id, one.dropped, one.seq)
        woken = outcome.woken
        if isinstance(intent, EndIntent):
            woken += yield from perform_end(act, run, intent)
        elif isinstance(intent, RemoveIntent):
            yield from perform_remove(act, run_id)
        return Controlled(run_id=run_id, status=run.status, woken=woken)


def cancel(act: Act, run_id: RunId, *, parent: RunId | None = None) -> Saga[tuple[RunId, ...]]:
    """Ask for a cancel where it may be too late; returns the runs that this concerns."""
    outcome = yield from change(act, run_id, Action.CANCEL, parent=parent)
    return outcome.woken if isinstance(outcome, Controlled) else ()


def _work(act: Act, held: Held) -> tuple[OneRun, Work]:
    one = OneRun(held)
    return one, Work(one, act.now)


def _is_child(run: RunState, parent: RunId) -> bool:
    return run.parent is not None and not run.parent.detached and run.parent.run_id == parent


def _commutes(run: RunState, action: Action) -> bool:
    """Whether the action may be done while an intent is open: a note for the owner, or nothing at all."""
    if run.status is RunStatus.RUNNING:
        return action in _REQUESTS
    decision = decide(run.status, action, started=run.started_at is not None, pause_reason=run.pause_reason)
    return isinstance(decision, (Already, Refuse))


def _left_to_do(one: OneRun, held: Held) -> Intent | None:
    if one.removed:
        return EndIntent(seq=one.seq, erase=True) if one.ends else RemoveIntent()
    return end_intent(one, held.children)


def end_intent(one: OneRun, children: int) -> EndIntent | None:
    """What an end has to do elsewhere, if the run has ended and there is anybody to tell."""
    parent = one.run.parent
    if one.ends and (children or (parent is not None and not parent.detached)):
        return EndIntent(seq=one.seq)
    return None


# ------------------------------------------------------------------ ending
def perform_end(act: Act, run: RunState, intent: EndIntent) -> Saga[tuple[RunId, ...]]:
    """Tell an attached parent, cancel attached children; returns the runs that this concerns."""
    act.ending.add(run.id)
    woken = yield from tell_parent(act, run, intent.seq)
    here = act.keys.of(run.id)
    [found] = yield [command(here.tag, "SMEMBERS", here.children_of(run.id))]
    for child_id in sorted(child.decode() for child in found):
        woken += yield from cancel(act, child_id, parent=run.id)
    act.ending.discard(run.id)
    following = RemoveIntent() if intent.erase else None
    if (yield from settle(act, run.id, write_intent(intent), following)) and intent.erase:
        yield from perform_remove(act, run.id)
    return woken


# ------------------------------------------------------------------ going
def perform_remove(act: Act, run_id: RunId) -> Saga[None]:
    """Delete a run that is marked for it: its key, its place with its parent, the events for it, then itself."""
    held = yield from load(act, run_id)
    if held is None or not isinstance(held.intent, RemoveIntent):
        return
    run = held.run
    if run.idempotency_key is not None:
        yield from _give_up_key(act, run.idempotency_key, run_id)
    if run.parent is not None and not run.parent.detached:
        there = act.keys.of(run.parent.run_id)
        yield [command(there.tag, "SREM", there.children_of(run.parent.run_id), run_id)]
    yield from _forget_addressed(act, run_id)
    here = act.keys.of(run_id)
    lane = lane_of(run)
    yield [
        evaluate(
            REMOVE,
            here.tag,
            (
                here.run(run_id),
                here.journal(run_id),
                here.addressed(run_id),
                here.due(lane),
                *here.indexes,
            ),
            {"id": run_id, "rev": held.rev, "seq": str(held.seq), "place": place_of(run), "lane": lane},
        )
    ]


def _give_up_key(act: Act, key: str, run_id: RunId) -> Saga[None]:
    here = act.keys.of(key)
    [value] = yield [command(here.tag, "GET", here.key(key))]
    if value is not None and read_reservation(value).run == run_id:
        yield [evaluate(RESERVE, here.tag, (here.key(key),), {"was": value.decode(), "value": ""})]


def _forget_addressed(act: Act, run_id: RunId) -> Saga[None]:
    here = act.keys.of(run_id)
    [found] = yield [command(here.tag, "SMEMBERS", here.addressed(run_id))]
    event_ids = [event_id.decode() for event_id in found]
    if not event_ids:
        return
    places = [act.keys.of(event_id) for event_id in event_ids]
    logs = yield [
        command(there.tag, "ZRANGE", there.log(event_id, run_id), 0, -1)
        for there, event_id in zip(places, event_ids, strict=True)
    ]
    yield [
        evaluate(
            FORGET,
            there.tag,
            (there.log(event_id, run_id), there.known(event_id), there.events, there.stats),
            [(str(event.pos), event.place, event.fields) for event in map(read_event, log)],
        )
        for there, event_id, log in zip(places, event_ids, logs, strict=True)
    ]
