"""Runs: created once, read back as they were given, listed page by page."""

from __future__ import annotations

from datetime import timedelta

import pytest

from stepflow.errors import InputError
from stepflow.model.journal import Claimed
from stepflow.model.runs import ParentLink, RunFilter, RunRecord
from stepflow.model.states import RunStatus
from stepflow.storage.base import Storage
from stepflow.storage.writes import (
    Action,
    Committed,
    Complete,
    Conflict,
    Continue,
    Created,
    CreateRun,
    Existing,
    Fenced,
    Gone,
    Suspend,
)
from stepflow.testing.storage_contract.building import (
    SECOND,
    T0,
    a_run,
    a_worker,
    claim,
    claimed_ids,
    commit,
    control,
    create,
    ended,
    get,
    running,
    send,
    start,
    value,
    write,
    write_one,
)
from stepflow.testing.storage_contract.running import Contract


class RunsContract(Contract):
    """Creating and reading runs."""

    async def test_a_new_run_is_read_back_with_everything_it_was_given(self, storage: Storage) -> None:
        new = a_run(
            input=value('{"spaced" : [1,  2.50, "\\u0000", "ü"]}', codec="gzip+json"),
            due_at=T0 + timedelta(days=3),
            queue="slow",
            priority=-7,
            tags={"customer": "42", "a.b": 'with "quotes"', "": "empty name"},
            idempotency_key="order/7 ü",
            version="2025.3",
            parent=ParentLink(run_id="p1", key="audit/invoke:2", detached=True),
        )

        created = await write_one(storage, CreateRun(run=new), Created)

        assert await get(storage) == RunRecord(
            id="r1",
            workflow_id="checkout",
            status=RunStatus.QUEUED,
            input=new.input,
            created_at=T0,
            created_pos=created.created_pos,
            queue="slow",
            priority=-7,
            tags=new.tags,
            idempotency_key="order/7 ü",
            version="2025.3",
            parent=new.parent,
            due_at=T0 + timedelta(days=3),
        )

    async def test_a_run_that_was_never_created_is_none(self, storage: Storage) -> None:
        assert await storage.get_run("r1") is None
        assert await storage.find_run("key") is None
        assert await storage.read_journal("r1") == []

    async def test_the_same_create_again_finds_the_run(self, storage: Storage) -> None:
        await write(storage, create())

        again = await write_one(storage, create(created_at=T0 + SECOND, priority=9), Existing)

        assert again.run == await get(storage)
        assert again.run.priority == 0

    async def test_the_same_id_with_another_workflow_is_a_conflict(self, storage: Storage) -> None:
        await write(storage, create())

        conflict = await write_one(storage, create(workflow_id="refund"), Conflict)

        assert conflict.run.workflow_id == "checkout"
        assert "checkout" in conflict.reason

    async def test_the_same_id_with_another_input_is_a_conflict(self, storage: Storage) -> None:
        await write(storage, create())

        await write_one(storage, create(input=value('{"order":8}')), Conflict)
        await write_one(storage, create(input=value('{"order":7}', codec="gzip+json")), Conflict)

        assert (await get(storage)).input == value('{"order":7}')

    async def test_an_idempotency_key_names_one_run(self, storage: Storage) -> None:
        await write(storage, create("r1", idempotency_key="k"))

        again = await write_one(storage, create("r2", idempotency_key="k"), Existing)
        other = await write_one(storage, create("r3", idempotency_key="k", input=value("1")), Conflict)

        assert (again.run.id, other.run.id) == ("r1", "r1")
        assert await storage.get_run("r2") is None
        assert await storage.find_run("k") == await get(storage, "r1")

    async def test_an_id_says_more_than_a_key(self, storage: Storage) -> None:
        await write(storage, create("r1", idempotency_key="k"), create("r2"))

        assert (await write_one(storage, create("r2", idempotency_key="k"), Existing)).run.id == "r2"

    async def test_a_create_is_not_mistaken_for_the_one_whose_journal_was_continued(
        self, storage: Storage
    ) -> None:
        first = start(a_run())
        await write(storage, first)

        outcomes = await write(storage, commit(seq=2, transition=Continue(input=value("2"))), first)

        assert [type(outcome) for outcome in outcomes] == [Committed, Existing]

    async def test_two_creates_of_one_batch_are_one_run(self, storage: Storage) -> None:
        outcomes = await write(
            storage,
            create("r1", idempotency_key="k"),
            create("r1"),
            create("r2", idempotency_key="k"),
            create("r1", workflow_id="refund"),
        )

        assert [type(outcome) for outcome in outcomes] == [Created, Existing, Existing, Conflict]

    async def test_a_create_is_recognised_after_its_run_continued_with_another_input(
        self, storage: Storage
    ) -> None:
        await running(storage)
        await write(storage, commit(transition=Continue(input=value('{"order":8}'))))

        await write_one(storage, create(), Existing)
        await write_one(storage, create(input=value('{"order":8}')), Conflict)

    async def test_positions_of_new_runs_grow_in_the_order_of_the_writes(self, storage: Storage) -> None:
        first, second = await write(storage, create("r2"), create("r1"))
        (third,) = await write(storage, create("r0"))

        assert isinstance(first, Created)
        assert isinstance(second, Created)
        assert isinstance(third, Created)
        assert first.created_pos < second.created_pos < third.created_pos

    async def test_a_create_with_a_commit_belongs_to_its_writer_at_once(self, storage: Storage) -> None:
        created = await write_one(storage, start(a_run(), at=T0 + SECOND), Created, now=T0 + 2 * SECOND)

        run = await get(storage)
        assert created.committed == Committed()
        assert (run.status, run.worker, run.seq, run.due_at) == (RunStatus.RUNNING, "w1", 1, None)
        assert run.started_at == T0 + SECOND
        (row,) = await storage.read_journal("r1")
        assert row.entries == (Claimed(at=T0 + SECOND, worker="w1", python="3.11"),)

    async def test_a_create_may_suspend_in_the_same_breath(self, storage: Storage) -> None:
        await storage.register_worker(a_worker())
        await write(storage, start(a_run(), transition=Suspend(wake_at=T0 + SECOND)))

        assert await claimed_ids(storage, now=T0) == []
        assert await claimed_ids(storage, now=T0 + SECOND) == ["r1"]

    async def test_a_create_with_a_commit_sent_again_is_answered_as_created(self, storage: Storage) -> None:
        once = await write_one(storage, start(a_run()), Created)
        again = await write_one(storage, start(a_run()), Created)

        assert again == once
        assert len(await storage.read_journal("r1")) == 1

    async def test_a_create_with_a_commit_does_not_take_a_run_that_exists(self, storage: Storage) -> None:
        await running(storage, worker="w1")

        await write_one(storage, start(a_run(), "w2"), Existing)
        await write_one(storage, start(a_run(workflow_id="refund"), "w2"), Conflict)

        assert (await get(storage)).worker == "w1"
        assert len(await storage.read_journal("r1")) == 1

    async def test_a_commit_that_does_not_fit_its_create_spoils_nothing(self, storage: Storage) -> None:
        askew = CreateRun(run=a_run("r2"), commit=commit("r2", 2))

        with pytest.raises(InputError, match="row 1"):
            await write(storage, create("r1"), askew)

        assert await storage.get_run("r1") is None

    async def test_a_refused_write_spoils_none_of_its_neighbours(self, storage: Storage) -> None:
        await running(storage, "r1")

        outcomes = await write(
            storage,
            create("r2"),
            create("r1", workflow_id="refund"),
            commit("r1", 7),
            commit("gone", 2),
            commit("r1", 2),
            create("r3"),
        )

        kinds = [type(outcome) for outcome in outcomes]
        assert kinds == [Created, Conflict, Fenced, Gone, Committed, Created]
        assert [run.id for run in (await storage.list_runs(RunFilter())).items] == ["r3", "r2", "r1"]

    async def test_an_empty_batch_is_answered_with_nothing(self, storage: Storage) -> None:
        assert list(await write(storage)) == []

    async def test_large_values_come_back_to_the_byte(self, storage: Storage) -> None:
        large = value('"' + "ü€😀 " * 300_000 + '"')
        await storage.register_worker(a_worker())
        await write(storage, create(input=large))

        (taken,) = await claim(storage)

        assert taken.run.input == large
        assert (await get(storage)).input == large

    async def test_a_large_output_stays_whatever_else_happens(self, storage: Storage) -> None:
        large = value('"' + "x" * 1_000_000 + '"')
        await running(storage)
        await write(storage, commit(transition=Complete(output=large)))
        await write(storage, create("r2"), control("r1", Action.CANCEL), send("paid", run_id="r1"))

        page = await storage.list_runs(RunFilter())

        assert [run.output for run in page.items] == [None, large]
        assert (await get(storage)).output == large

    async def test_a_setting_keeps_what_its_first_writer_gave(self, storage: Storage) -> None:
        assert await storage.setting("secret", b"\x00first") == b"\x00first"
        assert await storage.setting("secret", b"second") == b"\x00first"
        assert await storage.setting("other", b"") == b""

    async def test_info_counts_what_is_there(self, storage: Storage) -> None:
        await storage.register_worker(a_worker())
        await write(storage, create("r1"), create("r2"))
        await ended(storage, "r3")

        info = await storage.info(now=T0)

        assert info.runs == {"queued": 2, "completed": 1}
        assert (info.journal_rows, info.events, info.events_pinned_by) == (2, 0, "r1")
        assert [worker.id for worker in info.workers] == ["w1"]


class ListingContract(Contract):
    """Listing runs."""

    async def test_runs_are_listed_newest_first_and_then_by_id(self, storage: Storage) -> None:
        await write(
            storage,
            create("b"),
            create("c", created_at=T0 + SECOND),
            create("a"),
            create("d", created_at=T0 - SECOND),
        )

        page = await storage.list_runs(RunFilter())

        assert [run.id for run in page.items] == ["c", "b", "a", "d"]
        assert page.next_cursor is None
        assert page.items[0] == await get(storage, "c")

    async def test_pages_follow_each_other_without_gap_or_repetition(self, storage: Storage) -> None:
        await write(storage, *(create(f"r{n}", created_at=T0 + SECOND * (n // 2)) for n in range(7)))
        seen: list[str] = []
        cursor = None

        while True:
            page = await storage.list_runs(RunFilter(), cursor=cursor, limit=2)
            seen += [run.id for run in page.items]
            cursor = page.next_cursor
            if cursor is None:
                break
            await write(storage, create(f"late{len(seen)}", created_at=T0 + 9 * SECOND))

        assert seen == ["r6", "r5", "r4", "r3", "r2", "r1", "r0"]

    @pytest.mark.parametrize(
        ("where", "expected"),
        [
            (RunFilter(workflow_id="refund"), ["r2"]),
            (RunFilter(queue="slow"), ["r3"]),
            (RunFilter(parent_id="r1"), ["r4"]),
            (RunFilter(tags={"tier": "gold"}), ["r3", "r1"]),
            (RunFilter(tags={"tier": "gold", 'odd."name': "x"}), ["r1"]),
            (RunFilter(tags={"tier": "silver"}), []),
            (RunFilter(created_after=T0 + SECOND), ["r4", "r3"]),
            (RunFilter(created_before=T0 + SECOND), ["r1"]),
            (RunFilter(statuses=frozenset({RunStatus.RUNNING})), ["r5"]),
            (RunFilter(statuses=frozenset({RunStatus.RUNNING, RunStatus.PAUSED})), ["r5"]),
            (RunFilter(statuses=frozenset({RunStatus.QUEUED}), queue="slow"), ["r3"]),
        ],
    )
    async def test_a_filter_lets_through_what_it_names(
        self, storage: Storage, where: RunFilter, expected: list[str]
    ) -> None:
        await write(
            storage,
            create("r1", tags={"tier": "gold", 'odd."name': "x"}),
            create("r2", created_at=T0 + SECOND, workflow_id="refund"),
            create("r3", created_at=T0 + 2 * SECOND, queue="slow", tags={"tier": "gold"}),
            create("r4", created_at=T0 + 3 * SECOND, parent=ParentLink(run_id="r1", key="k")),
            start(a_run("r5", created_at=T0 + SECOND)),
        )

        page = await storage.list_runs(where)

        assert [run.id for run in page.items if run.id != "r5" or where.statuses] == expected

    async def test_a_cursor_belongs_to_its_filter(self, storage: Storage) -> None:
        await write(storage, create("r1"), create("r2"))
        cursor = (await storage.list_runs(RunFilter(), limit=1)).next_cursor

        with pytest.raises(InputError, match="another filter"):
            await storage.list_runs(RunFilter(queue="default"), cursor=cursor)

    @pytest.mark.parametrize("cursor", ["", "x", "!", "W10", "WzEsMiwzXQ", "ä", "A" * 4000])
    async def test_a_made_up_cursor_is_refused(self, storage: Storage, cursor: str) -> None:
        with pytest.raises(InputError, match="cursor"):
            await storage.list_runs(RunFilter(), cursor=cursor)

    @pytest.mark.parametrize("limit", [0, -1, 1_001])
    async def test_a_page_has_a_sensible_size(self, storage: Storage, limit: int) -> None:
        with pytest.raises(InputError, match="page"):
            await storage.list_runs(RunFilter(), limit=limit)
