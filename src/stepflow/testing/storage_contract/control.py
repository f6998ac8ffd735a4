"""Control: the table of states, as the store performs it."""

from __future__ import annotations

import pytest

from stepflow.model.events import Wait
from stepflow.model.journal import AttemptStarted, CancelRequested, Ended, Entry, Paused, Resumed
from stepflow.model.states import PauseReason, RunStatus
from stepflow.model.transitions import Refuse, decide
from stepflow.storage.base import Storage
from stepflow.storage.writes import (
    Action,
    Cancel,
    Committed,
    Controlled,
    Created,
    Fenced,
    Gone,
    Refused,
    Release,
    Sent,
    Suspend,
)
from stepflow.testing.storage_contract.building import (
    SECOND,
    T0,
    a_worker,
    arrive_at,
    claim,
    claimed_ids,
    commit,
    control,
    create,
    ended,
    get,
    paused,
    running,
    send,
    status_of,
    suspended,
    value,
    write,
    write_one,
)
from stepflow.testing.storage_contract.running import Contract

_S, _A = RunStatus, Action

# What becomes of a run that is controlled; those that are not here are refused.
_BECOMES: dict[tuple[RunStatus, Action], RunStatus | None] = {
    (_S.QUEUED, _A.CANCEL): _S.CANCELLED,
    (_S.QUEUED, _A.FORCE_CANCEL): _S.CANCELLED,
    (_S.QUEUED, _A.PAUSE): _S.PAUSED,
    (_S.QUEUED, _A.RESUME): _S.QUEUED,
    (_S.RUNNING, _A.CANCEL): _S.RUNNING,
    (_S.RUNNING, _A.FORCE_CANCEL): _S.CANCELLED,
    (_S.RUNNING, _A.PAUSE): _S.RUNNING,
    (_S.RUNNING, _A.RESUME): _S.RUNNING,
    (_S.SUSPENDED, _A.CANCEL): _S.QUEUED,
    (_S.SUSPENDED, _A.FORCE_CANCEL): _S.CANCELLED,
    (_S.SUSPENDED, _A.PAUSE): _S.PAUSED,
    (_S.SUSPENDED, _A.RESUME): _S.SUSPENDED,
    (_S.PAUSED, _A.CANCEL): _S.QUEUED,
    (_S.PAUSED, _A.FORCE_CANCEL): _S.CANCELLED,
    (_S.PAUSED, _A.PAUSE): _S.PAUSED,
    (_S.PAUSED, _A.RESUME): _S.QUEUED,
    (_S.PAUSED, _A.DELETE): None,
    (_S.COMPLETED, _A.DELETE): None,
    (_S.FAILED, _A.RETRY): _S.QUEUED,
    (_S.FAILED, _A.DELETE): None,
    (_S.CANCELLED, _A.CANCEL): _S.CANCELLED,
    (_S.CANCELLED, _A.FORCE_CANCEL): _S.CANCELLED,
    (_S.CANCELLED, _A.RETRY): _S.QUEUED,
    (_S.CANCELLED, _A.DELETE): None,
}

_CAN_GO_ON = [PauseReason.REQUESTED, PauseReason.STUCK]


async def last_entry(storage: Storage) -> Entry:
    """The last entry of the journal of ``r1``."""
    return (await storage.read_journal("r1"))[-1].entries[-1]


class ControlContract(Contract):
    """Operations on runs."""

    @pytest.mark.parametrize("action", list(Action))
    @pytest.mark.parametrize("status", list(RunStatus))
    async def test_an_action_does_what_the_table_of_states_says(
        self, storage: Storage, status: RunStatus, action: Action
    ) -> None:
        await arrive_at(storage, status)
        before = await get(storage)

        (outcome,) = await write(storage, control("r1", action), now=T0 + SECOND)

        if (status, action) not in _BECOMES:
            decision = decide(status, action, started=True)
            assert isinstance(decision, Refuse)
            assert outcome == Refused(run_id="r1", status=status, reason=decision.reason)
            assert await get(storage) == before
            return
        assert isinstance(outcome, Controlled)
        expected = _BECOMES[status, action]
        after = await storage.get_run("r1")
        assert (None if after is None else after.status) == expected
        if after is not None:
            assert outcome.status == expected

    @pytest.mark.parametrize("action", list(Action))
    async def test_what_does_not_exist_is_gone(self, storage: Storage, action: Action) -> None:
        await write_one(storage, control("never", action), Gone)

    @pytest.mark.parametrize("status", [_S.QUEUED, _S.RUNNING, _S.SUSPENDED, _S.PAUSED])
    async def test_a_forced_cancel_ends_the_run_and_fences_its_owner(
        self, storage: Storage, status: RunStatus
    ) -> None:
        await arrive_at(storage, status)
        seq = (await get(storage)).seq

        await write_one(storage, control("r1", _A.FORCE_CANCEL), Controlled, now=T0 + SECOND)

        run = await get(storage)
        assert (run.status, run.ended_at, run.worker) == (_S.CANCELLED, T0 + SECOND, None)
        assert await last_entry(storage) == Ended(at=T0 + SECOND, status=_S.CANCELLED)
        await write_one(storage, commit(seq=seq + 1), Fenced)
        await write_one(storage, commit(seq=seq + 2), Fenced)

    async def test_a_cancel_is_asked_of_the_owner(self, storage: Storage) -> None:
        await running(storage)

        outcome = await write_one(storage, control("r1", _A.CANCEL), Controlled)

        assert outcome.woken == ("r1",)
        run = await get(storage)
        assert (run.cancel_requested, run.worker, run.seq) == (True, "w1", 1)
        await write_one(storage, commit(seq=2), Committed)

    async def test_a_cancelled_sleeper_is_due_at_once_to_clean_up(self, storage: Storage) -> None:
        await storage.register_worker(a_worker())
        await suspended(storage, wake_at=T0 + 99 * SECOND)

        await write(storage, control("r1", _A.CANCEL))
        (taken,) = await claim(storage)

        assert taken.run.cancel_requested

    async def test_a_cancel_that_was_journaled_is_not_asked_for_again(self, storage: Storage) -> None:
        await running(storage)
        await write(storage, control("r1", _A.CANCEL))
        await write(storage, commit(seq=2, entries=[CancelRequested(at=T0)], transition=Suspend()))

        await write(storage, control("r1", _A.CANCEL))

        assert not (await get(storage)).cancel_requested

    async def test_a_run_that_is_tried_again_can_be_cancelled_again(self, storage: Storage) -> None:
        await storage.register_worker(a_worker())
        await running(storage)
        await write(storage, control("r1", _A.CANCEL))
        await write(storage, commit(seq=2, entries=[CancelRequested(at=T0)], transition=Cancel()))
        await write(storage, control("r1", _A.RETRY))
        await claim(storage)

        await write(storage, control("r1", _A.CANCEL))

        assert (await get(storage)).cancel_requested

    async def test_a_queued_run_that_had_begun_gets_to_clean_up_too(self, storage: Storage) -> None:
        await running(storage)
        await write(storage, commit(seq=2, transition=Release()))

        await write_one(storage, control("r1", _A.CANCEL), Controlled)

        run = await get(storage)
        assert (run.status, run.cancel_requested) == (_S.QUEUED, True)

    @pytest.mark.parametrize("reason", [reason for reason in PauseReason if reason not in _CAN_GO_ON])
    async def test_a_paused_run_that_cannot_go_on_is_cancelled_directly(
        self, storage: Storage, reason: PauseReason
    ) -> None:
        await paused(storage, reason=reason)

        await write_one(storage, control("r1", _A.CANCEL), Controlled)

        run = await get(storage)
        assert (run.status, run.pause_reason, run.pause_detail) == (_S.CANCELLED, None, "")

    @pytest.mark.parametrize("reason", _CAN_GO_ON)
    async def test_a_paused_run_that_can_go_on_is_cancelled_by_its_next_owner(
        self, storage: Storage, reason: PauseReason
    ) -> None:
        await paused(storage, reason=reason)

        await write_one(storage, control("r1", _A.CANCEL), Controlled, now=T0 + SECOND)

        run = await get(storage)
        assert (run.status, run.cancel_requested, run.due_at) == (_S.QUEUED, True, T0 + SECOND)
        assert await last_entry(storage) == Resumed(at=T0 + SECOND)

    async def test_a_run_paused_before_it_began_is_cancelled_directly(self, storage: Storage) -> None:
        await write(storage, create(), control("r1", _A.PAUSE), control("r1", _A.CANCEL))

        assert await status_of(storage) is _S.CANCELLED

    async def test_pausing_and_resuming_leave_their_entries(self, storage: Storage) -> None:
        await suspended(storage, waits=[Wait(event_id="paid", after=0)], wake_at=T0 + 9 * SECOND)

        await write(storage, control("r1", _A.PAUSE))
        still = await get(storage)
        assert (still.status, still.pause_reason, still.due_at) == (_S.PAUSED, PauseReason.REQUESTED, None)
        assert await last_entry(storage) == Paused(at=T0, reason=PauseReason.REQUESTED)
        await write(storage, control("r1", _A.RESUME), now=T0 + SECOND)

        run = await get(storage)
        assert (run.status, run.due_at, run.pause_reason) == (_S.QUEUED, T0 + SECOND, None)
        assert len(run.waits) == 1
        assert await last_entry(storage) == Resumed(at=T0 + SECOND)

    async def test_a_pause_does_not_shorten_a_delay(self, storage: Storage) -> None:
        await storage.register_worker(a_worker())
        await write(storage, create(due_at=T0 + 9 * SECOND))

        await write(storage, control("r1", _A.PAUSE), control("r1", _A.RESUME))

        assert (await get(storage)).due_at == T0 + 9 * SECOND
        assert await claimed_ids(storage, now=T0) == []
        assert await claimed_ids(storage, now=T0 + 9 * SECOND) == ["r1"]

    async def test_an_event_that_came_during_the_pause_is_there_afterwards(self, storage: Storage) -> None:
        await storage.register_worker(a_worker())
        await suspended(storage, waits=[Wait(event_id="paid", after=0)])
        await write(storage, control("r1", _A.PAUSE))
        await write_one(storage, send("paid"), Sent)

        await write(storage, control("r1", _A.RESUME))
        (taken,) = await claim(storage)

        assert len(taken.events) == 1

    async def test_a_pause_that_was_only_asked_for_can_be_taken_back(self, storage: Storage) -> None:
        await running(storage)
        await write(storage, control("r1", _A.PAUSE))
        assert (await get(storage)).pause_requested

        await write(storage, control("r1", _A.RESUME))

        assert not (await get(storage)).pause_requested

    async def test_retrying_begins_the_next_attempt(self, storage: Storage) -> None:
        await storage.register_worker(a_worker())
        await ended(storage, status=_S.FAILED)

        await write_one(storage, control("r1", _A.RETRY), Controlled, now=T0 + SECOND)

        run = await get(storage)
        assert (run.status, run.attempt, run.due_at) == (_S.QUEUED, 2, T0 + SECOND)
        assert (run.ended_at, run.failure, run.started_at) == (None, None, T0)
        assert await last_entry(storage) == AttemptStarted(at=T0 + SECOND, attempt=2)
        (taken,) = await claim(storage, now=T0 + SECOND)
        assert [row.seq for row in taken.rows] == [1, 2, 3, 4]

    async def test_a_deleted_run_leaves_nothing(self, storage: Storage) -> None:
        await paused(storage)
        await write(
            storage,
            create("r2", idempotency_key="k"),
            send("paid", run_id="r1"),
            send("all"),
            control("r2", _A.PAUSE),
        )

        await write(storage, control("r1", _A.DELETE), control("r2", _A.DELETE))

        assert await storage.get_run("r1") is None
        assert await storage.read_journal("r1") == []
        assert await storage.find_run("k") is None
        info = await storage.info(now=T0)
        assert (info.runs, info.journal_rows, info.events) == ({}, 0, 1)
        await write_one(storage, commit(seq=3), Gone)

    async def test_a_deleted_run_s_id_and_key_are_free_again(self, storage: Storage) -> None:
        await write(storage, create(idempotency_key="k"), control("r1", _A.CANCEL))

        outcomes = await write(
            storage,
            control("r1", _A.DELETE),
            create(idempotency_key="k", input=value("2")),
            control("r1", _A.PAUSE),
        )

        assert [type(outcome) for outcome in outcomes] == [Controlled, Created, Controlled]
        run = await get(storage)
        assert (run.input, run.status, run.seq) == (value("2"), _S.PAUSED, 1)

    async def test_controls_of_one_batch_see_each_other(self, storage: Storage) -> None:
        await write(storage, create())

        outcomes = await write(
            storage,
            control("r1", _A.PAUSE),
            control("r1", _A.RESUME),
            control("r1", _A.CANCEL),
            control("r1", _A.RETRY),
        )

        assert all(isinstance(outcome, Controlled) for outcome in outcomes)
        run = await get(storage)
        assert (run.status, run.attempt, run.seq) == (_S.QUEUED, 2, 4)
