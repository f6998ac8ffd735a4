"""Events: in one order, once each, to those they are meant for, whether sent before the wait or after."""

from __future__ import annotations

import pytest

from stepflow.model.events import Event, Wait
from stepflow.model.states import RunStatus
from stepflow.storage.base import Storage
from stepflow.storage.writes import (
    Action,
    Committed,
    Created,
    Duplicate,
    Sent,
    Suspend,
    Undeliverable,
)
from stepflow.testing.storage_contract.building import (
    SECOND,
    T0,
    a_run,
    a_worker,
    an_event,
    arrive_at,
    claimed_ids,
    commit,
    control,
    create,
    ended,
    get,
    running,
    send,
    start,
    status_of,
    suspended,
    value,
    write,
    write_one,
)
from stepflow.testing.storage_contract.running import Contract

PAID = Wait(event_id="paid", after=0)


async def log(storage: Storage, event_id: str = "paid", run_id: str = "r1", after: int = 0) -> list[bytes]:
    """The payloads of the events that a run's wait may have."""
    (events,) = await storage.read_events([(run_id, Wait(event_id=event_id, after=after))])
    return [bytes(event.payload.data) for event in events]


class EventsContract(Contract):
    """The event log."""

    async def test_an_event_is_read_back_as_it_was_sent(self, storage: Storage) -> None:
        await running(storage)
        new = an_event("shipped/7 ü", '{"a" : 1}', run_id="r1", dedup_id="d\0 ü")

        sent = await write_one(storage, send("shipped/7 ü", '{"a" : 1}', run_id="r1", dedup_id="d\0 ü"), Sent)

        (events,) = await storage.read_events([("r1", Wait(event_id="shipped/7 ü", after=0))])
        assert events == [
            Event(
                event_id=new.event_id,
                pos=sent.pos,
                payload=new.payload,
                at=T0,
                run_id="r1",
                dedup_id="d\0 ü",
            )
        ]

    async def test_events_and_new_runs_share_one_sequence(self, storage: Storage) -> None:
        outcomes = await write(storage, send("a"), create("r1"), send("b"), send("a"))
        outcomes = [*outcomes, *await write(storage, create("r2"), send("a"))]

        places: list[int] = []
        for outcome in outcomes:
            assert isinstance(outcome, Sent | Created)
            places.append(outcome.pos if isinstance(outcome, Sent) else outcome.created_pos)
        assert places == sorted(set(places))

    async def test_an_event_is_for_all_or_for_one(self, storage: Storage) -> None:
        await write(storage, create("r1"), create("r2"))
        await write(
            storage, send("paid", "1"), send("paid", "2", run_id="r2"), send("x", "3"), send("paid", "4")
        )

        assert await log(storage, run_id="r1") == [b"1", b"4"]
        assert await log(storage, run_id="r2") == [b"1", b"2", b"4"]

    async def test_several_waits_are_read_at_once_up_to_a_limit(self, storage: Storage) -> None:
        await write(storage, create("r1"))
        await write(storage, *(send("ab"[n % 2], str(n)) for n in range(9)))
        waits = [("r1", Wait(event_id="a", after=0)), ("r1", Wait(event_id="b", after=0))]

        found = await storage.read_events(waits, limit=3)

        assert [[bytes(event.payload.data) for event in events] for events in found] == [
            [b"0", b"2", b"4"],
            [b"1", b"3", b"5"],
        ]
        last = found[0][-1].pos
        assert await log(storage, "a", after=last) == [b"6", b"8"]
        assert await storage.read_events([]) == []

    async def test_the_same_dedup_id_is_once_per_event_id(self, storage: Storage) -> None:
        first = await write_one(storage, send("paid", "1", dedup_id="d"), Sent)

        again = await write_one(storage, send("paid", "2", dedup_id="d"), Duplicate)
        await write_one(storage, send("other", "3", dedup_id="d"), Sent)
        both = await write(storage, send("paid", "4", dedup_id="e"), send("paid", "5", dedup_id="e"))

        assert (again.event.pos, again.event.payload, again.once_lost) == (first.pos, value("1"), False)
        assert [type(outcome) for outcome in both] == [Sent, Duplicate]
        assert await log(storage) == [b"1", b"4"]

    async def test_once_lets_the_first_of_an_address_win(self, storage: Storage) -> None:
        await write(storage, create("r1"), create("r2"))
        await write(storage, send("paid", "1"))

        lost = await write_one(storage, send("paid", "2", once=True, dedup_id="mine"), Duplicate)
        await write_one(storage, send("paid", "3", once=True, run_id="r1"), Sent)
        await write_one(storage, send("paid", "4", once=True, run_id="r2"), Sent)
        again = await write_one(storage, send("paid", "5", once=True, run_id="r1"), Duplicate)

        assert (lost.once_lost, lost.event.payload) == (True, value("1"))
        assert again.event.payload == value("3")

    async def test_once_sent_again_by_its_winner_has_not_lost(self, storage: Storage) -> None:
        mine = send("paid", once=True, dedup_id="mine")
        await write_one(storage, mine, Sent)

        again = await write_one(storage, mine, Duplicate)

        assert not again.once_lost

    @pytest.mark.parametrize("status", [RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELLED])
    async def test_an_event_for_a_run_that_ended_is_undeliverable(
        self, storage: Storage, status: RunStatus
    ) -> None:
        await arrive_at(storage, status)

        outcome = await write_one(storage, send("paid", run_id="r1"), Undeliverable)

        assert outcome == Undeliverable(run_id="r1", status=status)
        assert await log(storage) == []

    async def test_an_event_for_an_unknown_run_is_undeliverable(self, storage: Storage) -> None:
        outcome = await write_one(storage, send("paid", run_id="never"), Undeliverable)

        assert outcome == Undeliverable(run_id="never", status=None)

    async def test_an_event_sent_again_is_a_duplicate_though_its_run_has_ended(
        self, storage: Storage
    ) -> None:
        await running(storage)
        await write(storage, send("paid", run_id="r1", dedup_id="d"))
        await write(storage, control("r1", Action.FORCE_CANCEL))

        await write_one(storage, send("paid", run_id="r1", dedup_id="d"), Duplicate)

    async def test_a_run_s_own_commit_sends_events(self, storage: Storage) -> None:
        await running(storage)
        await suspended(storage, "r2", waits=[PAID])
        await ended(storage, "r3")
        sends = (
            an_event("paid", "1", dedup_id="d"),
            an_event("paid", "2", dedup_id="d"),
            an_event("x", run_id="r3"),
        )

        outcome = await write_one(storage, commit(seq=2, sends=sends), Committed)

        assert outcome.woken == ("r2",)
        assert await log(storage) == [b"1"]
        assert await log(storage, "x", "r3") == []


class WaitsContract(Contract):
    """Waits and waking."""

    async def test_an_event_queues_the_suspended_run_that_waits(self, storage: Storage) -> None:
        await storage.register_worker(a_worker())
        await suspended(storage, waits=[PAID], wake_at=T0 + 99 * SECOND)

        sent = await write_one(storage, send("paid"), Sent, now=T0 + SECOND)

        assert sent.woken == ("r1",)
        run = await get(storage)
        assert (run.status, run.due_at, run.waits) == (RunStatus.QUEUED, T0 + SECOND, (PAID,))
        assert await claimed_ids(storage, now=T0 + SECOND) == ["r1"]

    async def test_a_running_run_is_only_named(self, storage: Storage) -> None:
        await running(storage)
        await write(storage, commit(seq=2, waits=(PAID,)))

        sent = await write_one(storage, send("paid"), Sent)

        assert sent.woken == ("r1",)
        assert await status_of(storage) is RunStatus.RUNNING

    async def test_a_paused_run_is_left_alone(self, storage: Storage) -> None:
        await suspended(storage, waits=[PAID])
        await write(storage, control("r1", Action.PAUSE))

        sent = await write_one(storage, send("paid"), Sent)

        assert sent.woken == ()
        assert await status_of(storage) is RunStatus.PAUSED
        assert (await get(storage)).waits == (PAID,)

    async def test_all_who_wait_are_woken_by_an_event_for_all(self, storage: Storage) -> None:
        for run_id in ("r2", "r1", "r3"):
            await suspended(storage, run_id, waits=[PAID])
        await suspended(storage, "r4", waits=[Wait(event_id="other", after=0)])

        sent = await write_one(storage, send("paid"), Sent)

        assert sent.woken == ("r1", "r2", "r3")
        assert await status_of(storage, "r4") is RunStatus.SUSPENDED

    async def test_an_event_for_one_wakes_no_other(self, storage: Storage) -> None:
        await suspended(storage, "r1", waits=[PAID])
        await suspended(storage, "r2", waits=[PAID])

        sent = await write_one(storage, send("paid", run_id="r2"), Sent)

        assert sent.woken == ("r2",)
        assert await status_of(storage, "r1") is RunStatus.SUSPENDED

    async def test_an_event_that_came_first_queues_the_run_that_suspends(self, storage: Storage) -> None:
        await running(storage)
        await write(storage, send("paid"))

        outcome = await write_one(storage, commit(seq=2, waits=(PAID,), transition=Suspend()), Committed)

        assert outcome.events_ready
        run = await get(storage)
        assert (run.status, run.due_at, run.worker) == (RunStatus.QUEUED, T0, None)

    async def test_a_wait_registered_earlier_counts_when_the_run_suspends(self, storage: Storage) -> None:
        await running(storage)
        await write(storage, commit(seq=2, waits=(PAID,)))
        await write(storage, send("paid"))

        outcome = await write_one(storage, commit(seq=3, transition=Suspend()), Committed)

        assert outcome.events_ready
        assert await status_of(storage) is RunStatus.QUEUED

    async def test_a_running_run_learns_that_its_event_is_there(self, storage: Storage) -> None:
        await running(storage)
        await write(storage, send("paid", "1"), send("other", "2"))

        ready = await write_one(storage, commit(seq=2, waits=(PAID,)), Committed)
        not_ready = await write_one(storage, commit(seq=3, waits=(Wait(event_id="x", after=0),)), Committed)

        assert (ready.events_ready, not_ready.events_ready) == (True, False)

    async def test_a_run_finds_what_it_sent_itself(self, storage: Storage) -> None:
        await running(storage)
        both = commit(seq=2, sends=(an_event("paid"),), waits=(PAID,), transition=Suspend())

        assert (await write_one(storage, both, Committed)).events_ready

    async def test_only_events_after_the_wait_s_position_count(self, storage: Storage) -> None:
        await running(storage)
        sent = await write_one(storage, send("paid"), Sent)
        late = Wait(event_id="paid", after=sent.pos)

        outcome = await write_one(storage, commit(seq=2, waits=(late,), transition=Suspend()), Committed)
        assert (outcome.events_ready, await status_of(storage)) == (False, RunStatus.SUSPENDED)

        assert (await write_one(storage, send("paid"), Sent)).woken == ("r1",)

    async def test_a_wait_for_later_events_is_not_woken_by_an_earlier_one(self, storage: Storage) -> None:
        await suspended(storage, waits=[Wait(event_id="paid", after=1_000_000)])

        assert (await write_one(storage, send("paid"), Sent)).woken == ()
        assert await status_of(storage) is RunStatus.SUSPENDED

    async def test_a_commit_sent_again_says_what_is_ready_now(self, storage: Storage) -> None:
        await running(storage)
        first = commit(seq=2, waits=(PAID,))
        assert not (await write_one(storage, first, Committed)).events_ready
        await write(storage, send("paid"))

        assert (await write_one(storage, first, Committed)).events_ready

    async def test_a_wait_given_up_does_not_wake(self, storage: Storage) -> None:
        await running(storage)
        await write(storage, commit(seq=2, waits=(PAID,)))
        await write(storage, commit(seq=3, unwaits=("paid",), transition=Suspend()))

        assert (await write_one(storage, send("paid"), Sent)).woken == ()
        assert await status_of(storage) is RunStatus.SUSPENDED

    async def test_a_run_that_ended_waits_for_nothing(self, storage: Storage) -> None:
        await suspended(storage, waits=[PAID])
        await write(storage, control("r1", Action.FORCE_CANCEL))

        assert (await write_one(storage, send("paid"), Sent)).woken == ()
        assert (await get(storage)).waits == ()

    async def test_a_second_event_does_not_wake_twice(self, storage: Storage) -> None:
        await suspended(storage, waits=[PAID])

        first, second = await write(storage, send("paid"), send("paid"))

        assert isinstance(first, Sent)
        assert isinstance(second, Sent)
        assert (first.woken, second.woken) == (("r1",), ())

    async def test_an_event_sent_at_creation_counts(self, storage: Storage) -> None:
        created = await write_one(storage, start(a_run()), Created)
        await write(storage, send("paid"))
        wait = Wait(event_id="paid", after=created.created_pos)

        outcome = await write_one(storage, commit(seq=2, waits=(wait,), transition=Suspend()), Committed)

        assert outcome.events_ready
