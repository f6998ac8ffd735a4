"""Claims: who gets which run, when, and what comes along."""

from __future__ import annotations

from datetime import timedelta

from stepflow.model.events import Wait
from stepflow.model.journal import Claimed
from stepflow.model.runs import RunRecord
from stepflow.model.states import RunStatus
from stepflow.storage.base import Storage
from stepflow.storage.writes import (
    Committed,
    Continue,
    Created,
    Release,
    Suspend,
)
from stepflow.testing.storage_contract.building import (
    LEASE,
    SECOND,
    T0,
    a_run,
    a_step,
    a_worker,
    claim,
    claimed_ids,
    commit,
    create,
    ended,
    get,
    paused,
    running,
    send,
    start,
    suspended,
    two_workers,
    value,
    write,
    write_one,
)
from stepflow.testing.storage_contract.running import Contract


class ClaimsContract(Contract):
    """Choosing and taking runs."""

    async def test_a_claimed_run_belongs_to_its_worker(self, storage: Storage) -> None:
        await storage.register_worker(a_worker())
        await write(storage, create())

        (taken,) = await claim(storage, now=T0 + SECOND)

        run = await get(storage)
        assert taken.run == run
        assert (run.status, run.worker, run.due_at, run.seq) == (RunStatus.RUNNING, "w1", None, 1)
        assert run.started_at == T0 + SECOND
        assert (taken.complete, taken.takeover, taken.events) == (True, False, ())
        assert list(taken.rows) == list(await storage.read_journal("r1"))
        (entry,) = taken.rows[0].entries
        assert isinstance(entry, Claimed)
        assert (entry.at, entry.worker, entry.takeover) == (T0 + SECOND, "w1", False)
        assert entry.python.startswith("3.")
        assert taken.rows[0].writer == "w1"

    async def test_the_new_owner_goes_on_at_the_next_seq(self, storage: Storage) -> None:
        await storage.register_worker(a_worker())
        await write(storage, create())
        (taken,) = await claim(storage)

        await write_one(storage, commit(seq=taken.run.seq + 1), Committed)

    async def test_a_worker_that_is_not_registered_gets_nothing(self, storage: Storage) -> None:
        await write(storage, create())

        assert await claimed_ids(storage) == []
        assert (await get(storage)).status is RunStatus.QUEUED

    async def test_a_run_is_claimed_once(self, storage: Storage) -> None:
        first, second = await two_workers(storage)
        await write(storage, create("r1"), create("r2"))

        assert await claimed_ids(storage, first, limit=1) == ["r1"]
        assert await claimed_ids(storage, second) == ["r2"]
        assert await claimed_ids(storage, first) == []

    async def test_a_delayed_run_waits_for_its_instant(self, storage: Storage) -> None:
        await storage.register_worker(a_worker())
        await write(storage, create(due_at=T0 + SECOND))

        assert await claimed_ids(storage, now=T0 + SECOND - timedelta(microseconds=1)) == []
        assert await claimed_ids(storage, now=T0 + SECOND) == ["r1"]

    async def test_higher_priority_goes_first_and_then_the_longer_due(self, storage: Storage) -> None:
        await storage.register_worker(a_worker())
        await write(
            storage,
            create("low", priority=-1, due_at=T0 - 9 * SECOND),
            create("late"),
            create("early", due_at=T0 - SECOND),
            create("high", priority=5),
            create("high-future", priority=9, due_at=T0 + SECOND),
            create("later"),
        )

        assert await claimed_ids(storage) == ["high", "early", "late", "later", "low"]

    async def test_priority_counts_across_queues(self, storage: Storage) -> None:
        await storage.register_worker(a_worker())
        await write(
            storage, create("a1", queue="a"), create("b1", queue="b", priority=1), create("a2", queue="a")
        )

        assert await claimed_ids(storage, queues={"a": 9, "b": 9}, limit=2) == ["b1", "a1"]

    async def test_a_long_backlog_does_not_hide_an_urgent_run(self, storage: Storage) -> None:
        await storage.register_worker(a_worker())
        await write(storage, *(create(f"b{n:04}", due_at=T0 - SECOND) for n in range(1_000)))
        await write(storage, create("urgent", priority=1))

        assert await claimed_ids(storage, limit=2) == ["urgent", "b0000"]

    async def test_no_queue_gives_more_than_it_has_room_for(self, storage: Storage) -> None:
        await storage.register_worker(a_worker())
        await write(storage, *(create(f"{queue}{n}", queue=queue) for n in range(3) for queue in "abc"))

        got = await claimed_ids(storage, queues={"a": 2, "b": 1, "c": 0}, limit=100)

        assert got == ["a0", "b0", "a1"]
        assert await claimed_ids(storage, queues={"a": 9, "b": 9}, limit=2) == ["b1", "a2"]

    async def test_only_runs_of_the_named_workflows_are_claimed(self, storage: Storage) -> None:
        await storage.register_worker(a_worker())
        for run_id, workflow_id in (("r1", "unknown"), ("r2", "known"), ("r3", "unknown")):
            await write(storage, create(run_id, workflow_id=workflow_id))

        assert await claimed_ids(storage, workflows=["known", "other"]) == ["r2"]
        assert await claimed_ids(storage, workflows=["known"]) == []
        assert await storage.next_due(["default"], now=T0, workflows=["known"]) is None
        assert await storage.next_due(["default"], now=T0, workflows=["unknown"]) == T0
        assert await claimed_ids(storage) == ["r1", "r3"]

    async def test_lost_runs_are_taken_over_by_workers_that_know_their_workflow(
        self, storage: Storage
    ) -> None:
        first, second = await two_workers(storage)
        await running(storage, "r1", first, workflow_id="unknown")

        assert await claimed_ids(storage, second, now=T0 + LEASE, workflows=["known"]) == []
        assert await claimed_ids(storage, second, now=T0 + LEASE, workflows=["unknown"]) == ["r1"]

    async def test_started_at_is_that_of_the_first_claim(self, storage: Storage) -> None:
        await storage.register_worker(a_worker())
        await write(storage, create())
        await claim(storage)
        await write(storage, commit(transition=Release()))

        (taken,) = await claim(storage, now=T0 + SECOND)

        assert taken.run.started_at == T0

    async def test_a_sleeping_run_is_claimed_when_its_time_has_come(self, storage: Storage) -> None:
        await storage.register_worker(a_worker())
        await suspended(storage, "r1", wake_at=T0 + SECOND)
        await suspended(storage, "r2")

        assert await claimed_ids(storage, now=T0) == []
        assert await claimed_ids(storage, now=T0 + SECOND) == ["r1"]

    async def test_a_paused_or_ended_run_is_not_claimed(self, storage: Storage) -> None:
        await storage.register_worker(a_worker())
        await paused(storage, "r1")
        await ended(storage, "r2")

        assert await claimed_ids(storage, now=T0 + LEASE / 2) == []

    async def test_next_due_is_the_earliest_past_or_future(self, storage: Storage) -> None:
        assert await storage.next_due(["default"], now=T0) is None
        await suspended(storage, "r1", wake_at=T0 + 2 * SECOND)
        await suspended(storage, "r2")
        await write(storage, create("r3", due_at=T0 + 9 * SECOND, priority=3), create("r4", queue="other"))

        assert await storage.next_due(["default"], now=T0) == T0 + 2 * SECOND
        assert await storage.next_due(["default", "other"], now=T0) == T0
        assert await storage.next_due([], now=T0) is None


class ClaimedJournalContract(Contract):
    """What a claim brings along."""

    async def test_a_claim_brings_the_journal_its_own_row_last(self, storage: Storage) -> None:
        await storage.register_worker(a_worker())
        await running(storage)
        await write(storage, commit(seq=2), commit(seq=3, transition=Release()))

        (taken,) = await claim(storage)

        assert [row.seq for row in taken.rows] == [1, 2, 3, 4]
        assert list(taken.rows) == list(await storage.read_journal("r1"))
        assert taken.complete

    async def test_a_claim_leaves_out_what_the_worker_knows(self, storage: Storage) -> None:
        await storage.register_worker(a_worker())
        await running(storage)
        await write(storage, commit(seq=2), commit(seq=3, transition=Release()))

        (taken,) = await claim(storage, known={"r1": 2, "r2": 9})

        assert ([row.seq for row in taken.rows], taken.complete) == ([3, 4], True)

    async def test_a_large_row_that_the_worker_does_not_know_comes_along(self, storage: Storage) -> None:
        await storage.register_worker(a_worker())
        await running(storage)
        large = a_step(json='"' + "x" * 100_000 + '"')
        await write(storage, commit(seq=2, entries=[large], transition=Release()))

        (taken,) = await claim(storage, known={"r1": 1})

        assert ([row.seq for row in taken.rows], taken.complete) == ([2, 3], True)
        assert taken.rows[0].entries == (large,)

    async def test_knowing_more_than_there_is_counts_for_nothing(self, storage: Storage) -> None:
        await storage.register_worker(a_worker())
        await running(storage)
        await write(storage, commit(seq=2, transition=Release()))

        (taken,) = await claim(storage, known={"r1": 3})

        assert [row.seq for row in taken.rows] == [1, 2, 3]

    async def test_knowing_a_journal_that_was_continued_counts_for_nothing(self, storage: Storage) -> None:
        await storage.register_worker(a_worker())
        await running(storage)
        await write(storage, commit(seq=2), commit(seq=3, transition=Continue(input=value("1"))))
        await write(storage, commit(seq=4, transition=Release()))

        (taken,) = await claim(storage, known={"r1": 1})

        assert ([row.seq for row in taken.rows], taken.complete) == ([3, 4, 5], True)

    async def test_a_long_journal_comes_in_part_and_the_rest_can_be_read(self, storage: Storage) -> None:
        await storage.register_worker(a_worker())
        await running(storage)
        kilobytes = '"' + "x" * 10_000 + '"'
        rows = [commit(seq=seq, entries=[a_step(json=kilobytes)]) for seq in range(2, 42)]
        await write(storage, *rows, commit(seq=42, transition=Release()))

        (taken,) = await claim(storage)

        seqs = [row.seq for row in taken.rows]
        assert not taken.complete
        assert seqs[-1] == 43
        assert seqs[:-1] == list(range(1, len(seqs)))
        assert 20 < len(seqs) < 28
        rest = await storage.read_journal("r1", after=seqs[-2])
        assert [row.seq for row in rest] == list(range(len(seqs), 44))

    async def test_a_row_over_the_limit_does_not_come_along(self, storage: Storage) -> None:
        await storage.register_worker(a_worker())
        await running(storage)
        large = commit(seq=2, entries=[a_step(json='"' + "x" * 300_000 + '"')])
        await write(storage, large, commit(seq=3, transition=Release()))

        (taken,) = await claim(storage)

        assert ([row.seq for row in taken.rows], taken.complete) == ([1, 4], False)

    async def test_all_claims_of_one_call_share_a_limit(self, storage: Storage) -> None:
        await storage.register_worker(a_worker())
        large = a_step(json='"' + "x" * 250_000 + '"')
        for n in range(70):
            await running(storage, f"r{n:02}")
            rest = commit(f"r{n:02}", entries=[large], transition=Release())
            await write(storage, rest)

        taken = await claim(storage)

        assert len(taken) == 70
        complete = sum(claimed.complete for claimed in taken)
        assert 60 < complete < 70
        assert all(claimed.rows[-1].seq == 3 for claimed in taken)

    async def test_a_claim_brings_the_events_its_waits_may_have(self, storage: Storage) -> None:
        await storage.register_worker(a_worker())
        waits = [Wait(event_id="paid", after=0), Wait(event_id="shipped", after=0)]
        await suspended(storage, "r1", waits=waits)
        await write(
            storage,
            send("shipped", "1"),
            send("paid", "2"),
            send("paid", "3", run_id="r1"),
            send("other", "4"),
            create("r2"),
            send("paid", "5", run_id="r2"),
        )

        taken = {claimed.run.id: claimed for claimed in await claim(storage)}

        payloads = [bytes(event.payload.data) for event in taken["r1"].events]
        assert payloads == [b"1", b"2", b"3"]
        assert taken["r2"].events == ()
        assert taken["r1"].run.waits == tuple(waits)

    async def test_a_claim_brings_large_events_whole(self, storage: Storage) -> None:
        await storage.register_worker(a_worker())
        large = '"' + "ü" * 100_000 + '"'
        await suspended(storage, waits=[Wait(event_id="paid", after=0)])
        await write(storage, send("paid", "1"), send("paid", large), send("paid", "2"))

        (taken,) = await claim(storage)

        payloads = [bytes(event.payload.data).decode() for event in taken.events]
        assert payloads == ["1", large, "2"]

    async def test_a_claim_brings_at_most_100_events(self, storage: Storage) -> None:
        await storage.register_worker(a_worker())
        waits = [Wait(event_id="a", after=0), Wait(event_id="b", after=0)]
        await suspended(storage, waits=waits)
        await write(storage, *(send("ab"[n % 2], str(n)) for n in range(130)))

        (taken,) = await claim(storage)

        assert [bytes(event.payload.data) for event in taken.events] == [b"%d" % n for n in range(100)]

    async def test_a_fresh_run_comes_without_a_history(self, storage: Storage) -> None:
        await storage.register_worker(a_worker())
        await write_one(storage, start(a_run("other")), Created)
        await write(storage, commit("other", transition=Suspend()), create())

        (taken,) = await claim(storage)

        assert isinstance(taken.run, RunRecord)
        assert [row.seq for row in taken.rows] == [1]
