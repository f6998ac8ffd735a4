"""``app.sync``: the same methods for threads, views and scripts, which block."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self

import pytest

from stepflow import (
    BlockingCallError,
    NotOpenError,
    ResultTimeoutError,
    RunCancelledError,
    RunFailedError,
    RunNotFoundError,
    Stepflow,
    step,
    wait_for_event,
    workflow,
)
from stepflow.storage.memory import MemoryStorage


@step
async def add_one(n: int) -> int:
    return n + 1


@workflow
async def increments(n: int) -> int:
    return await add_one(n)


@workflow
async def waits() -> Any:
    return await wait_for_event("go")


@workflow
async def fails() -> None:
    raise LookupError("gone")


FLOWS = [increments, waits, fails]


class Serving:
    """An app with a worker, on an event loop of its own thread; what a worker process is elsewhere."""

    def __init__(self, storage: Any) -> None:
        self.app = Stepflow(storage, workflows=FLOWS)
        self._ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        async with self.app:
            self._ready.set()
            await self._stop.wait()

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait(10)
        return self

    def __exit__(self, *exc: object) -> None:
        assert self._loop is not None
        assert self._stop is not None
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)


@pytest.fixture
def app() -> Any:
    """An app for blocking calls, whose runs another thread executes."""
    storage = MemoryStorage()
    with Serving(storage):
        app = Stepflow(storage, workflows=FLOWS)
        yield app
        app.sync.close()


def test_a_script_triggers_and_waits(app: Stepflow) -> None:
    run = app.sync.trigger(increments, 41)

    assert run.result(timeout="15s") == 42
    assert run.status() == "completed"
    assert run.created
    assert app.sync.get_run(run.id).output == 42
    assert [item.id for item in app.sync.list_runs(workflow=increments).items] == [run.id]


def test_errors_are_those_of_the_app(app: Stepflow) -> None:
    with pytest.raises(RunFailedError, match="gone"):
        app.sync.trigger(fails).result(timeout="15s")
    with pytest.raises(RunNotFoundError):
        app.sync.handle("nobody").status()
    waiting = app.sync.trigger(waits)
    with pytest.raises(ResultTimeoutError):
        waiting.result(timeout="10ms")
    waiting.cancel()
    with pytest.raises(RunCancelledError):
        waiting.result(timeout="15s")


def test_a_view_notifies_pauses_resumes_and_deletes(app: Stepflow) -> None:
    run = app.sync.trigger(waits)
    app.sync.pause(run.id)
    app.sync.resume(run.id)
    app.sync.notify("go", {"n": 1})
    assert run.result(timeout="15s") == {"n": 1}
    app.sync.delete(run.id)
    with pytest.raises(RunNotFoundError):
        run.status()


def test_many_threads_share_one_connection(app: Stepflow) -> None:
    with ThreadPoolExecutor(16) as pool:
        results = list(pool.map(lambda n: app.sync.trigger(increments, n).result(timeout="15s"), range(100)))

    assert results == list(range(1, 101))
    assert sum(thread.name == "stepflow-sync" for thread in threading.enumerate()) == 1


async def test_on_a_running_loop_it_refuses_and_says_what_to_do(app: Stepflow) -> None:
    for call in (
        lambda: app.sync.trigger(increments, 1),
        lambda: app.sync.notify("go"),
        lambda: app.sync.get_run("x"),
    ):
        with pytest.raises(BlockingCallError, match="await app"):
            call()


def test_it_never_starts_a_worker() -> None:
    app = Stepflow("memory://", workflows=FLOWS, worker=True)
    run = app.sync.trigger(increments, 1)
    with pytest.raises(ResultTimeoutError):
        run.result(timeout="50ms")
    app.sync.close()


def test_it_may_be_closed_and_used_again(app: Stepflow) -> None:
    run = app.sync.trigger(increments, 1)
    app.sync.close()
    app.sync.close()

    assert app.sync.handle(run.id, increments).result(timeout="15s") == 2


async def test_an_async_step_can_use_it_from_a_thread(app: Stepflow) -> None:
    run = await asyncio.to_thread(app.sync.trigger, increments, 1)

    assert await asyncio.to_thread(run.result, timeout="15s") == 2


async def test_the_async_app_is_not_open_because_its_sync_is(app: Stepflow) -> None:
    await asyncio.to_thread(app.sync.list_runs)
    with pytest.raises(NotOpenError):
        await app.list_runs()


# ------------------------------------------------------------------ after a fork
def in_the_child(app: Stepflow, run_id: str, answers: Any) -> None:
    try:
        answers.put(app.sync.handle(run_id).status())
        answers.put(app.sync.trigger(increments, 5).id)
    except BaseException as error:  # noqa: BLE001 - the parent asserts on it
        answers.put(repr(error))
        answers.put("")


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_process_gets_a_thread_and_a_connection_of_its_own(tmp_path: Path) -> None:
    app = Stepflow(f"sqlite:///{tmp_path}/forked.db", workflows=FLOWS)
    run = app.sync.trigger(increments, 1)
    context = multiprocessing.get_context("fork")
    answers = context.SimpleQueue()
    child = context.Process(target=in_the_child, args=(app, run.id, answers))
    child.start()
    status, child_s_run = answers.get(), answers.get()
    child.join(10)

    assert (status, child.exitcode) == ("queued", 0)
    assert app.sync.handle(child_s_run).status() == "queued"
    app.sync.close()
    assert os.getpid() != child.pid
