"""Transactional steps: what a step writes and what it returns are durable together, or not at all."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import pytest

from stepflow import (
    NotInStepError,
    Retry,
    RunCancelledError,
    RunFailedError,
    Stepflow,
    StorageUnavailableError,
    WouldDeadlockError,
    sleep,
    step,
    transaction,
    wait_for_event,
    workflow,
)
from stepflow.storage.postgres.transactions import PostgresTransaction
from stepflow.storage.sqlite.transactions import SqliteTransaction
from stepflow.testing.clock import FakeClock
from tests.transactions.conftest import notes_of, until_suspended
from tests.transactions.databases import Database, Postgres

_database: Database
_bodies: list[str] = []
_failures: list[BaseException] = []
_gate: asyncio.Event
_inside: asyncio.Semaphore
"""Counts the bodies that are in the middle of their transactions."""


@pytest.fixture(autouse=True)
def clean(database: Database) -> None:
    global _database, _gate, _inside
    _database = database
    _gate, _inside = asyncio.Event(), asyncio.Semaphore(0)
    _bodies.clear()
    _failures.clear()


@pytest.fixture
def transaction_class(kind: str) -> type[Any]:
    return SqliteTransaction if kind == "sqlite" else PostgresTransaction


async def write(text: str) -> None:
    async with transaction() as tx:
        await _database.put(tx, text)


@step
async def note(text: str) -> str:
    _bodies.append(text)
    await write(text)
    if _failures:
        raise _failures.pop()
    return text.upper()


@step
async def think(text: str) -> str:
    await asyncio.sleep(0)
    return text


@workflow
async def notes(texts: list[str]) -> list[str]:
    return [await note(text) for text in texts]


@workflow
async def notes_beside(texts: list[str]) -> list[str]:
    return await asyncio.gather(
        *(note(text) if place % 2 else think(text) for place, text in enumerate(texts))
    )


async def test_what_a_step_writes_is_there_when_its_result_is() -> None:
    async with Stepflow(_database.url, workflows=[notes]) as app:
        run = await app.trigger(notes, ["a", "b", "c"])

        assert await run.result() == ["A", "B", "C"]
        assert await notes_of(_database) == ["a", "b", "c"]
        assert [view.status for view in (await app.get_run(run.id)).steps] == ["completed"] * 3
    assert _bodies == ["a", "b", "c"]


async def test_a_step_that_fails_after_it_wrote_has_written_nothing() -> None:
    _failures.append(ValueError("no"))
    async with Stepflow(_database.url, workflows=[notes]) as app:
        run = await app.trigger(notes, ["a"])

        assert await run.result() == ["A"], "the second attempt"
        assert await notes_of(_database) == ["a"]
    assert _bodies == ["a", "a"]


@step(retry=Retry(attempts=1))
async def note_a_set() -> set[object]:
    await write("unstorable")
    return {object()}


@workflow
async def unstorable() -> None:
    await note_a_set()


async def test_a_result_that_cannot_be_stored_takes_the_writes_with_it() -> None:
    async with Stepflow(_database.url, workflows=[unstorable]) as app:
        run = await app.trigger(unstorable)

        with pytest.raises(RunFailedError, match="note_a_set"):
            await run.result()
        assert await notes_of(_database) == []


@step
async def note_after_a_failure() -> str:
    try:
        async with transaction() as tx:
            await _database.put(tx, "first")
            raise LookupError
    except LookupError:
        pass
    async with transaction() as tx:
        await _database.put(tx, "second")
    return "done"


@step
async def only_fails_inside() -> str:
    try:
        async with transaction() as tx:
            await _database.put(tx, "first")
            raise LookupError
    except LookupError:
        return "done"


@workflow
async def after_failures() -> list[str]:
    return [await note_after_a_failure(), await only_fails_inside()]


async def test_an_exception_that_leaves_the_block_rolls_back_and_the_step_may_go_on() -> None:
    async with Stepflow(_database.url, workflows=[after_failures]) as app:
        run = await app.trigger(after_failures)

        assert await run.result() == ["done", "done"]
        assert await notes_of(_database) == ["second"]


@step
async def note_twice() -> None:
    await write("outer")
    await write("inner")


@workflow
async def twice() -> None:
    await note_twice()


async def test_a_second_block_joins_the_first() -> None:
    async with Stepflow(_database.url, workflows=[twice]) as app:
        await (await app.trigger(twice)).result()

        assert await notes_of(_database) == ["outer", "inner"]


async def test_transactional_steps_run_beside_others_of_their_run() -> None:
    texts = [f"{number}" for number in range(40)]
    async with Stepflow(_database.url, workflows=[notes_beside]) as app:
        run = await app.trigger(notes_beside, texts)

        assert await run.result() == texts
        assert sorted(await notes_of(_database)) == sorted(texts[1::2])
        assert len((await app.get_run(run.id)).steps) == 40


async def test_many_runs_write_beside_each_other() -> None:
    async with Stepflow(_database.url, workflows=[notes]) as app:
        runs = [await app.trigger(notes, [f"{number}-a", f"{number}-b"]) for number in range(30)]
        for run in runs:
            await run.result()

        assert len(await notes_of(_database)) == 60
    assert len(_bodies) == 60, "each once"


@step
async def note_and_wait(text: str) -> str:
    async with transaction() as tx:
        await _database.put(tx, text)
        _inside.release()
        await _gate.wait()
    return text


@step
async def wait_here() -> str:
    await _gate.wait()
    return "waited"


@workflow
async def waits() -> str:
    return await note_and_wait("never")


@pytest.mark.parametrize(
    "kind", ["postgres"], indirect=True
)  # SQLite: a cancel waits for the file, which the step has
async def test_a_cancelled_run_keeps_nothing_of_its_open_transaction() -> None:
    async with Stepflow(_database.url, workflows=[waits]) as app:
        run = await app.trigger(waits)
        await _inside.acquire()
        await app.cancel(run.id)

        with pytest.raises(RunCancelledError):
            await run.result()
        assert await notes_of(_database) == []


@pytest.mark.parametrize("kind", ["sqlite"], indirect=True)
async def test_a_worker_that_is_stopped_keeps_nothing_of_an_open_transaction() -> None:
    async with Stepflow(_database.url, workflows=[waits], grace="10ms") as app:
        run = await app.trigger(waits)
        await _inside.acquire()

    assert await notes_of(_database) == []
    _gate.set()
    async with Stepflow(_database.url, workflows=[waits]) as app:
        assert await app.handle(run.id, waits).result() == "never"
        assert await notes_of(_database) == ["never"]


@step(timeout="50ms", retry=Retry(attempts=1))
async def note_too_slowly() -> None:
    await write("slow")
    await _gate.wait()


@workflow
async def too_slow() -> None:
    await note_too_slowly()


async def test_a_step_that_takes_too_long_has_written_nothing() -> None:
    async with Stepflow(_database.url, workflows=[too_slow]) as app:
        run = await app.trigger(too_slow)

        with pytest.raises(RunFailedError, match=r"within 0\.05 s"):
            await run.result()
        assert await notes_of(_database) == []


# ------------------------------------------------------------------ what happens meanwhile
_orders: list[list[str]] = []


@workflow
async def side_by_side() -> list[str]:
    """Says in which order it was told what happened."""
    order: list[str] = []

    async def tell(name: str, what: Awaitable[Any]) -> None:
        await what
        order.append(name)

    await asyncio.gather(
        tell("noted", note("a")), tell("waited", wait_here()), tell("slept", sleep("short", "1s"))
    )
    _orders.append(list(order))
    await wait_for_event("go")
    return order


async def test_what_happens_during_a_commit_is_told_after_it(
    transaction_class: type[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = transaction_class.commit
    clock = FakeClock()
    told = asyncio.Event()

    async def commit_slowly(self: Any, write: Any, *, now: Any) -> Any:
        _gate.set()  # the other step ends,
        clock.advance("2s")  # and the timer is due,
        for _ in range(20):  # and both have had their turns,
            await asyncio.sleep(0)
        told.set()
        return await commit(self, write, now=now)  # before this one is durable

    monkeypatch.setattr(transaction_class, "commit", commit_slowly)
    _orders.clear()
    async with Stepflow(_database.url, workflows=[side_by_side], clock=clock) as app:
        run = await app.trigger(side_by_side)
        await told.wait()
        await until_suspended(run)
    async with Stepflow(_database.url, workflows=[side_by_side], clock=clock) as app:
        await app.notify("go")
        result = await app.handle(run.id, side_by_side).result()

    live, replayed = _orders
    assert live == replayed == result, "the order of the journal is the order of delivery"
    assert live[0] == "noted"
    assert await notes_of(_database) == ["a"]


# ------------------------------------------------------------------ unknown ends
async def test_a_commit_whose_answer_was_lost_is_found_in_the_journal(
    transaction_class: type[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = transaction_class.commit

    async def commits_and_is_cut(self: Any, write: Any, *, now: Any) -> Any:
        await commit(self, write, now=now)
        raise StorageUnavailableError("cut after the commit")

    monkeypatch.setattr(transaction_class, "commit", commits_and_is_cut)
    async with Stepflow(_database.url, workflows=[notes]) as app:
        run = await app.trigger(notes, ["a", "b"])

        assert await run.result() == ["A", "B"]
        assert await notes_of(_database) == ["a", "b"]
    assert _bodies == ["a", "b"], "none runs again"


async def test_a_commit_that_never_arrived_is_made_again(
    transaction_class: type[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = transaction_class.commit
    cuts = [1, 1, 1]

    async def is_cut(self: Any, write: Any, *, now: Any) -> Any:
        if cuts:
            cuts.pop()
            raise StorageUnavailableError("cut before the commit")
        return await commit(self, write, now=now)

    monkeypatch.setattr(transaction_class, "commit", is_cut)
    async with Stepflow(_database.url, workflows=[notes]) as app:
        run = await app.trigger(notes, ["a", "b"])

        assert await run.result() == ["A", "B"]
        assert await notes_of(_database) == ["a", "b"]
        view = await app.get_run(run.id)
        assert [shown.attempts for shown in view.steps] == [1, 1], "trouble of the storage is no attempt"
    assert _bodies == ["a", "a", "a", "a", "b"]


async def test_a_run_that_was_resumed_elsewhere_replays_what_was_recorded(kind: str) -> None:
    async with Stepflow(_database.url, workflows=[notes_then_wait]) as app:
        run = await app.trigger(notes_then_wait)
        await until_suspended(run)
    async with Stepflow(_database.url, workflows=[notes_then_wait]) as app:
        await app.notify("go")

        assert await app.handle(run.id, notes_then_wait).result() == "A"
        assert await notes_of(_database) == ["a"]
    assert _bodies == ["a"]


@workflow
async def notes_then_wait() -> str:
    written = await note("a")
    await wait_for_event("go")
    return written


# ------------------------------------------------------------------ what is refused
@step
async def write_beside() -> str:
    async with transaction():
        try:
            await _app.notify("go")
        except WouldDeadlockError as error:
            return str(error)
    return "sent"


@workflow
async def beside() -> str:
    return await write_beside()


_app: Stepflow


async def test_a_write_beside_the_transaction_is_refused_where_it_would_wait_for_it(kind: str) -> None:
    global _app
    async with Stepflow(_database.url, workflows=[beside]) as _app:
        told = await (await _app.trigger(beside)).result()

    assert "connection=" in told if kind == "sqlite" else told == "sent"


@step(retry=Retry(attempts=1))
async def commit_by_hand() -> str:
    async with transaction() as tx:
        await _database.put(tx, "by hand")
        if isinstance(tx, sqlite3.Connection):
            tx.commit()
        else:
            await tx.execute("COMMIT")
    return "done"


@workflow
async def by_hand() -> str:
    return await commit_by_hand()


async def test_a_transaction_that_was_ended_by_hand_fails_the_step(kind: str) -> None:
    async with Stepflow(_database.url, workflows=[by_hand]) as app:
        run = await app.trigger(by_hand)

        with pytest.raises(
            RunFailedError, match="not authorized" if kind == "sqlite" else "ended inside the step"
        ):
            await run.result()


@step(retry=Retry(attempts=1))
async def wrong_kind() -> None:
    async with transaction(Path):
        pass


@workflow
async def asks_for_a_path() -> None:
    await wrong_kind()


async def test_an_unknown_kind_is_an_error_that_names_the_known_ones() -> None:
    async with Stepflow(_database.url, workflows=[asks_for_a_path]) as app:
        run = await app.trigger(asks_for_a_path)

        with pytest.raises(RunFailedError, match="Connection"):
            await run.result()


@pytest.mark.parametrize("kind", ["sqlite"], indirect=True)
async def test_a_storage_without_transactions_says_so() -> None:
    async with Stepflow("memory://", workflows=[notes]) as app:
        run = await app.trigger(notes, ["a"])

        with pytest.raises(RunFailedError, match="no transactions that a step could join"):
            await run.result()


@pytest.mark.parametrize("kind", ["sqlite"], indirect=True)
async def test_outside_a_step_there_is_no_transaction() -> None:
    with pytest.raises(NotInStepError, match="body of a step"):
        transaction()
    with pytest.raises(NotInStepError, match="outside of any run"):
        await note("alone")


@workflow
async def opens_one() -> None:
    async with transaction():
        pass


@pytest.mark.parametrize("kind", ["sqlite"], indirect=True)
async def test_workflow_code_can_open_none() -> None:
    async with Stepflow(_database.url, workflows=[opens_one]) as app:
        run = await app.trigger(opens_one)

        with pytest.raises(RunFailedError, match="body of a step"):
            await run.result()


# ------------------------------------------------------------------ losing the run
@pytest.mark.parametrize("kind", ["postgres"], indirect=True)
async def test_a_run_that_was_taken_over_meanwhile_keeps_nothing_of_the_former_owner() -> None:
    assert isinstance(_database, Postgres)
    async with Stepflow(_database.url, workflows=[waits], worker_name="same") as slow:
        run = await slow.trigger(waits)
        await _inside.acquire()
        async with Stepflow(_database.url, workflows=[waits], worker_name="same") as heir:
            # Of the same name: the former one's runs are the heir's at once.
            await _inside.acquire()
            _gate.set()

            assert await heir.handle(run.id, waits).result() == "never"
            assert await notes_of(_database) == ["never"], "once"
