"""Children: started with a commit, told to their parent when they end, cancelled when it ends."""

from __future__ import annotations

from stepflow.model.children import child_event_id, read_ended
from stepflow.model.events import Event, Wait
from stepflow.model.states import PauseReason, RunStatus
from stepflow.storage.base import Storage
from stepflow.storage.writes import (
    Action,
    Cancel,
    Committed,
    Complete,
    Controlled,
    CreateRun,
    Fail,
    Pause,
    Suspend,
)
from stepflow.testing.storage_contract.building import (
    FAILURE,
    T0,
    a_child,
    claimed_ids,
    commit,
    control,
    create,
    get,
    paused,
    running,
    start,
    status_of,
    suspended,
    two_workers,
    value,
    write,
    write_one,
)
from stepflow.testing.storage_contract.running import Contract


async def news_of(storage: Storage, child: str, parent: str = "r1") -> list[Event]:
    """What the parent was told of the child."""
    (events,) = await storage.read_events([(parent, Wait(event_id=child_event_id(child), after=0))])
    return list(events)


async def family(storage: Storage, *children: str, detached: bool = False) -> None:
    """A running parent ``r1`` and running children, all of ``w1``."""
    await running(storage)
    await write(storage, *(start(a_child(child, "r1", detached=detached)) for child in children))


class ChildrenContract(Contract):
    """Parents and children."""

    async def test_a_commit_starts_children(self, storage: Storage) -> None:
        _, second = await two_workers(storage)
        await running(storage)

        await write_one(storage, commit(seq=2, creates=(a_child("c1", "r1"), a_child("c2", "r1"))), Committed)

        assert await claimed_ids(storage, second) == ["c1", "c2"]
        assert (await get(storage, "c1")).parent == a_child("c1", "r1").parent

    async def test_a_child_that_exists_is_taken_as_it_is(self, storage: Storage) -> None:
        await running(storage)
        await write(storage, create("c1", input=value('"first"')))

        await write_one(storage, commit(seq=2, creates=(a_child("c1", "r1"),)), Committed)

        assert (await get(storage, "c1")).input == value('"first"')

    async def test_a_child_that_completes_tells_its_parent_in_the_same_commit(self, storage: Storage) -> None:
        await family(storage, "c1")

        committed = await write_one(
            storage, commit("c1", 2, transition=Complete(output=value("[1]", "zip"))), Committed
        )

        (event,) = await news_of(storage, "c1")
        assert read_ended(event.payload) == (RunStatus.COMPLETED, value("[1]", "zip"), None)
        assert (event.run_id, event.at) == ("r1", T0)
        assert committed.woken == ()

    async def test_a_child_that_fails_tells_its_parent_why(self, storage: Storage) -> None:
        await family(storage, "c1")

        await write(storage, commit("c1", 2, transition=Fail(failure=FAILURE)))

        (event,) = await news_of(storage, "c1")
        assert read_ended(event.payload) == (RunStatus.FAILED, None, FAILURE)

    async def test_a_waiting_parent_is_woken(self, storage: Storage) -> None:
        await family(storage, "c1", "c2", "c3")
        waits = tuple(Wait(event_id=child_event_id(child), after=0) for child in ("c1", "c2"))

        first = commit("c3", 2, transition=Cancel())
        await write(storage, commit(seq=2, waits=waits), first)
        outcome = await write_one(storage, commit("c1", 2, transition=Cancel()), Committed)
        assert outcome.woken == ("r1",)
        await write(storage, commit(seq=3, unwaits=(waits[0].event_id,), transition=Suspend()))
        assert await status_of(storage) is RunStatus.SUSPENDED
        outcome = await write_one(storage, commit("c2", 2, transition=Cancel()), Committed)

        assert outcome.woken == ("r1",)
        assert await status_of(storage) is RunStatus.QUEUED

    async def test_a_paused_parent_is_told_but_not_woken(self, storage: Storage) -> None:
        await running(storage, "c0")
        await paused(storage)
        await write(storage, start(a_child("c1", "r1")))

        outcome = await write_one(storage, commit("c1", 2, transition=Cancel()), Committed)

        assert outcome.woken == ()
        assert await status_of(storage) is RunStatus.PAUSED
        assert len(await news_of(storage, "c1")) == 1

    async def test_a_detached_child_tells_nobody(self, storage: Storage) -> None:
        await family(storage, "c1", detached=True)

        await write(storage, commit("c1", 2, transition=Cancel()))

        assert await news_of(storage, "c1") == []

    async def test_a_child_without_a_living_parent_just_ends(self, storage: Storage) -> None:
        await family(storage, "c1")
        await write(storage, commit(seq=2, transition=Cancel()))

        await write_one(storage, commit("c1", 2, transition=Complete(output=value("1"))), Committed)
        await write(storage, start(a_child("c2", "never")))
        await write_one(storage, commit("c2", 2, transition=Complete(output=value("1"))), Committed)

        assert await news_of(storage, "c1") == []
        assert await news_of(storage, "c2", "never") == []

    async def test_the_parent_s_end_cancels_its_attached_children(self, storage: Storage) -> None:
        await family(storage, "busy", "done")
        await suspended(storage, "other")
        await write(
            storage,
            CreateRun(run=a_child("new", "r1")),
            CreateRun(run=a_child("free", "r1", detached=True)),
            commit("done", 2, transition=Complete(output=value("1"))),
            start(a_child("asleep", "r1"), transition=Suspend()),
            start(a_child("stuck", "r1"), transition=Pause(reason=PauseReason.POISONED)),
        )

        outcome = await write_one(storage, commit(seq=2, transition=Complete(output=value())), Committed)

        assert await status_of(storage, "new") is RunStatus.CANCELLED
        assert await status_of(storage, "stuck") is RunStatus.CANCELLED
        assert await status_of(storage, "done") is RunStatus.COMPLETED
        asleep, busy, free = [await get(storage, run_id) for run_id in ("asleep", "busy", "free")]
        assert (asleep.status, asleep.cancel_requested) == (RunStatus.QUEUED, True)
        assert (busy.status, busy.cancel_requested) == (RunStatus.RUNNING, True)
        assert (free.status, free.cancel_requested) == (RunStatus.QUEUED, False)
        assert "busy" in outcome.woken
        assert await news_of(storage, "new") == []

    async def test_cancelled_children_cancel_theirs(self, storage: Storage) -> None:
        await running(storage)
        await write(
            storage,
            CreateRun(run=a_child("c1", "r1")),
            CreateRun(run=a_child("c2", "c1")),
            start(a_child("c3", "c2")),
        )

        await write(storage, control("r1", Action.FORCE_CANCEL))

        assert await status_of(storage, "c2") is RunStatus.CANCELLED
        assert (await get(storage, "c3")).cancel_requested

    async def test_a_child_started_by_the_last_commit_is_cancelled_with_the_others(
        self, storage: Storage
    ) -> None:
        await running(storage)

        await write(
            storage, commit(seq=2, creates=(a_child("c1", "r1"),), transition=Complete(output=value("1")))
        )

        assert await status_of(storage, "c1") is RunStatus.CANCELLED

    async def test_a_child_is_known_to_its_parent_at_once(self, storage: Storage) -> None:
        await running(storage, "stranger")
        await paused(storage, "r1", PauseReason.POISONED)

        await write(storage, start(a_child("c1", "r1"), cancels=("r1",)))

        assert await status_of(storage) is RunStatus.CANCELLED
        assert (await get(storage, "c1")).cancel_requested

    async def test_a_child_that_is_tried_again_is_cancelled_with_its_parent(self, storage: Storage) -> None:
        await family(storage, "c1")
        await write(storage, commit("c1", 2, transition=Fail(failure=FAILURE)))

        await write(
            storage, control("c1", Action.RETRY), commit(seq=2, transition=Complete(output=value("1")))
        )

        assert (await get(storage, "c1")).cancel_requested

    async def test_a_commit_may_cancel_runs_by_id(self, storage: Storage) -> None:
        await family(storage, "c1")
        await write(storage, CreateRun(run=a_child("c2", "r1")))

        outcome = await write_one(storage, commit(seq=2, cancels=("c1", "c2", "never", "r1")), Committed)

        assert (await get(storage, "c1")).cancel_requested
        assert await status_of(storage, "c2") is RunStatus.CANCELLED
        assert not (await get(storage)).cancel_requested
        assert outcome.woken == ("c1",)
        assert len(await news_of(storage, "c2")) == 1

    async def test_a_child_that_is_tried_again_tells_its_parent_again(self, storage: Storage) -> None:
        first, _ = await two_workers(storage)
        await family(storage, "c1")
        await write(storage, commit("c1", 2, transition=Fail(failure=FAILURE)), control("c1", Action.RETRY))
        assert await claimed_ids(storage, first) == ["c1"]

        await write_one(storage, commit("c1", 5, transition=Complete(output=value("1"))), Committed)

        told = [read_ended(event.payload)[0] for event in await news_of(storage, "c1")]
        assert told == [RunStatus.FAILED, RunStatus.COMPLETED]

    async def test_deleting_a_paused_child_tells_its_parent_that_it_is_cancelled(
        self, storage: Storage
    ) -> None:
        await family(storage, "c1")
        await write(storage, commit("c1", 2, transition=Pause(reason=PauseReason.POISONED)))

        await write_one(storage, control("c1", Action.DELETE), Controlled)

        (event,) = await news_of(storage, "c1")
        assert read_ended(event.payload) == (RunStatus.CANCELLED, None, None)
        assert await storage.get_run("c1") is None
