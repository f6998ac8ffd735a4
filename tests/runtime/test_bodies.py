"""Bodies of steps: where they run, how long, how often, and what becomes of what they return."""

from __future__ import annotations

import asyncio
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest

from stepflow import (
    Retry,
    RunFailedError,
    SerializationError,
    StepInterruptedError,
    StepTimeoutError,
    current_run,
    step,
    workflow,
)
from stepflow.hooks import StepFinished
from stepflow.storage.memory import MemoryStorage
from tests.runtime.living import close_in_time, living, settle, until

ONCE = Retry(attempts=1)
effects: list[Any] = []


@pytest.fixture(autouse=True)
def clean() -> None:
    effects.clear()


# ------------------------------------------------------------------ timeouts
@step(retry=ONCE, timeout="10s")
async def sleeps_on_the_loop() -> None:
    effects.append("began")
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        effects.append("cancelled")
        raise


@workflow
async def hangs() -> str:
    try:
        await sleeps_on_the_loop()
    except StepTimeoutError as error:
        return str(error)
    return "?"


async def test_an_async_step_is_cancelled_when_its_timeout_passes() -> None:
    async with living(hangs) as world:
        run = await world.app.trigger(hangs)
        await until(lambda: effects == ["began"])
        await world.pass_time("9s")
        assert effects == ["began"]
        await world.pass_time("1s")

        assert await run.result() == "step 'sleeps_on_the_loop' did not end within 10 s"
        assert effects == ["began", "cancelled"]


async def test_a_timeout_is_per_attempt() -> None:
    @step(retry=Retry(attempts=3, delay="1s", backoff=1, jitter=False), timeout="10s")
    async def slow_at_first() -> int:
        effects.append(current_run().step.attempt)
        if current_run().step.attempt < 3:
            await asyncio.Event().wait()
        return current_run().step.attempt

    @workflow
    async def is_slow() -> int:
        return await slow_at_first()

    async with living(is_slow) as world:
        run = await world.app.trigger(is_slow)
        for attempt in (1, 2):
            await until(lambda attempt=attempt: len(effects) == attempt)
            await world.pass_time("10s")
            await world.pass_time("1s")

        assert await run.result() == 3


async def test_a_thread_that_hangs_times_out_and_is_not_run_beside_itself() -> None:
    may_end = threading.Event()
    beside: list[int] = []
    running: list[int] = []

    @step(retry=Retry(attempts=2, delay="1s", jitter=False), timeout="10s")
    def stubborn() -> int:
        running.append(1)
        beside.append(len(running))
        effects.append("began")
        may_end.wait(15)
        running.pop()
        return current_run().step.attempt

    @workflow
    async def is_stubborn() -> int:
        return await stubborn()

    async with living(is_stubborn) as world:
        run = await world.app.trigger(is_stubborn)
        await until(lambda: effects == ["began"])
        await world.pass_time("10s")
        await world.pass_time("2s")
        await settle()
        assert effects == ["began"], "the second attempt waits for the first one's thread"
        may_end.set()

        assert await run.result() == 2
        assert beside == [1, 1]


async def test_a_step_that_ends_as_its_timeout_passes_has_one_outcome_which_is_replayed() -> None:
    storage = MemoryStorage()
    gate = asyncio.Event()

    @step(retry=ONCE, timeout="10s")
    async def close_call() -> str:
        await gate.wait()
        return "made it"

    @step(retry=ONCE)
    async def later() -> None:
        await asyncio.Event().wait()

    @workflow
    async def races() -> str:
        try:
            outcome = await close_call()
        except StepTimeoutError:
            outcome = "too late"
        effects.append(outcome)
        await later()
        return outcome

    async with living(races, storage=storage, grace=0) as world:
        await world.app.trigger(races, id="race")
        await settle()
        gate.set()
        world.clock.advance("10s")
        await until(lambda: effects)
        clock = world.clock
        world.clock.advance("10s")
        await asyncio.wait_for(close_in_time(world), 10)
    async with living(races, storage=storage, clock=clock):
        await until(lambda: len(effects) == 2)

    assert effects[0] == effects[1]


# ------------------------------------------------------------------ threads, processes, inline
@step
def on_a_thread() -> tuple[bool, str, str]:
    run = current_run()
    return threading.current_thread() is threading.main_thread(), run.id, run.step.name


@step(executor="inline")
def inline() -> tuple[bool, str, str]:
    run = current_run()
    return threading.current_thread() is threading.main_thread(), run.id, run.step.name


@step(executor="process")
def in_a_process(number: int, *, factor: int = 2) -> list[int]:
    return [os.getpid(), number * factor]


@dataclass
class Point:
    x: int
    y: int


@step(executor="process")
def mirror(point: Point) -> Point:
    return Point(point.y, point.x)


@step(executor="process", retry=ONCE)
def fails_in_a_process() -> None:
    raise LookupError("over there")


@step(executor="process", retry=Retry(attempts=2, delay=0))
def dies_in_a_process(flag: str) -> str:
    if not os.path.exists(flag):  # noqa: PTH110 - as short as can be: it is imported over there
        open(flag, "w").close()  # noqa: PTH123
        os._exit(1)
    return "second time"


@workflow
async def use_places() -> list[Any]:
    return [await on_a_thread(), await inline()]


async def test_plain_functions_run_on_threads_or_inline_and_know_their_run() -> None:
    async with living(use_places) as world:
        run = await world.app.trigger(use_places)

        assert await run.result() == [[False, run.id, "on_a_thread"], [True, run.id, "inline"]]


@workflow
async def use_processes() -> list[Any]:
    pid, product = await in_a_process(4, factor=3)
    point = await mirror(Point(1, 2))
    try:
        await fails_in_a_process()
    except LookupError as error:
        return [pid, product, point, str(error)]
    return []


@workflow
async def use_a_dying_process(flag: str) -> str:
    return await dies_in_a_process(flag)


async def test_a_process_gets_values_and_gives_values_and_exceptions_back() -> None:
    async with living(use_processes) as world:
        pid, product, point, message = await (await world.app.trigger(use_processes)).result(timeout="15s")

    assert pid != os.getpid()
    assert (product, point, message) == (12, {"x": 2, "y": 1}, "over there")


async def test_a_process_that_dies_is_a_failure_and_the_next_attempt_gets_another(tmp_path: Any) -> None:
    async with living(use_a_dying_process) as world:
        run = await world.app.trigger(use_a_dying_process, str(tmp_path / "flag"))

        assert await run.result(timeout="15s") == "second time"


async def test_a_function_within_a_function_can_t_go_to_a_process() -> None:
    @step(executor="process", retry=ONCE)
    def local() -> None:
        return None

    @workflow
    async def goes_nowhere() -> None:
        await local()

    async with living(goes_nowhere) as world:
        with pytest.raises(RunFailedError, match="top level of its module"):
            await (await world.app.trigger(goes_nowhere)).result()


async def test_an_executor_of_one_s_own_is_used() -> None:
    with ThreadPoolExecutor(1, thread_name_prefix="my-own") as pool:

        @step(executor=pool)
        def where() -> str:
            return threading.current_thread().name

        @workflow
        async def asks_where() -> str:
            return await where()

        async with living(asks_where) as world:
            assert (await (await world.app.trigger(asks_where)).result()).startswith("my-own")


async def test_an_awaitable_that_a_plain_function_returns_is_awaited_on_the_loop() -> None:
    async def inner() -> str:
        return threading.current_thread().name

    @step
    def outer() -> Any:
        return inner()

    @workflow
    async def wraps() -> Any:
        return await outer()

    async with living(wraps) as world:
        assert await (await world.app.trigger(wraps)).result() == threading.main_thread().name


async def test_threads_that_hang_leave_the_loop_alone() -> None:
    may_end = threading.Event()

    @step
    def hog() -> None:
        may_end.wait(15)

    @step
    async def quick() -> str:
        return "quick"

    @workflow
    async def hogs() -> None:
        await hog()

    @workflow
    async def is_quick() -> str:
        return await quick()

    async with living(hogs, is_quick, threads=2) as world:
        hogging = [await world.app.trigger(hogs) for _ in range(5)]
        assert await (await world.app.trigger(is_quick)).result() == "quick"
        may_end.set()
        await asyncio.gather(*(run.result() for run in hogging))


@pytest.mark.parametrize("where", ["thread", "inline"])
async def test_a_plain_function_that_raises_stop_iteration_fails_and_does_not_hang(where: Any) -> None:
    @step(retry=ONCE, executor=where)
    def stops() -> None:
        raise StopIteration(3)

    @workflow
    async def is_stopped() -> None:
        await stops()

    async with living(is_stopped) as world:
        with pytest.raises(RunFailedError, match="StopIteration"):
            await (await world.app.trigger(is_stopped)).result(timeout="15s")


async def test_a_plain_function_that_exits_fails_and_the_process_goes_on() -> None:
    @step
    def leaves() -> None:
        effects.append("left")
        raise SystemExit(3)

    @workflow
    async def is_left() -> None:
        await leaves()

    async with living(is_left) as world:
        with pytest.raises(RunFailedError, match="SystemExit"):
            await (await world.app.trigger(is_left)).result(timeout="15s")
    assert effects == ["left"]


@pytest.mark.parametrize(
    "error",
    [MemoryError("full"), RecursionError("deep"), GeneratorExit(), asyncio.CancelledError("mine")],
    ids=lambda error: type(error).__name__,
)
async def test_whatever_a_body_raises_is_a_failure_of_its_step(error: BaseException) -> None:
    @step(retry=ONCE)
    async def raises() -> None:
        raise error

    @workflow
    async def is_raised() -> None:
        await raises()

    async with living(is_raised) as world:
        with pytest.raises(RunFailedError):
            await (await world.app.trigger(is_raised)).result(timeout="15s")


async def test_an_exception_group_is_raised_as_one() -> None:
    @step(retry=ONCE)
    async def raises() -> None:
        raise ExceptionGroup("several", [ValueError("a"), KeyError("b")])

    @workflow
    async def is_raised() -> str:
        try:
            await raises()
        except ExceptionGroup as group:
            return " ".join(sorted(type(error).__name__ for error in group.exceptions))
        except Exception as error:  # noqa: BLE001 - told below
            return repr(error)
        return "?"

    async with living(is_raised) as world:
        assert (
            "several" in (told := await (await world.app.trigger(is_raised)).result())
            or told == "KeyError ValueError"
        )


async def test_a_wrong_call_of_a_step_fails_that_step() -> None:
    @step(retry=ONCE)
    async def takes_one(one: int) -> int:
        return one

    @workflow
    async def calls_wrong() -> str:
        try:
            await takes_one(1, 2)  # type: ignore[call-arg]
        except TypeError as error:
            return str(error)
        return "?"

    async with living(calls_wrong) as world:
        assert "positional argument" in await (await world.app.trigger(calls_wrong)).result()


@pytest.mark.parametrize("nasty", ["long", "cyclic", "unprintable"])
async def test_nasty_exceptions_are_stored_all_the_same(nasty: str) -> None:
    class UnprintableError(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no text")

        __repr__ = __str__

    @step(retry=ONCE)
    async def raises() -> None:
        if nasty == "long":
            raise ValueError("x" * 10_000_000)
        if nasty == "unprintable":
            raise UnprintableError
        one, two = ValueError("one"), ValueError("two")
        one.__cause__, two.__cause__ = two, one
        raise one

    @workflow
    async def is_nasty() -> None:
        await raises()

    async with living(is_nasty) as world:
        run = await world.app.trigger(is_nasty)
        with pytest.raises(RunFailedError) as caught:
            await run.result()
        assert len(caught.value.message) < 100_000


# ------------------------------------------------------------------ values
async def test_a_result_is_decoded_from_what_was_recorded_also_the_first_time() -> None:
    shared = Point(1, 2)

    @step
    async def gives() -> Point:
        return shared

    @step
    async def gives_a_tuple():  # type: ignore[no-untyped-def]  # without a type it comes back as JSON has it
        return (1, {2: 3})

    @workflow
    async def compares() -> list[Any]:
        point = await gives()
        return [point is shared, point == shared, await gives_a_tuple()]

    async with living(compares) as world:
        assert await (await world.app.trigger(compares)).result() == [False, True, [1, {"2": 3}]]


@pytest.mark.parametrize("what", ["lock", "generator", "cycle", "nan"])
async def test_a_result_that_can_t_be_stored_fails_without_a_retry(what: str) -> None:
    cycle: list[Any] = []
    cycle.append(cycle)
    values = {"lock": threading.Lock(), "generator": (n for n in ()), "cycle": cycle, "nan": object()}

    @step(name="unstorable")
    async def returns_it() -> Any:
        effects.append(1)
        return values[what]

    @workflow
    async def is_unstorable() -> str:
        try:
            await returns_it()
        except SerializationError as error:
            return str(error)
        return "?"

    async with living(is_unstorable) as world:
        told = await (await world.app.trigger(is_unstorable)).result()

    assert "'unstorable'" in told
    assert effects == [1]


async def test_a_result_over_the_limit_fails_without_a_retry_and_one_below_does_not() -> None:
    limit = 4 * 1024 * 1024

    @step
    async def returns(size: int) -> str:
        effects.append(size)
        return "x" * (size - 2)

    @workflow
    async def is_large(size: int) -> int:
        return len(await returns(size))

    async with living(is_large) as world:
        for size in (limit - 1, limit):
            assert await (await world.app.trigger(is_large, size)).result() == size - 2
        with pytest.raises(RunFailedError, match="over the limit"):
            await (await world.app.trigger(is_large, limit + 1)).result()
    assert effects == [limit - 1, limit, limit + 1]


async def test_a_workflow_s_own_result_that_can_t_be_stored_fails_the_run() -> None:
    @workflow(retry=3)
    async def returns_a_lock() -> Any:
        effects.append(1)
        return threading.Lock()

    async with living(returns_a_lock) as world:
        with pytest.raises(RunFailedError, match="returns-a-lock"):
            await (await world.app.trigger(returns_a_lock)).result()
    assert effects == [1]


async def test_a_nul_survives_everywhere() -> None:
    @step(name="n\N{SYMBOL FOR NULL}l", retry=ONCE)
    async def echoes(word: str) -> str:
        if word == "bang\0":
            raise ValueError(word)
        return word

    @workflow
    async def nuls(word: str) -> list[str]:
        try:
            await echoes("bang\0")
        except ValueError as error:
            return [await echoes(word), str(error)]
        return []

    async with living(nuls) as world:
        assert await (await world.app.trigger(nuls, "a\0b")).result() == ["a\0b", "bang\0"]


# ------------------------------------------------------------------ at most once
@step(at_most_once=True)
async def pay_once() -> str:
    effects.append("paid")
    await gate_of["pay"].wait()
    return "receipt"


gate_of: dict[str, asyncio.Event] = {}


@workflow
async def pays_once() -> str:
    try:
        return await pay_once()
    except StepInterruptedError as error:
        return f"unclear: {error}"


async def test_a_step_that_is_at_most_once_leaves_its_intent_before_it_runs() -> None:
    gate_of["pay"] = asyncio.Event()
    async with living(pays_once) as world:
        run = await world.app.trigger(pays_once)
        await until(lambda: effects == ["paid"])
        assert await world.kinds(run) == ["Claimed", "StepIntended"]
        gate_of["pay"].set()

        assert await run.result() == "receipt"


async def test_a_step_that_is_at_most_once_is_not_repeated_after_the_grace() -> None:
    gate_of["pay"] = asyncio.Event()
    storage = MemoryStorage()
    async with living(pays_once, storage=storage, grace="5s") as world:
        run = await world.app.trigger(pays_once)
        await until(lambda: effects == ["paid"])
        clock = world.clock
        await close_in_time(world)
    async with living(pays_once, storage=storage, clock=clock) as later:
        told = await later.app.handle(run.id, pays_once).result()
        kinds = await later.kinds(run)

    assert told.startswith("unclear: step 'pay_once' was interrupted")
    assert effects == ["paid"]
    assert kinds.count("StepInterrupted") == 1


async def test_a_step_that_is_at_most_once_fails_with_its_first_failure() -> None:
    @step(at_most_once=True)
    async def tries() -> None:
        effects.append(1)
        raise ValueError("once")

    @workflow
    async def tries_once() -> None:
        await tries()

    async with living(tries_once) as world:
        with pytest.raises(RunFailedError, match="once"):
            await (await world.app.trigger(tries_once)).result()
    assert effects == [1]


async def test_hooks_hear_of_the_interruption_once() -> None:
    gate_of["pay"] = asyncio.Event()
    storage = MemoryStorage()
    async with living(pays_once, storage=storage, grace=0) as world:
        run = await world.app.trigger(pays_once)
        await until(lambda: effects == ["paid"])
        clock = world.clock
        await close_in_time(world)
        assert [fact for fact in world.facts if isinstance(fact, StepFinished)] == []
    async with living(pays_once, storage=storage, clock=clock) as later:
        await later.app.handle(run.id).result()


# ------------------------------------------------------------------ what a body may know
async def test_an_idempotency_key_is_the_same_for_every_attempt_and_for_nothing_else() -> None:
    keys: list[str] = []

    @step(retry=Retry(attempts=2, delay=0))
    async def keyed(n: int) -> None:
        keys.append(current_run().step.idempotency_key)
        if len(keys) % 2:
            raise ValueError

    @workflow
    async def twice(n: int) -> None:
        await keyed(1)
        await keyed(2)

    async with living(twice) as world:
        for n in range(2):
            await (await world.app.trigger(twice, n)).result()

    assert [a == b for a, b in zip(keys[::2], keys[1::2], strict=True)] == [True] * 4
    assert len(set(keys)) == 4


async def test_a_step_called_in_a_step_is_the_plain_function() -> None:
    @step
    async def inner() -> str:
        effects.append(current_run().step.name)
        return "inner"

    @step
    async def outer() -> str:
        return await inner() + await inner()

    @workflow
    async def nests() -> str:
        return await outer()

    async with living(nests) as world:
        run = await world.app.trigger(nests)
        assert await run.result() == "innerinner"
        assert [s.key for s in (await world.app.get_run(run.id)).steps] == ["outer"]
    assert effects == ["outer", "outer"]


async def test_a_step_that_cancels_its_own_task_is_tried_again_once_and_then_fails(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The first time it may be the event loop that ends (`tests/crash/test_odd_processes.py`); a loop ends only once."""
    tries: list[int] = []

    @step
    async def cancels_itself() -> None:
        tries.append(1)
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(0)

    @workflow
    async def calls_it() -> None:
        await cancels_itself()

    async with living(calls_it) as world:
        run = await world.app.trigger(calls_it)
        await until(lambda: tries == [1])
        await settle()
        assert (await world.record(run)).status == "running"
        assert "cancelled by something else than Stepflow" in caplog.text
        for _ in range(60):
            await world.pass_time("1s")

        with pytest.raises(RunFailedError, match="cancelled from inside"):
            await run.result()
    assert tries == [1, 1]
