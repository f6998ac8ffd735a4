"""Primitives where no run is: steps are plain calls with a context of their own, everything else says what to do."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import threading
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from stepflow._engine.current import StepRun, enter_step, in_step
from stepflow.errors import DuplicateKeyError, InputError, NotInRunError
from stepflow.primitives import (
    ChildHandle,
    Event,
    continue_as,
    current_run,
    now,
    random,
    sleep,
    sleep_until,
    step,
    uuid4,
    wait_for_event,
)
from stepflow.workflows import workflow


class TroubleError(Exception):
    pass


@step
async def on_the_loop(x: int) -> tuple[int, int]:
    return x, threading.get_ident()


@step
def on_a_thread(x: int) -> tuple[int, int]:
    return x, threading.get_ident()


@step(executor="inline")
def inline() -> int:
    return threading.get_ident()


@step
async def who() -> list[Any]:
    run = current_run()
    return [run.id, run.attempt, run.workflow_id, run.input, run.step.name, run.step.attempt]


@step
def who_on_a_thread() -> str:
    return current_run().id


@step
async def nested() -> list[str]:
    return [current_run().id, await who_on_a_thread(), current_run().step.name]


@workflow
async def nightly() -> None: ...


# ------------------------------------------------------------------ steps
async def test_a_coroutine_function_runs_on_the_loop() -> None:
    assert await on_the_loop(1) == (1, threading.get_ident())


async def test_a_plain_function_runs_on_a_thread() -> None:
    x, thread = await on_a_thread(x=1)

    assert x == 1
    assert thread != threading.get_ident()


async def test_an_inline_function_does_not() -> None:
    assert await inline() == threading.get_ident()


async def test_the_context_is_one_of_its_own() -> None:
    first, second = await who(), await who()

    assert first[0].startswith("local-")
    assert first[0] != second[0]
    assert first[1:] == [1, "local", None, "who", 1]


async def test_a_step_in_a_step_shares_its_context_also_on_a_thread() -> None:
    outer, inner, name = await nested()

    assert inner == outer
    assert name == "nested"


async def test_the_context_ends_with_the_step() -> None:
    await who()

    with pytest.raises(NotInRunError, match="current_run"):
        current_run()


async def test_a_failure_is_not_tried_again() -> None:
    calls: list[int] = []

    @step(retry=5)
    async def fail() -> None:
        calls.append(1)
        raise TroubleError

    with pytest.raises(TroubleError):
        await fail()
    assert calls == [1]


async def test_an_awaitable_that_a_plain_function_returns_is_awaited_on_the_loop() -> None:
    async def later() -> int:
        return threading.get_ident()

    assert await step.run("lazy", lambda: later()) == threading.get_ident()  # made on the thread


async def test_the_idempotency_key_is_stable_within_a_step() -> None:
    @step
    async def keys() -> list[str]:
        return [current_run().step.idempotency_key, current_run().step.idempotency_key]

    first, second = await keys()

    assert first == second


async def test_a_step_logs_to_the_logger_of_runs(caplog: pytest.LogCaptureFixture) -> None:
    @step
    async def talk() -> str:
        current_run().log.warning("%s sold", "tea", order=7, name="taken", run_id="mine")
        return current_run().id

    run_id = await talk()

    (record,) = caplog.records
    assert (record.name, record.levelname, record.getMessage()) == ("stepflow.run", "WARNING", "tea sold")
    fields = vars(record)
    assert (fields["run_id"], fields["step"], fields["order"]) == (run_id, "talk", 7)
    assert (fields["name_"], fields["run_id_"]) == ("taken", "mine")


async def test_a_logged_exception_keeps_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    @step
    async def talk() -> None:
        try:
            raise TroubleError("inside")
        except TroubleError:
            current_run().log.error("it broke", exc_info=True)

    await talk()

    assert "TroubleError: inside" in caplog.text


@pytest.mark.parametrize("level", ["debug", "info", "warning", "error"])
async def test_every_level_is_there(level: str, caplog: pytest.LogCaptureFixture) -> None:
    @step
    async def talk() -> None:
        getattr(current_run().log, level)("said")

    with caplog.at_level(logging.DEBUG, "stepflow.run"):
        await talk()

    assert [record.levelname for record in caplog.records] == [level.upper()]


def test_a_context_of_its_own_may_be_entered_for_a_body() -> None:
    context = contextvars.copy_context()

    context.run(enter_step, a_step_run())

    assert context.run(lambda: current_run().step.name) == "mine"
    with pytest.raises(NotInRunError):
        current_run()


def test_a_run_says_what_it_is() -> None:
    with in_step(a_step_run()):
        assert repr(current_run()) == "<run 'run_1' of 'job', attempt 2>"
        assert current_run().input == {"x": 1}


def a_step_run() -> StepRun:
    return StepRun(
        run_id="run_1",
        workflow_id="job",
        run_attempt=2,
        started_at=datetime(2026, 1, 1, tzinfo=UTC),
        input=lambda: {"x": 1},
        digest=lambda *parts: "/".join(parts),
        name="mine",
        key="mine",
        attempt=1,
    )


# ------------------------------------------------------------------ fan-out
async def test_a_map_runs_in_order_and_within_its_window() -> None:
    running, most = 0, 0

    async def body(x: int) -> int:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        return -x

    assert await step.map("m", body, range(10), concurrency=3) == [-x for x in range(10)]
    assert most == 3


async def test_a_failing_map_cancels_the_other_members() -> None:
    cancelled: list[int] = []
    begun = asyncio.Event()

    async def body(x: int) -> None:
        if x == 0:
            await begun.wait()
            raise TroubleError("first")
        try:
            begun.set()
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(x)
            raise

    with pytest.raises(TroubleError):
        await step.map("m", body, [0, 1])
    assert cancelled == [1]


async def test_a_map_may_collect_failures() -> None:
    async def body(x: int) -> int:
        if x:
            raise TroubleError(str(x))
        return x

    results = await step.map("m", body, [0, 1], return_exceptions=True)

    assert results[0] == 0
    assert isinstance(results[1], TroubleError)


async def test_a_map_refuses_keys_that_are_not_unique() -> None:
    with pytest.raises(DuplicateKeyError):
        await step.map("m", on_the_loop, [1, 2], key=lambda x: "same")


async def test_parallel_gives_a_tuple() -> None:
    assert await step.parallel("p", lambda: 1, lambda: "x") == (1, "x")


# ------------------------------------------------------------------ what needs a run
NEEDS_A_RUN: list[tuple[str, Callable[[], Any]]] = [
    ("sleep", lambda: sleep("1s")),
    ("sleep_until", lambda: sleep_until(datetime(2030, 1, 1, tzinfo=UTC))),
    ("wait_for_event", lambda: wait_for_event("a")),
    ("Event.wait", lambda: Event("a/{id}").wait(id=1)),
    ("step.invoke", lambda: step.invoke(nightly)),
    ("step.start", lambda: step.start(nightly)),
    ("step.send_event", lambda: step.send_event("a", 1)),
    ("continue_as", lambda: continue_as(1)),
    ("current_run", current_run),
]


@pytest.mark.parametrize(("verb", "call"), NEEDS_A_RUN)
def test_what_needs_a_run_says_so_when_it_is_called(verb: str, call: Callable[[], Any]) -> None:
    with pytest.raises(NotInRunError, match=rf"^{verb}\(\).*stepflow\.testing"):
        call()


@pytest.mark.parametrize(("verb", "call"), NEEDS_A_RUN[:-1])
async def test_what_needs_a_workflow_is_refused_in_a_step(verb: str, call: Callable[[], Any]) -> None:
    async def body() -> None:
        with pytest.raises(NotInRunError, match=verb):
            call()

    await step.run("body", body)


async def test_a_childs_handle_is_of_no_use_outside_of_its_workflow() -> None:
    handle: Any = object.__new__(ChildHandle)

    for verb in (handle.result, handle.cancel):
        with pytest.raises(NotInRunError, match="ChildHandle"):
            await verb()


# ------------------------------------------------------------------ values
def test_outside_of_a_run_values_are_the_real_ones() -> None:
    assert abs(datetime.now(UTC) - now()) < timedelta(minutes=1)
    assert uuid4() != uuid4()
    assert random().random() != random().random()


async def test_a_workflow_called_directly_runs_its_steps_plainly() -> None:
    @workflow
    async def wf(x: int) -> int:
        return (await on_the_loop(x))[0]

    assert await wf(4) == 4


async def test_a_concurrency_is_checked_outside_of_a_run_too() -> None:
    with pytest.raises(InputError):
        await step.map("m", on_the_loop, [1], concurrency=0)


def test_a_step_that_is_never_awaited_is_warned_of_by_its_name() -> None:
    coroutine: Coroutine[Any, Any, Any] = on_the_loop(1)

    assert coroutine.__qualname__ == "on_the_loop"  # type: ignore[attr-defined]  # what the warning says
    coroutine.close()
