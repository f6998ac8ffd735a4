"""The journal: a commit goes in at the next seq or not at all, and its consequences with it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from msgspec.structs import replace

from stepflow.storage._rules.records import Work
from stepflow.storage.redis.calls import Call, Script, command, evaluate_bytes
from stepflow.storage.redis.fields import read_row, write_row
from stepflow.storage.redis.intents import CommitIntent, EndIntent, Intent
from stepflow.storage.redis.keys import Keys
from stepflow.storage.redis.operations.control import perform_end
from stepflow.storage.redis.operations.creating import Placed, answer, place
from stepflow.storage.redis.operations.events import look, unwait
from stepflow.storage.redis.operations.finishing import finish, follow
from stepflow.storage.redis.operations.moves import advance
from stepflow.storage.redis.operations.records import Held, OneRun, load, recall, remember, save
from stepflow.storage.redis.sagas import Act, Saga
from stepflow.storage.writes import (
    CommitRun,
    Committed,
    Conflict,
    Created,
    CreateRun,
    Existing,
    Fenced,
    Gone,
    Suspend,
)

COMMIT: Final = Script("commit")
_TOGETHER: Final = 100
"""How many plain commits one script does: while it runs, the server does nothing else."""


# ------------------------------------------------------------------ plain commits
def plain_calls(keys: Keys, writes: Sequence[CommitRun]) -> Iterable[tuple[Call, Sequence[int]]]:
    """Calls for commits that touch only their journal, with the places of the writes that each does, in order."""
    shares: dict[bytes, list[int]] = {}
    for at, write in enumerate(writes):
        shares.setdefault(keys.of(write.run_id).tag, []).append(at)
    for places in shares.values():
        for start in range(0, len(places), _TOGETHER):
            some = places[start : start + _TOGETHER]
            yield _plain_call(keys, [writes[at] for at in some]), some


def _plain_call(keys: Keys, writes: Sequence[CommitRun]) -> Call:
    here = keys.of(writes[0].run_id)
    run, journal = here.base + b"run:", here.base + b"journal:"
    names: list[bytes] = []
    arguments: list[bytes] = []
    for write in writes:
        run_id, seq = write.run_id.encode(), write.seq
        names += (run + run_id, journal + run_id)
        arguments += (
            write.writer.encode(),
            b"%d" % (seq - 1),
            b"%d" % seq,
            write_row(write.writer, write.write_id, write.entries),
        )
    names.append(here.stats)
    return evaluate_bytes(COMMIT, here.tag, names, arguments)


# ------------------------------------------------------------------ all others
def commit(act: Act, write: CommitRun) -> Saga[Committed | Fenced | Gone]:
    """Append the owner's row and do the rest, if the run still is the writer's."""
    recalled = recall(act, write.run_id, write.writer, write.seq - 1)
    while True:
        held, recalled = recalled or (yield from load(act, write.run_id)), None
        if held is None:
            return Gone()
        if held.intent is not None:
            yield from finish(act, held)
            continue
        if held.run.worker != write.writer or held.seq != write.seq - 1:
            before = yield from committed_before(act, held, write)
            return before or Fenced()
        one = OneRun(held)
        work = Work(one, act.now)
        work.changed.add(write.run_id)
        one.append(write.run_id, write.seq, write.writer, write.write_id, write.entries)
        committed, intent = yield from advance(act, work, one, write, children=held.children)
        if (yield from save(act, one, intent)):
            act.noted(work)
            if intent is None:
                remember(act, one)
            return (yield from _rest(act, one, committed, intent))


def start(act: Act, write: CreateRun) -> Saga[Created | Existing | Conflict]:
    """A new run, with its first commit if it is claimed at once."""
    placed = yield from place(act, write.run, write.commit)
    if isinstance(placed, Placed):
        run = placed.one.run
        committed = placed.committed
        if committed is not None:
            committed = yield from _rest(act, placed.one, committed, placed.intent)
        return Created(run_id=run.id, created_pos=run.created_pos, committed=committed)
    taken = answer(placed, write.run)
    if isinstance(taken, Existing) and write.commit is not None:
        held: Held | None = placed
        if placed.intent is not None:
            yield from finish(act, placed)
            held = yield from load(act, placed.run.id)
        before = None if held is None else (yield from committed_before(act, held, write.commit))
        if before is not None:
            return Created(run_id=taken.run.id, created_pos=taken.run.created_pos, committed=before)
    return taken


def committed_before(act: Act, held: Held, write: CommitRun) -> Saga[Committed | None]:
    """The answer to a commit that is sent again: its row is there. ``events_ready`` is looked up afresh."""
    here = act.keys.of(write.run_id)
    index = write.seq - held.run.first_seq
    if index < 0 or held.run.id != write.run_id:
        return None
    [found] = yield [command(here.tag, "LINDEX", here.journal(write.run_id), index)]
    if found is None:
        return None
    row = read_row(write.run_id, write.seq, found)
    if (row.writer, row.write_id) != (write.writer, write.write_id):
        return None
    asked = held.waits if isinstance(write.transition, Suspend) else [wait.event_id for wait in write.waits]
    present = yield from look(
        act, write.run_id, [held.waits[event_id] for event_id in asked if event_id in held.waits]
    )
    return Committed(events_ready=any(present.values()))


def _rest(act: Act, one: OneRun, committed: Committed, intent: Intent | None) -> Saga[Committed]:
    """What a commit does after it is durable in its run's slot."""
    yield from unwait(act, one.run.id, one.dropped, one.seq)
    if isinstance(intent, CommitIntent):
        return (yield from follow(act, one.run.id, intent))
    if isinstance(intent, EndIntent):
        woken = yield from perform_end(act, one.run, intent)
        return replace(committed, woken=tuple(dict.fromkeys(committed.woken + woken)))
    return committed
