"""Transitions: what its owner makes of a run, and what that makes of everything else."""

from __future__ import annotations

import pytest

from stepflow.model.events import Wait
from stepflow.model.journal import (
    CancelRequested,
    Continued,
)
from stepflow.model.states import PauseReason, RunStatus
from stepflow.storage.base import Storage
from stepflow.storage.writes import (
    Action,
    Cancel,
    Committed,
    Complete,
    Continue,
    Fail,
    Fenced,
    Pause,
    Release,
    Suspend,
)
from stepflow.testing.storage_contract.building import (
    FAILURE,
    SECOND,
    T0,
    a_worker,
    claim,
    claimed_ids,
    commit,
    control,
    get,
    running,
    send,
    suspended,
    value,
    write,
    write_one,
)
from stepflow.testing.storage_contract.running import Contract

_KEY = "audit/charge:2"


class TransitionContract(Contract):
    """What its owner makes of a run."""

    async def test_a_completed_run_has_its_output_and_nothing_else_to_do(self, storage: Storage) -> None:
        await running(storage)
        await write(
            storage, commit(seq=2, waits=(Wait(event_id="paid", after=0),)), control("r1", Action.PAUSE)
        )

        await write_one(
            storage,
            commit(seq=3, transition=Complete(output=value("[1]", "zip"))),
            Committed,
            now=T0 + SECOND,
        )

        run = await get(storage)
        assert (run.status, run.output, run.failure) == (RunStatus.COMPLETED, value("[1]", "zip"), None)
        assert (run.ended_at, run.worker, run.due_at, run.waits) == (T0 + SECOND, None, None, ())
        assert (run.cancel_requested, run.pause_requested) == (False, False)

    async def test_a_failed_run_has_its_failure(self, storage: Storage) -> None:
        await running(storage)

        await write(storage, commit(seq=2, transition=Fail(failure=FAILURE)))

        run = await get(storage)
        assert (run.status, run.output, run.failure) == (RunStatus.FAILED, None, FAILURE)

    async def test_a_cancelled_run_has_neither(self, storage: Storage) -> None:
        await running(storage)

        await write(storage, commit(seq=2, transition=Cancel()))

        run = await get(storage)
        assert (run.status, run.output, run.failure, run.ended_at) == (RunStatus.CANCELLED, None, None, T0)

    async def test_a_released_run_is_due_at_once(self, storage: Storage) -> None:
        await storage.register_worker(a_worker())
        await running(storage)

        await write(storage, commit(seq=2, transition=Release()), now=T0 + SECOND)

        run = await get(storage)
        assert (run.status, run.worker, run.due_at) == (RunStatus.QUEUED, None, T0 + SECOND)
        assert await claimed_ids(storage, now=T0 + SECOND) == ["r1"]

    async def test_a_suspended_run_keeps_its_waits_and_its_timer(self, storage: Storage) -> None:
        wait = Wait(event_id="paid", after=4, name="payment", until=T0 + 9 * SECOND)

        await suspended(storage, waits=[wait], wake_at=T0 + SECOND)

        run = await get(storage)
        assert (run.status, run.worker, run.due_at) == (RunStatus.SUSPENDED, None, T0 + SECOND)
        assert run.waits == (wait,)

    @pytest.mark.parametrize("action", [Action.CANCEL, Action.PAUSE])
    async def test_a_run_with_a_request_is_queued_instead_of_suspended(
        self, storage: Storage, action: Action
    ) -> None:
        await running(storage)
        await write(storage, control("r1", action))

        await write_one(storage, commit(seq=2, transition=Suspend()), Committed)

        run = await get(storage)
        assert (run.status, run.due_at) == (RunStatus.QUEUED, T0)
        assert (run.cancel_requested, run.pause_requested) == (
            action is Action.CANCEL,
            action is Action.PAUSE,
        )

    async def test_a_cancel_that_is_journaled_is_not_requested_any_more(self, storage: Storage) -> None:
        await running(storage)
        await write(storage, control("r1", Action.CANCEL))

        await write(storage, commit(seq=2, entries=[CancelRequested(at=T0)]))
        await write(storage, control("r1", Action.CANCEL))
        await write(storage, commit(seq=3, transition=Suspend(wake_at=T0 + SECOND)))

        run = await get(storage)
        assert (run.status, run.cancel_requested) == (RunStatus.SUSPENDED, False)

    async def test_the_next_attempt_may_be_cancelled_again(self, storage: Storage) -> None:
        await running(storage)
        await write(storage, control("r1", Action.CANCEL), commit(seq=2, entries=[CancelRequested(at=T0)]))

        await write(storage, commit(seq=3, attempt=2), control("r1", Action.CANCEL))

        assert (await get(storage)).cancel_requested

    async def test_a_paused_run_says_why(self, storage: Storage) -> None:
        await running(storage)
        await write(storage, control("r1", Action.PAUSE))

        await write(
            storage, commit(seq=2, transition=Pause(reason=PauseReason.NON_DETERMINISM, detail="a ≠ b"))
        )

        run = await get(storage)
        assert (run.status, run.worker, run.pause_requested) == (RunStatus.PAUSED, None, False)
        assert (run.pause_reason, run.pause_detail) == (PauseReason.NON_DETERMINISM, "a ≠ b")

    @pytest.mark.parametrize(
        ("reason", "status"),
        [(PauseReason.REQUESTED, RunStatus.QUEUED), (PauseReason.POISONED, RunStatus.CANCELLED)],
    )
    async def test_a_cancel_requested_while_the_owner_pauses_is_not_lost(
        self, storage: Storage, reason: PauseReason, status: RunStatus
    ) -> None:
        await running(storage)
        if reason is PauseReason.REQUESTED:
            await write(storage, control("r1", Action.PAUSE))
        await write(storage, control("r1", Action.CANCEL))

        await write_one(storage, commit(seq=2, transition=Pause(reason=reason)), Committed)

        run = await get(storage)
        assert (run.status, run.seq) == (status, 3)
        assert run.cancel_requested == (status is RunStatus.QUEUED)

    async def test_a_pause_that_was_taken_back_on_its_way_queues_the_run(self, storage: Storage) -> None:
        await running(storage)
        await write(storage, control("r1", Action.PAUSE))
        await write(storage, control("r1", Action.RESUME))

        outcome = await write_one(
            storage, commit(seq=2, transition=Pause(reason=PauseReason.REQUESTED)), Committed
        )

        run = await get(storage)
        assert outcome.events_ready
        assert (run.status, run.pause_reason, run.worker) == (RunStatus.QUEUED, None, None)

    @pytest.mark.parametrize("transition", [Suspend(), Release()], ids=["suspended", "released"])
    async def test_a_pause_that_the_owner_left_undone_can_be_taken_back(
        self, storage: Storage, transition: Suspend | Release
    ) -> None:
        await running(storage)
        await write(storage, control("r1", Action.PAUSE))
        await write_one(storage, commit(seq=2, transition=transition), Committed)
        assert (await get(storage)).status is RunStatus.QUEUED

        await write(storage, control("r1", Action.RESUME))

        await storage.register_worker(a_worker())
        (taken,) = await claim(storage)
        assert not taken.run.pause_requested

    async def test_continue_begins_a_fresh_journal_under_the_same_owner(self, storage: Storage) -> None:
        await running(storage)
        await write(storage, commit(seq=2), commit(seq=3))
        fresh = Continued(at=T0, input=value("2"), generation=2)

        await write(storage, commit(seq=4, entries=[fresh], transition=Continue(input=value("2"))))

        run = await get(storage)
        assert (run.status, run.worker, run.input) == (RunStatus.RUNNING, "w1", value("2"))
        assert (run.first_seq, run.seq) == (4, 4)
        (row,) = await storage.read_journal("r1")
        assert (row.seq, row.entries) == (4, (fresh,))
        await write_one(storage, commit(seq=5), Committed)

    async def test_the_attempt_number_moves_with_a_commit(self, storage: Storage) -> None:
        await running(storage)

        await write(storage, commit(seq=2, attempt=2, transition=Suspend(wake_at=T0)))

        assert (await get(storage)).attempt == 2

    async def test_waits_come_and_go_with_commits(self, storage: Storage) -> None:
        await running(storage)
        a, b = Wait(event_id="a", after=0), Wait(event_id="b", after=0)
        await write(storage, commit(seq=2, waits=(b, a)))
        assert (await get(storage)).waits == (a, b)

        later = Wait(event_id="a", after=5, name="second")
        await write(storage, commit(seq=3, unwaits=("b", "never"), waits=(later,)))

        assert (await get(storage)).waits == (later,)
        await write(storage, commit(seq=4, unwaits=("a",), waits=(a,)))
        assert (await get(storage)).waits == (a,)

    async def test_a_transition_in_one_batch_with_what_it_depends_on(self, storage: Storage) -> None:
        await running(storage)

        outcomes = await write(
            storage,
            commit(seq=2, waits=(Wait(event_id="paid", after=0),)),
            send("paid"),
            commit(seq=3, transition=Suspend()),
            commit(seq=4),
        )

        assert outcomes[2] == Committed(events_ready=True)
        assert isinstance(outcomes[3], Fenced)
        assert (await get(storage)).status is RunStatus.QUEUED
