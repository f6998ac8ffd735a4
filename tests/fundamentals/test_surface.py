"""The surface of asyncio: each part works in a workflow, live and from every prefix; what reaches out of it is refused."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from stepflow._engine.execution import RunFacts
from stepflow._engine.loop import ReplayLoop
from stepflow.errors import NotDurableError, NotInRunError
from stepflow.primitives import now, sleep, step, wait_for_event
from tests.fundamentals.driving import T0, Driver, World, assert_replays, drive

Main = Callable[[], Awaitable[Any]]
SECONDS = {"slow": 5.0, "quick": 1.0}


async def body(what: str) -> str:
    return what


def run(name: str) -> Any:
    return step.run(name, body, name)


async def at(name: str) -> list[Any]:
    """A step, and the second at which it was there."""
    return [await run(name), seconds()]


def seconds() -> float:
    return (now() - T0).total_seconds()


# ------------------------------------------------------------------ what works
async def gather() -> Any:
    return await asyncio.gather(run("slow"), run("quick"), at("slow"))


async def gather_with_exceptions() -> Any:
    async def fails() -> None:
        await run("quick")
        raise ValueError("as meant")

    results = await asyncio.gather(fails(), run("slow"), return_exceptions=True)
    return [repr(results[0]), results[1]]


async def task_group() -> Any:
    async with asyncio.TaskGroup() as group:
        slow = group.create_task(at("slow"))
        quick = group.create_task(at("quick"), name="named")
    return [slow.result(), quick.result()]


async def task_group_that_fails() -> Any:
    async def fails() -> None:
        await run("quick")
        raise ValueError("as meant")

    caught: list[str] = []
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(at("slow"))
            group.create_task(fails())
    except* ValueError as several:
        caught += [str(error) for error in several.exceptions]
    return caught


async def wait() -> Any:
    tasks = [asyncio.create_task(at("slow"), name="slow"), asyncio.create_task(at("quick"), name="quick")]
    done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    rest, _ = await asyncio.wait(pending, timeout=1)
    last, _ = await asyncio.wait(pending)
    return [[task.get_name() for task in each] for each in (done, pending, rest, last)]


async def wait_for() -> Any:
    results = [await asyncio.wait_for(at("quick"), 2)]
    try:
        await asyncio.wait_for(at("slow"), 2)
    except TimeoutError:
        results.append(["late", seconds()])
    return results


async def timeout() -> Any:
    results: list[Any] = []
    for limit in (2, 9):
        try:
            async with asyncio.timeout(limit) as scope:
                results.append(await at("slow"))
        except TimeoutError:
            results.append([scope.expired(), seconds()])
    async with asyncio.timeout_at(asyncio.get_running_loop().time() + 9) as scope:
        scope.reschedule(None)
        results.append(await at("slow"))
    return results


async def as_completed() -> Any:
    tasks = [asyncio.create_task(at(name)) for name in ("slow", "quick")]
    return [await each for each in asyncio.as_completed(tasks, timeout=9)]


async def shield() -> Any:
    task = asyncio.create_task(at("slow"))
    try:
        await asyncio.wait_for(asyncio.shield(task), 1)
    except TimeoutError:
        return ["late", await task]


async def plain_sleep() -> Any:
    results = [await asyncio.sleep(3, "slept"), seconds()]
    await asyncio.sleep(0)
    await asyncio.sleep(-1)
    await asyncio.gather(asyncio.sleep(4), sleep("durable", 2))
    return [*results, seconds()]


async def queue() -> Any:
    made: asyncio.Queue[Any] = asyncio.Queue(maxsize=1)
    eaten: list[Any] = []

    async def produce(name: str) -> None:
        await made.put(await run(name))

    async def eat() -> None:
        while True:
            eaten.append([await made.get(), await run("quick"), seconds()])
            made.task_done()

    eater = asyncio.create_task(eat())
    await asyncio.gather(produce("slow"), produce("quick"), produce("quick"))
    await made.join()
    eater.cancel()
    return eaten


async def priority_queue() -> Any:
    made: asyncio.PriorityQueue[Any] = asyncio.PriorityQueue()
    for name in ("slow", "quick"):
        made.put_nowait(await run(name))
    return [await made.get(), await made.get()]


async def lock() -> Any:
    guard = asyncio.Lock()

    async def alone(name: str) -> list[Any]:
        async with guard:
            return await at(name)

    return await asyncio.gather(alone("slow"), alone("quick"), alone("quick"))


async def event() -> Any:
    happened = asyncio.Event()

    async def after() -> list[Any]:
        await happened.wait()
        return await at("quick")

    async def makes() -> None:
        await run("slow")
        happened.set()

    return await asyncio.gather(after(), makes(), after())


async def condition() -> Any:
    changed = asyncio.Condition()
    left = [2]

    async def waits() -> float:
        async with changed:
            await changed.wait_for(lambda: not left[0])
        return seconds()

    async def changes(name: str) -> None:
        await run(name)
        async with changed:
            left[0] -= 1
            changed.notify_all()

    return await asyncio.gather(waits(), changes("slow"), changes("quick"), waits())


async def semaphore() -> Any:
    guard = asyncio.Semaphore(2)

    async def among_two(name: str) -> list[Any]:
        async with guard:
            return await at(name)

    return await asyncio.gather(*(among_two(name) for name in ("slow", "quick", "quick")))


async def bounded_semaphore() -> Any:
    guard = asyncio.BoundedSemaphore(1)
    async with guard:
        first = await run("quick")
    try:
        guard.release()
    except ValueError:
        return first


async def barrier() -> Any:
    meeting = asyncio.Barrier(2)

    async def meets(name: str) -> list[Any]:
        await run(name)
        return [await meeting.wait(), seconds()]

    return await asyncio.gather(meets("slow"), meets("quick"))


async def callbacks() -> Any:
    loop = asyncio.get_running_loop()
    fired: list[Any] = []
    ended = loop.create_future()
    loop.call_soon(fired.append, "soon")
    late = loop.call_later(9, fired.append, "never")
    loop.call_at(loop.time() + 2, ended.set_result, "ended")
    loop.call_at(loop.time() - 2, fired.append, "at once")
    await run("quick")
    late.cancel()
    return [fired, await ended, seconds(), late.cancelled()]


async def tasks() -> Any:
    async def named() -> str:
        task = asyncio.current_task()
        assert task is not None
        return task.get_name()

    task = asyncio.create_task(named(), name="mine")
    others = sorted(task.get_name() for task in asyncio.all_tasks() if task is not asyncio.current_task())
    return [others, await task, await run("quick")]


async def futures() -> Any:
    future: asyncio.Future[Any] = asyncio.Future()

    async def resolve() -> None:
        future.set_result(await run("quick"))

    task = asyncio.ensure_future(resolve())
    return [await asyncio.wrap_future(future), await task]


WORKS: dict[Main, Any] = {
    gather: ["slow", "quick", ["slow", 5]],
    gather_with_exceptions: ["ValueError('as meant')", "slow"],
    task_group: [["slow", 5], ["quick", 1]],
    task_group_that_fails: ["as meant"],
    wait: [["quick"], ["slow"], [], ["slow"]],
    wait_for: [["quick", 1], ["late", 3]],
    timeout: [[True, 2], ["slow", 7], ["slow", 12]],
    as_completed: [["quick", 1], ["slow", 5]],
    shield: ["late", ["slow", 5]],
    plain_sleep: ["slept", 3, 7],
    queue: [["quick", "quick", 2], ["quick", "quick", 3], ["slow", "quick", 6]],
    priority_queue: ["quick", "slow"],
    lock: [["slow", 5], ["quick", 6], ["quick", 7]],
    event: [["quick", 6], None, ["quick", 6]],
    condition: [5, None, None, 5],
    semaphore: [["slow", 5], ["quick", 1], ["quick", 2]],
    bounded_semaphore: "quick",
    barrier: [[1, 5], [0, 5]],
    callbacks: [["soon", "at once"], "ended", 2, True],
    tasks: [["mine"], "mine", "quick"],
    futures: ["quick", None],
}


@pytest.mark.parametrize("main", WORKS, ids=lambda main: main.__name__)
def test_it_works_in_a_workflow_live_and_replayed(main: Main) -> None:
    history = drive(main, world=World(takes=lambda command: SECONDS[command.name]))

    assert history.value == WORKS[main]
    assert_replays(history)


# ------------------------------------------------------------------ what reaches out
def loop() -> Any:
    return asyncio.get_running_loop()


async def threadsafe() -> None:
    coroutine = body("x")
    try:
        asyncio.run_coroutine_threadsafe(coroutine, loop())
    finally:
        coroutine.close()


async def open_socket() -> None:
    with socket.socket() as opened:
        opened.setblocking(False)
        await loop().sock_connect(opened, ("127.0.0.1", 9))


REFUSED: dict[str, tuple[Callable[[], Any], str, str]] = {
    "open_connection": (
        lambda: asyncio.open_connection("localhost", 9),
        "network I/O",
        "move it into a step",
    ),
    "start_server": (
        lambda: asyncio.start_server(print, "localhost", 0),
        "network I/O",
        "move it into a step",
    ),
    "getaddrinfo": (lambda: loop().getaddrinfo("localhost", 9), "network I/O", "move it into a step"),
    "a socket": (open_socket, "network I/O", "move it into a step"),
    "a reader": (lambda: loop().add_reader(0, print), "network I/O", "move it into a step"),
    "to_thread": (lambda: asyncio.to_thread(print), "a thread or an executor", "move it into a step"),
    "an executor": (
        lambda: loop().run_in_executor(None, print),
        "a thread or an executor",
        "move it into a step",
    ),
    "exec": (lambda: asyncio.create_subprocess_exec("true"), "a subprocess", "move it into a step"),
    "shell": (lambda: asyncio.create_subprocess_shell("true"), "a subprocess", "move it into a step"),
    "a signal": (
        lambda: loop().add_signal_handler(signal.SIGUSR1, print),
        "a signal handler",
        "move it into a step",
    ),
    "stop": (lambda: loop().stop(), "driving the loop", "move it into a step"),
    "threadsafe": (threadsafe, "calling into a workflow from a thread", "await a step"),
    "a task factory": (lambda: loop().set_task_factory(None), "set_task_factory()", "names tasks itself"),
    "a handler": (lambda: loop().set_exception_handler(None), "set_exception_handler()", "in the task"),
    "generators": (lambda: loop().shutdown_asyncgens(), "shutdown_asyncgens()", "closes generators itself"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_reaching_out_of_a_workflow_is_refused_with_advice(what: str) -> None:
    reach, says, advice = REFUSED[what]

    async def main() -> None:
        await run("quick")
        reached = reach()
        if reached is not None:
            await reached

    history = drive(main)

    assert isinstance(history.error, NotDurableError)
    assert says in str(history.error)
    assert advice in str(history.error)
    assert_replays(history)


def test_no_method_of_an_event_loop_is_left_without_an_answer() -> None:
    """A newer Python may add one: then it is decided here whether it works or is refused."""
    missing = [
        name
        for name, inherited in vars(asyncio.AbstractEventLoop).items()
        if callable(inherited) and not name.startswith("_") and name not in vars(ReplayLoop)
    ]

    assert missing == []


def test_the_world_is_the_same_after_a_workflow_ran() -> None:
    async def main() -> str:
        return await run("quick")

    async def host() -> list[Any]:
        before = [asyncio.get_running_loop(), sys.get_asyncgen_hooks()]
        done: list[Any] = []
        asyncio.get_running_loop().call_soon(lambda: done.append(drive(main).value))
        await asyncio.sleep(0)
        return [*done, before == [asyncio.get_running_loop(), sys.get_asyncgen_hooks()]]

    assert asyncio.run(host()) == ["quick", True]


def test_after_a_workflow_ran_its_thread_is_in_no_run() -> None:
    async def main() -> str:
        return await run("quick")

    assert drive(main).value == "quick"

    with pytest.raises(NotInRunError):
        wait_for_event("paid")


def test_a_lock_that_was_contended_in_one_run_is_refused_in_another() -> None:
    shared = asyncio.Lock()

    async def guarded() -> None:
        async with shared:
            await run("quick")

    async def main() -> None:
        await asyncio.gather(guarded(), guarded())

    assert drive(main).value is None

    assert "different event loop" in str(drive(main, run_id="another").error)


def test_a_lock_that_another_run_waits_for_can_not_be_released_into_it() -> None:
    shared = asyncio.Lock()

    async def main() -> None:
        async with shared:
            await run("quick")

    holder = Driver(main, RunFacts(run_id="holder", workflow_id="w"), World()).begin()
    waiter = Driver(main, RunFacts(run_id="waiter", workflow_id="w"), World()).begin()

    ended = holder.run()
    waiter.end()

    assert isinstance(ended.error, NotDurableError)
    assert "shared between runs" in str(ended.error)
