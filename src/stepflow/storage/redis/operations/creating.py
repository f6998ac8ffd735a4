"""Creating: a run is there once, whoever asks for it and however often, under one id and one idempotency key."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from stepflow.model.runs import NewRun
from stepflow.model.states import RunStatus
from stepflow.storage._rules.records import Work, fingerprint, state_of
from stepflow.storage.redis.calls import Call, command, evaluate, on_store
from stepflow.storage.redis.fields import encode
from stepflow.storage.redis.intents import Intent
from stepflow.storage.redis.operations.control import RESERVE, Reservation, read_reservation
from stepflow.storage.redis.operations.moves import advance
from stepflow.storage.redis.operations.records import Held, OneRun, load, remember, save
from stepflow.storage.redis.sagas import Act, Saga
from stepflow.storage.writes import CommitRun, Committed, Conflict, Existing
from stepflow.types import RunId

_NEW = msgspec.json.Decoder(NewRun)


class Placed(NamedTuple):
    """The run is there now. ``intent`` is what its first commit still has to do."""

    one: OneRun
    committed: Committed | None
    intent: Intent | None


def answer(held: Held, new: NewRun) -> Existing | Conflict:
    """What to say to a create whose id or key is taken."""
    run = held.run
    if run.workflow_id != new.workflow_id:
        return Conflict(run=held.record(), reason=f"the workflow {run.workflow_id!r}")
    if run.fingerprint != fingerprint(new.input):
        return Conflict(run=held.record(), reason="another input")
    return Existing(run=held.record())


def place(act: Act, new: NewRun, first: CommitRun | None = None) -> Saga[Placed | Held]:
    """Create the run unless its id or key is taken; then the run that has it.

    ``first`` is the run's first commit, by a worker that owns it from the start.
    """
    while True:
        held = yield from load(act, new.id)
        if held is not None:
            return held
        reserved = ""
        if new.idempotency_key is not None:
            other = yield from _reserve(act, new, new.idempotency_key)
            if isinstance(other, Held):
                return other
            reserved = other
        placed = yield from _insert(act, new, first)
        if placed is None:
            continue
        if new.idempotency_key is not None and reserved:
            yield [_reserve_call(act, new.idempotency_key, reserved, _owned(new.id))]
        return placed


def _insert(act: Act, new: NewRun, first: CommitRun | None) -> Saga[Placed | None]:
    """The run's records, if nobody else has made them meanwhile."""
    calls = [on_store("INCR", act.keys.pos)]
    parent = new.parent
    if parent is not None and not parent.detached:
        # Before the run is there: a parent that ends finds every child. One that never comes to be is no harm.
        there = act.keys.of(parent.run_id)
        calls.append(command(there.tag, "SADD", there.children_of(parent.run_id), new.id))
    replies = yield calls
    one = OneRun(None, state_of(new, created_pos=replies[0]))
    work = Work(one, act.now)
    committed: Committed | None = None
    intent: Intent | None = None
    if first is None:
        work.ready.add(new.queue)
    else:
        run = one.run
        run.status = RunStatus.RUNNING
        run.due_at = None
        run.worker = first.writer
        run.started_at = first.entries[0].at
        one.append(run.id, first.seq, first.writer, first.write_id, first.entries)
        # Children may be there already, of a parent that was there before: whether they are is seen at the end.
        committed, intent = yield from advance(act, work, one, first, children=1)
    if not (yield from save(act, one, intent)):
        return None
    act.noted(work)
    if intent is None:
        remember(act, one)
    return Placed(one, committed, intent)


# ------------------------------------------------------------------ idempotency keys
def find_by_key(act: Act, key: str) -> Saga[Held | None]:
    here = act.keys.of(key)
    [value] = yield [command(here.tag, "GET", here.key(key))]
    if value is None:
        return None
    held = yield from load(act, read_reservation(value).run)
    return held if held is not None and held.run.idempotency_key == key else None


def _reserve(act: Act, new: NewRun, key: str) -> Saga[Held | str]:
    """Make the key the new run's; else the run that has it. A reservation says which run is to be, so that anybody can make it."""
    wanted = encode(Reservation(new.id, encode(new).decode())).decode()
    here = act.keys.of(key)
    while True:
        [value] = yield [command(here.tag, "GET", here.key(key))]
        was = "" if value is None else value.decode()
        if value is not None:
            reservation = read_reservation(value)
            if reservation.run == new.id and reservation.new:
                return was
            held = yield from load(act, reservation.run)
            if held is not None and held.run.idempotency_key == key:
                return held
            if held is None and reservation.new:
                # Somebody reserved the key and did not get to create the run, or is about to: it is that one's.
                yield from _insert(act, _NEW.decode(reservation.new), None)
                yield [_reserve_call(act, key, was, _owned(reservation.run))]
                continue
        [done] = yield [_reserve_call(act, key, was, wanted)]
        if done == 1:
            return wanted


def _reserve_call(act: Act, key: str, was: str, value: str) -> Call:
    here = act.keys.of(key)
    return evaluate(RESERVE, here.tag, (here.key(key),), {"was": was, "value": value})


def _owned(run_id: RunId) -> str:
    return encode(Reservation(run_id)).decode()
