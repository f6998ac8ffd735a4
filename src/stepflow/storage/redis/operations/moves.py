"""Moves: what a commit does to its own run, and what it leaves to be done elsewhere."""

from __future__ import annotations

from stepflow.storage._rules.journal import follow_up
from stepflow.storage._rules.records import Work
from stepflow.storage.redis.intents import CommitIntent, Intent, intent_of
from stepflow.storage.redis.operations.control import end_intent
from stepflow.storage.redis.operations.events import look
from stepflow.storage.redis.operations.records import OneRun, Present
from stepflow.storage.redis.sagas import Act, Saga
from stepflow.storage.writes import CommitRun, Committed, Suspend


def advance(
    act: Act, work: Work, one: OneRun, write: CommitRun, *, children: int
) -> Saga[tuple[Committed, Intent | None]]:
    """Apply the commit, whose row is appended, to its run's records.

    A commit that creates, sends or cancels does so after it is durable: then the answer is not final and the intent is a
    ``CommitIntent``. Waits are registered in their events' slots *before* the run's records say so: an event that comes
    meanwhile gives the run a new revision, and this is done again.
    """
    if write.creates or write.sends or write.cancels:
        row = CommitRun(
            run_id=write.run_id,
            seq=write.seq,
            writer=write.writer,
            write_id=write.write_id,
            entries=write.entries,
            attempt=write.attempt,
        )
        follow_up(work, one.run, row)
        return Committed(), intent_of(write, one.run.created_pos)
    asked = list(write.waits)
    if isinstance(write.transition, Suspend):
        asked += [wait for event_id, wait in one.kept.items() if event_id not in write.unwaits]
    one.present = yield from look(
        act, write.run_id, asked, registers={wait.event_id: write.seq for wait in write.waits}
    )
    committed = follow_up(work, one.run, write)
    return committed, end_intent(one, children)


def settle_commit(act: Act, work: Work, one: OneRun, intent: CommitIntent, ready: Present) -> Saga[Committed]:
    """Apply the waits and the transition of a commit that has done everything else; ``ready``: what its waits found."""
    write = CommitRun(
        run_id=one.run.id,
        seq=intent.seq,
        writer="",
        write_id="",
        entries=(),
        waits=intent.waits,
        unwaits=intent.unwaits,
        transition=intent.transition,
    )
    one.present = ready
    if isinstance(write.transition, Suspend):
        kept = [wait for event_id, wait in one.kept.items() if event_id not in write.unwaits]
        one.present = yield from look(act, one.run.id, (*kept, *write.waits))
    return follow_up(work, one.run, write)


def settle_waits(one: OneRun, intent: CommitIntent) -> None:
    """Apply the waits alone, so that what the commit cancels finds them."""
    one.drop_waits(one.run.id, intent.unwaits)
    for wait in intent.waits:
        one.set_wait(one.run.id, wait)
