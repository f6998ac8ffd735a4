"""Events: appended in the slot of their id; the runs that wait are woken in theirs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from stepflow.model.children import child_event_id, ended_payload
from stepflow.model.events import Event, NewEvent, Wait
from stepflow.model.states import RunStatus
from stepflow.storage._rules.events import queue
from stepflow.storage._rules.records import RunState, Work
from stepflow.storage.redis.calls import Call, Script, command, evaluate, on_store, unpacked
from stepflow.storage.redis.fields import StoredEvent, encode, micros, read_event
from stepflow.storage.redis.intents import WakeIntent, write_intent
from stepflow.storage.redis.keys import Keys
from stepflow.storage.redis.operations.records import Held, OneRun, Present, load_many, save_call
from stepflow.storage.redis.sagas import Act, Saga
from stepflow.storage.writes import Duplicate, Sent, Undeliverable
from stepflow.types import EventId, RunId

APPEND: Final = Script("append")
WAIT: Final = Script("wait")
UNWAIT: Final = Script("unwait")
ADDRESS: Final = Script("address")
_EVER: Final = 2**53
"""A seq after every other."""

WAKES: Final = "wake/"
"""What is pending under such a name is to wake the runs that wait for an event."""


# ------------------------------------------------------------------ sending
def send(act: Act, new: NewEvent, *, origin: str = "") -> Saga[Sent | Duplicate | Undeliverable]:
    """Append the event unless it was there already or can't reach anyone, and wake who waits.

    ``origin`` names the write that the event is a part of: sent again with the same one, it is once.
    """
    calls = [_append_call(act, new, origin, pos=None)]
    if new.run_id is not None:
        calls.append(_address_call(act, new.run_id, new.event_id))
    replies = yield calls
    found = unpacked(replies[0])
    if found[0] == "free" and new.run_id is not None:
        status = replies[1].decode()
        if not status:
            return Undeliverable(run_id=new.run_id)
        if RunStatus(status).ended:
            return Undeliverable(run_id=new.run_id, status=RunStatus(status))
    while found[0] in ("free", "late"):
        [pos] = yield [on_store("INCR", act.keys.pos)]
        [reply] = yield [_append_call(act, new, origin, pos=pos)]
        found = unpacked(reply)
        if found[0] == "sent":
            woken = yield from _tell(
                act, WakeIntent(event_id=new.event_id, pos=pos, run_id=new.run_id), found[1]
            )
            return Sent(pos=pos, woken=woken)
    if found[0] == "lost":
        there = read_event(found[1])
    else:
        there = yield from _pointed(act, new.event_id, found[1])
    woken = yield from _woken_before(act, there, always=found[0] == "again")
    if found[0] == "again":
        return Sent(pos=there.pos, woken=woken)
    return Duplicate(event=there.event(), once_lost=found[0] == "lost")


def _woken_before(act: Act, there: StoredEvent, *, always: bool) -> Saga[tuple[RunId, ...]]:
    """Whoever sent the event may not have come to wake the runs that wait: then do it. Returns who is woken."""
    here = act.keys.of(there.event_id)
    wake = WakeIntent(event_id=there.event_id, pos=there.pos, run_id=there.run_id)
    if not always:
        [left] = yield [command(here.tag, "HEXISTS", here.outbox, f"{WAKES}{there.pos}")]
        if not left:
            return ()
    return (yield from perform_wake(act, wake))


def tell_parent(act: Act, child: RunState, seq: int) -> Saga[tuple[RunId, ...]]:
    """Send the parent of an attached child its end, if the parent is there to hear it."""
    parent = child.parent
    if parent is None or parent.detached:
        return ()
    payload = ended_payload(child.status, child.output, child.failure)
    told = NewEvent(event_id=child_event_id(child.id), payload=payload, run_id=parent.run_id)
    outcome = yield from send(act, told, origin=f"{child.id}@{child.created_pos}.{seq}")
    return outcome.woken if isinstance(outcome, Sent) else ()


def _append_call(act: Act, new: NewEvent, origin: str, *, pos: int | None) -> Call:
    here = act.keys.of(new.event_id)
    event = StoredEvent(
        pos=pos or 0,
        at=micros(act.now),
        event_id=new.event_id,
        run_id=new.run_id,
        dedup_id=new.dedup_id,
        origin=origin or None,
        payload=new.payload,
    )
    wake = WakeIntent(event_id=new.event_id, pos=event.pos, run_id=new.run_id)
    return evaluate(
        APPEND,
        here.tag,
        (
            here.log(new.event_id, new.run_id),
            here.known(new.event_id),
            here.waiting(new.event_id),
            here.events,
            here.outbox,
            here.pending,
            here.stats,
        ),
        {
            "pos": "" if pos is None else str(pos),
            "origin": origin,
            "dedup": "" if new.dedup_id is None else f"d{new.dedup_id}",
            "once": new.once,
            "run": new.run_id or "",
            "event": "" if pos is None else encode(event).decode(),
            "at": str(event.at),
            "place": event.place,
            "pointer": f"{event.pos}|{new.run_id or ''}",
            "wake": f"{WAKES}{event.pos}",
            "intent": write_intent(wake),
        },
    )


def _address_call(act: Act, run_id: RunId, event_id: EventId) -> Call:
    here = act.keys.of(run_id)
    return evaluate(ADDRESS, here.tag, (here.run(run_id), here.addressed(run_id)), {"event": event_id})


def _pointed(act: Act, event_id: EventId, pointer: str) -> Saga[StoredEvent]:
    """The event that is known under a ``dedup_id`` or an origin."""
    pos, _, run_id = pointer.partition("|")
    here = act.keys.of(event_id)
    [found] = yield [command(here.tag, "ZRANGEBYSCORE", here.log(event_id, run_id or None), pos, pos)]
    return read_event(found[0])


# ------------------------------------------------------------------ waking
def perform_wake(act: Act, wake: WakeIntent) -> Saga[tuple[RunId, ...]]:
    """Wake whoever waits for the event now, also when that was done before."""
    here = act.keys.of(wake.event_id)
    [found] = yield [command(here.tag, "HKEYS", here.waiting(wake.event_id))]
    who = [run_id.decode() for run_id in found]
    if wake.run_id is not None:
        who = [run_id for run_id in who if run_id == wake.run_id]
    return (yield from _tell(act, wake, who, left=True))


def _tell(act: Act, wake: WakeIntent, who: Sequence[RunId], *, left: bool = False) -> Saga[tuple[RunId, ...]]:
    """Queue the suspended runs that wait for the event; name them and the running ones. ``left``: clear up in any case."""
    woken: list[RunId] = []
    asked = sorted(who)
    while asked:
        held = yield from load_many(act, asked)
        calls = [_wake_call(act, wake, run_id, run) for run_id, run in zip(asked, held, strict=True)]
        replies = yield [call for call, _ in calls]
        again: list[RunId] = []
        for run_id, (_, wakes), reply in zip(asked, calls, replies, strict=True):
            if reply != 1:
                again.append(run_id)
            elif wakes:
                woken.append(run_id)
        asked = again
    if who or left:
        here, name = act.keys.of(wake.event_id), f"{WAKES}{wake.pos}"
        yield [command(here.tag, "HDEL", here.outbox, name), command(here.tag, "ZREM", here.pending, name)]
    act.changed.update(woken)
    return tuple(sorted(woken))


def _wake_call(act: Act, wake: WakeIntent, run_id: RunId, held: Held | None) -> tuple[Call, bool]:
    """What an event does to one run that may wait for it, and whether that wakes it."""
    if held is None:
        return unwait_call(act.keys, run_id, wake.event_id, _EVER), False
    wait = held.waits.get(wake.event_id)
    waits = wait is not None and wait.after < wake.pos
    one = OneRun(held)
    if held.run.status is RunStatus.SUSPENDED and waits:
        work = Work(one, act.now)
        queue(work, one.run)
        act.noted(work)
        return save_call(act, one, None, keeps_intent=True), True
    if held.run.status is RunStatus.RUNNING:
        # Its owner may be about to suspend it, and have looked for events just before this one came: the run's new
        # revision makes the owner look again. That is the wake-pending flag.
        return save_call(act, one, None, keeps_intent=True), waits
    # Registered by a commit that is not there yet, it stays; left over from one long done, it goes.
    return unwait_call(act.keys, run_id, wake.event_id, held.seq if wait is None else 0), False


# ------------------------------------------------------------------ waiting
def look(
    act: Act, run_id: RunId, waits: Iterable[Wait], *, registers: Mapping[EventId, int] | None = None
) -> Saga[Present]:
    """For each wait, whether an event is there; those in ``registers`` are registered in the same breath."""
    asked = list(waits)
    if not asked:
        return {}
    seqs = registers or {}
    replies = yield [_wait_call(act.keys, run_id, wait, seqs.get(wait.event_id)) for wait in asked]
    return {(wait.event_id, wait.after): reply == 1 for wait, reply in zip(asked, replies, strict=True)}


def unwait(act: Act, run_id: RunId, event_ids: Iterable[EventId], seq: int) -> Saga[None]:
    """The run does not wait any more for these, as of that commit."""
    calls = [unwait_call(act.keys, run_id, event_id, seq) for event_id in event_ids]
    if calls:
        yield calls


def unwait_call(keys: Keys, run_id: RunId, event_id: EventId, seq: int) -> Call:
    here = keys.of(event_id)
    return evaluate(UNWAIT, here.tag, (here.waiting(event_id),), {"run": run_id, "seq": str(seq)})


def _wait_call(keys: Keys, run_id: RunId, wait: Wait, seq: int | None) -> Call:
    here, event_id = keys.of(wait.event_id), wait.event_id
    return evaluate(
        WAIT,
        here.tag,
        (here.waiting(event_id), here.log(event_id, None), here.log(event_id, run_id)),
        {"run": run_id, "after": str(wait.after), "seq": "" if seq is None else str(seq)},
    )


# ------------------------------------------------------------------ reading
def eligible(keys: Keys, waits: Sequence[tuple[RunId, Wait]], limit: int) -> Saga[list[list[Event]]]:
    """For each wait, its events by position: those for all and those for its run."""
    calls: list[Call] = []
    for run_id, wait in waits:
        here = keys.of(wait.event_id)
        for log in (here.log(wait.event_id, None), here.log(wait.event_id, run_id)):
            calls.append(command(here.tag, "ZRANGEBYSCORE", log, f"({wait.after}", "+inf", "LIMIT", 0, limit))
    if not calls:
        return []
    replies = yield calls
    return [
        sorted((read_event(text).event() for text in (*replies[at], *replies[at + 1])), key=_pos)[:limit]
        for at in range(0, len(calls), 2)
    ]


def _pos(event: Event) -> Any:
    return event.pos
