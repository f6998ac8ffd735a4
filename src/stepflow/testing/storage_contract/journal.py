"""The journal: one row a commit, the next seq or nothing; and what a commit does beside its row."""

from __future__ import annotations

from datetime import timedelta

import pytest

from stepflow.model.events import Wait
from stepflow.model.failures import Failure
from stepflow.model.journal import (
    AttemptFailed,
    AttemptStarted,
    CancelRequested,
    ChildEnded,
    ChildStarted,
    Continued,
    Ended,
    EventReceived,
    EventSent,
    EventTimedOut,
    Paused,
    Resumed,
    RunAttemptFailed,
    RunTimedOut,
    StepCompleted,
    StepFailed,
    StepIntended,
    StepInterrupted,
    Suspended,
    TimerFired,
)
from stepflow.model.states import PauseReason, RunStatus
from stepflow.storage.base import Storage
from stepflow.storage.writes import (
    Committed,
    Complete,
    Fenced,
    Gone,
    Release,
    Suspend,
)
from stepflow.testing.storage_contract.building import (
    SECOND,
    T0,
    a_child,
    an_event,
    arrive_at,
    commit,
    get,
    running,
    suspended,
    value,
    write,
    write_one,
)
from stepflow.testing.storage_contract.running import Contract

_KEY = "audit/charge:2"


class JournalContract(Contract):
    """The fence."""

    async def test_a_plain_commit_appends_one_row_and_changes_nothing_else(self, storage: Storage) -> None:
        await running(storage)
        before = await get(storage)

        await write_one(storage, commit(seq=2), Committed, now=T0 + SECOND)

        after = await get(storage)
        assert (before.seq, after.seq) == (1, 2)
        assert {
            name for name in before.__struct_fields__ if getattr(before, name) != getattr(after, name)
        } == {"seq"}

    async def test_every_kind_of_entry_is_read_back_as_it_was_written(self, storage: Storage) -> None:
        await running(storage)
        failure = Failure(
            type="shop.Declined",
            message="no\0money ü",
            traceback="…",
            rebuilt=True,
            allowed=True,
            args=value("[1]"),
        )
        at = T0 + timedelta(microseconds=1)
        wait = Wait(event_id="paid", after=3, name="paid", until=at)
        entries = (
            AttemptStarted(at=at, attempt=2),
            RunAttemptFailed(at=at, attempt=1, failure=failure, retry_at=at),
            Continued(at=at, input=value("1", "gzip+json"), generation=2, cursors={"paid": 7}),
            CancelRequested(at=at),
            RunTimedOut(at=at),
            Suspended(at=at, wake_at=at, waits=(wait,)),
            Paused(at=at, reason=PauseReason.POISONED, detail="ü"),
            Resumed(at=at),
            Ended(at=at, status=RunStatus.FAILED, left_over=("a", "b")),
            StepCompleted(
                at=at, key=_KEY, function="m.f", value=value('{"a" :  1}'), attempts=3, started_at=at
            ),
            StepFailed(at=at, key=_KEY, function="m.f", failure=failure, attempts=2),
            AttemptFailed(at=at, key=_KEY, function="m.f", attempt=1, failure=failure, retry_at=at),
            StepIntended(at=at, key=_KEY, function="m.f"),
            StepInterrupted(at=at, key=_KEY, function="m.f"),
            TimerFired(at=at, key=_KEY, delay=5, sleep=True),
            EventReceived(at=at, key=_KEY, event_id="paid", pos=2**60, payload=value("null")),
            EventTimedOut(at=at, key=_KEY, event_id="paid"),
            EventSent(at=at, key=_KEY, event_id="paid"),
            ChildStarted(at=at, key=_KEY, child_id="c1", workflow_id="w", detached=True),
            ChildEnded(
                at=at,
                key=_KEY,
                child_id="c1",
                workflow_id="w",
                pos=4,
                status=RunStatus.FAILED,
                failure=failure,
            ),
        )

        await write_one(storage, commit(seq=2, entries=entries, write_id="x/ü"), Committed)

        (row,) = await storage.read_journal("r1", after=1)
        assert row.entries == entries
        assert (row.run_id, row.seq, row.writer, row.write_id) == ("r1", 2, "w1", "x/ü")

    async def test_rows_are_read_in_order_from_any_place(self, storage: Storage) -> None:
        await running(storage)
        await write(storage, *(commit(seq=seq) for seq in range(2, 13)))

        assert [row.seq for row in await storage.read_journal("r1")] == list(range(1, 13))
        assert [row.seq for row in await storage.read_journal("r1", after=9)] == [10, 11, 12]
        assert [row.seq for row in await storage.read_journal("r1", after=2, limit=3)] == [3, 4, 5]
        assert await storage.read_journal("r1", after=12) == []
        assert await storage.read_journal("r1", limit=0) == []

    async def test_two_commits_of_one_run_may_share_a_batch(self, storage: Storage) -> None:
        await running(storage)

        outcomes = await write(storage, commit(seq=2), commit(seq=3), commit(seq=3, write_id="no"))

        assert [type(outcome) for outcome in outcomes] == [Committed, Committed, Fenced]

    async def test_a_gap_is_fenced(self, storage: Storage) -> None:
        await running(storage)

        await write_one(storage, commit(seq=3), Fenced)
        assert (await get(storage)).seq == 1

    async def test_a_place_that_is_taken_is_fenced(self, storage: Storage) -> None:
        await running(storage)
        await write(storage, commit(seq=2))

        await write_one(storage, commit(seq=2, worker="w2"), Fenced)
        await write_one(storage, commit(seq=2, write_id="another"), Fenced)
        await write_one(storage, commit(seq=2, worker="w2", write_id="w1/r1/2"), Fenced)

    async def test_the_same_commit_again_is_committed_once(self, storage: Storage) -> None:
        await running(storage)
        await write_one(storage, commit(seq=2), Committed)

        await write_one(storage, commit(seq=2), Committed)
        outcomes = await write(storage, commit(seq=3), commit(seq=3))

        assert [type(outcome) for outcome in outcomes] == [Committed, Committed]
        assert [row.seq for row in await storage.read_journal("r1")] == [1, 2, 3]

    async def test_a_commit_of_a_run_that_is_gone_says_so(self, storage: Storage) -> None:
        await write_one(storage, commit("never", 2), Gone)
        await write_one(storage, commit("never", 1, transition=Release()), Gone)

    async def test_only_the_owner_commits(self, storage: Storage) -> None:
        await running(storage)

        await write_one(storage, commit(seq=2, worker="w2"), Fenced)

    @pytest.mark.parametrize("status", [status for status in RunStatus if status is not RunStatus.RUNNING])
    async def test_a_run_that_is_not_running_takes_no_commit_even_at_the_next_seq(
        self, storage: Storage, status: RunStatus
    ) -> None:
        await arrive_at(storage, status)
        before = await get(storage)

        await write_one(storage, commit(seq=before.seq + 1), Fenced)
        await write_one(storage, commit(seq=before.seq + 1, transition=Complete(output=value())), Fenced)

        assert await get(storage) == before

    async def test_a_fenced_commit_does_nothing_at_all(self, storage: Storage) -> None:
        await running(storage)
        await suspended(storage, "waiter", waits=[Wait(event_id="paid", after=0)])
        await running(storage, "victim")
        before = await get(storage)

        everything = commit(
            seq=9,
            transition=Complete(output=value("1")),
            creates=(a_child("c1", "r1"),),
            sends=(an_event("paid"),),
            waits=(Wait(event_id="x", after=0),),
            cancels=("victim",),
            attempt=5,
        )
        await write_one(storage, everything, Fenced)

        assert await get(storage) == before
        assert await storage.get_run("c1") is None
        assert (await get(storage, "waiter")).status is RunStatus.SUSPENDED
        assert not (await get(storage, "victim")).cancel_requested
        assert await storage.read_events([("r1", Wait(event_id="paid", after=0))]) == [[]]

    async def test_a_commit_sent_again_does_its_work_once(self, storage: Storage) -> None:
        await running(storage)
        whole = commit(seq=2, creates=(a_child("c1", "r1"),), sends=(an_event("paid"),), transition=Suspend())
        await write_one(storage, whole, Committed)

        await write_one(storage, whole, Committed)

        (events,) = await storage.read_events([("r1", Wait(event_id="paid", after=0))])
        assert len(events) == 1
        assert (await get(storage)).seq == 2
