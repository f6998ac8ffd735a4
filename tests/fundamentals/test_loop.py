"""The loop: in which order things happen, and what workflow code sees of its surroundings."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import sys
from datetime import timedelta
from typing import Any

import pytest

from stepflow._engine.commands import Diverged
from stepflow._engine.current import current_execution
from stepflow._engine.execution import RunFacts
from stepflow._engine.tasks import WorkflowTask
from stepflow.errors import NonDeterminismError, NotDurableError, StepInterruptedError
from stepflow.model.journal import (
    StepFailed,
    StepIntended,
    StepInterrupted,
)
from stepflow.primitives import current_run, step
from stepflow.retry import Retry
from tests.fundamentals.barely import CLAIMED, FAILURE, body, charge, completed, execution_of, run
from tests.fundamentals.driving import (
    RUN_ID,
    T0,
    Driver,
    World,
    assert_replays,
    drive,
    resume,
)


# ------------------------------------------------------------------ order
def test_tasks_and_futures_hash_alike_on_every_replay() -> None:
    async def main() -> list[int]:
        loop = asyncio.get_running_loop()
        tasks = [asyncio.create_task(charge()) for _ in range(3)]
        numbers = [hash(task) for task in tasks] + [hash(loop.create_future())]
        await asyncio.gather(*tasks)
        return numbers

    first = drive(main)

    assert drive(main).value == first.value
    assert drive(main, run_id="another").value != first.value
    assert first.value == sorted(set(first.value))
    assert_replays(first)


def test_tasks_and_futures_equal_only_themselves() -> None:
    async def main() -> list[bool]:
        loop = asyncio.get_running_loop()
        one, two = loop.create_future(), loop.create_future()
        task, other = asyncio.create_task(body()), asyncio.create_task(body())
        await asyncio.wait([task, other])
        return [one == one, one == two, task == task, task == other]

    assert drive(main).value == [True, False, True, False]


@pytest.mark.parametrize("times", [1, 50])
def test_as_completed_takes_tasks_but_no_bare_coroutines(times: int) -> None:
    async def bare() -> list[Any]:
        coroutines = [charge() for _ in range(times)]
        try:
            return [await each for each in asyncio.as_completed(coroutines)]
        finally:
            for coroutine in coroutines:
                coroutine.close()

    async def tasks() -> list[Any]:
        return [
            await each for each in asyncio.as_completed([asyncio.create_task(charge()) for _ in range(times)])
        ]

    refused = drive(bare)

    assert isinstance(refused.error, NotDurableError)
    assert "asyncio.create_task(c)" in str(refused.error)
    assert drive(tasks).value == ["done"] * times


def test_entries_that_are_delivered_at_once_are_decided_one_after_the_other() -> None:
    async def main() -> str:
        quick, slow = asyncio.create_task(run("quick")), asyncio.create_task(run("slow"))
        await quick
        slow.cancel()
        return await run("end")

    execution = execution_of(main)
    execution.advance([CLAIMED])
    quick, slow = completed(execution, "quick"), completed(execution, "slow", 2)

    report = execution.advance([quick, slow])
    execution.evict()

    assert report.accepted == [quick]
    assert [command.key for command in report.withdrawn] == ["slow"]
    assert [command.key for command in report.commands] == ["end"]
    assert execution.now == T0 + timedelta(seconds=1)


def test_what_is_asked_and_given_up_in_one_go_is_never_handed_out() -> None:
    async def main() -> str:
        task = asyncio.create_task(run("never"))
        await asyncio.sleep(0)
        task.cancel()
        return await run("end")

    execution = execution_of(main)

    report = execution.advance([CLAIMED])
    execution.evict()

    assert [command.key for command in report.commands] == ["end"]
    assert not report.withdrawn


def test_a_command_is_pending_until_it_is_answered_or_given_up() -> None:
    async def main() -> None:
        given_up = asyncio.create_task(run("given up"))
        await run("answered")
        given_up.cancel()
        await run("end")

    execution = execution_of(main)
    first, second = execution.advance([CLAIMED]).commands

    before = [execution.lookup.is_pending(command) for command in (first, second)]
    execution.advance([completed(execution, "answered")])
    after = [execution.lookup.is_pending(command) for command in (first, second)]
    execution.evict()

    assert (before, after) == ([True, True], [False, False])


def test_while_more_entries_follow_nothing_is_handed_out() -> None:
    history = drive(charge)
    execution = execution_of(charge)

    reports = [execution.replay([entry], more=True) for entry in history.entries[:-1]]
    last = execution.replay([])
    execution.evict()

    assert [report.commands for report in reports] == [[]] * len(reports)
    assert [command.key for command in last.commands] == ["x"]


def test_withdrawn_is_also_a_coroutine_that_is_closed_while_it_waits() -> None:
    async def main() -> str:
        asked = run("x")
        asked.send(None)
        await run("y")
        asked.close()
        return await run("end")

    history = drive(main, world=World(takes=lambda command: 9 if command.name == "x" else 1))

    assert history.withdrawn == ["x"]
    assert history.keys == ["y", "end"]


# ------------------------------------------------------------------ contexts, logs, noise
def test_an_execution_begins_in_a_fresh_context_and_keeps_its_own() -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="fresh")
    variable.set("the host's")

    async def main() -> list[str]:
        before = variable.get()
        variable.set("the run's")
        await run("x")
        return [before, variable.get(), await asyncio.create_task(reads())]

    async def reads() -> str:
        return variable.get()

    assert drive(main).value == ["fresh", "the run's", "the run's"]
    assert variable.get() == "the host's"


def test_an_error_that_nobody_looked_at_is_logged_once_and_not_on_replay() -> None:
    async def fails() -> None:
        raise ValueError("unseen")

    async def main() -> str:
        asyncio.get_running_loop().call_soon(callback_that_fails)
        asyncio.get_running_loop().call_exception_handler({"message": "said by hand"})
        asyncio.get_running_loop().default_exception_handler({"message": "said by default"})
        return await run("x")

    def callback_that_fails() -> None:
        raise ValueError("in a callback")

    history = drive(main)

    assert [line.args[0] for line in history.logs][:2] == ["said by hand", "said by default"]
    assert "in a callback" in repr(history.logs[2].args)
    assert resume(history, len(history.entries)).logs == []
    assert history.value == "done"


def test_what_is_logged_comes_out_with_the_activation_that_logged_it() -> None:
    async def main() -> None:
        current_run().log.info("before %s", "x")
        await run("x")
        current_run().log.info("after")

    execution = execution_of(main)

    first = execution.advance([CLAIMED])
    second = execution.advance([completed(execution, "x")])
    execution.evict()

    assert [(line.message, line.args) for line in first.logs] == [("before %s", ("x",))]
    assert [line.message for line in second.logs] == ["after"]


def test_asyncios_debug_mode_changes_nothing() -> None:
    async def main() -> list[Any]:
        loop = asyncio.get_running_loop()
        loop.set_debug(True)
        return [
            loop.get_debug(),
            loop.is_running(),
            loop.is_closed(),
            loop.get_task_factory(),
            loop.get_exception_handler(),
            await run("x"),
        ]

    assert drive(main).value == [False, True, False, None, None, "done"]


def test_a_run_waits_while_the_collector_storms() -> None:
    async def main() -> list[Any]:
        results = []
        for _ in range(3):
            task = asyncio.create_task(charge())
            gc.collect()
            results.append(await asyncio.gather(charge(), asyncio.wait_for(charge(), 5), task))
        return results

    assert drive(main).value == [["done"] * 3] * 3


def test_a_task_knows_its_name_and_its_place() -> None:
    async def main() -> list[Any]:
        task = asyncio.create_task(charge(), name="mine")
        assert isinstance(task, WorkflowTask)
        return [task.get_name(), task.scope.path, await task]

    assert drive(main).value == ["mine", "mine/", "done"]


def test_a_task_may_be_given_a_context_of_its_own() -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="fresh")

    async def reads() -> str:
        await run("x")
        return variable.get()

    async def main() -> list[str]:
        context = contextvars.copy_context()
        context.run(variable.set, "given")
        return [await asyncio.create_task(reads(), context=context), variable.get()]

    assert drive(main).value == ["given", "fresh"]


@pytest.mark.skipif(sys.version_info < (3, 12), reason="the first option that a newer Python added")
def test_a_task_may_be_given_what_newer_pythons_add() -> None:
    async def main() -> list[str]:
        seen: list[str] = []

        async def side() -> None:
            seen.append("side")
            seen.append(await run("x"))

        options: dict[str, Any] = {"eager_start": True}
        task = asyncio.get_running_loop().create_task(side(), name="eager", **options)
        seen.append("main")
        await task
        return seen

    history = drive(main)

    assert history.value == ["side", "main", "done"]
    assert history.keys == ["eager/x"]
    assert_replays(history)


def test_a_callback_that_is_cancelled_in_time_does_not_run() -> None:
    called: list[str] = []

    async def main() -> str:
        loop = asyncio.get_running_loop()
        loop.call_soon(called.append, "soon").cancel()
        loop.call_at(loop.time() - 1, called.append, "late").cancel()
        return await run("x")

    assert drive(main).value == "done"
    assert called == []


def test_an_execution_is_active_while_its_code_runs() -> None:
    seen: list[bool] = []

    async def main() -> None:
        seen.append(driver.execution.active)

    driver = Driver(main, RunFacts(run_id=RUN_ID, workflow_id="w"), World())
    driver.begin()
    seen.append(driver.execution.active)

    assert seen == [True, False]


def test_a_run_whose_code_finds_a_divergence_itself_is_paused() -> None:
    async def main() -> None:
        await run("x")
        raise NonDeterminismError("the code of last week is gone")

    assert drive(main).outcome == Diverged("the code of last week is gone")


@pytest.mark.parametrize("fails", [False, True])
def test_an_answer_for_a_future_that_was_cancelled_by_hand_is_harmless(fails: bool) -> None:
    async def main() -> str:
        execution = current_execution()
        assert execution is not None
        asked = step.run("x", body)
        task = asyncio.create_task(asked)
        await asyncio.sleep(0)
        (command,) = execution.pending()
        assert command.future is not None
        future, command.future = command.future, asyncio.get_running_loop().create_future()
        command.future.cancel()
        await run("y")
        future.set_result("by hand")
        return await task

    execution = execution_of(main)
    execution.advance([CLAIMED])
    ended = completed(execution, "x")
    if fails:
        ended = StepFailed(key="x", at=T0, function=ended.function, failure=FAILURE)
    execution.advance([ended])
    outcome = execution.advance([completed(execution, "y")]).outcome
    execution.evict()

    assert getattr(outcome, "value", None) == "by hand"


def test_an_interrupted_step_raises_and_is_not_run_again() -> None:
    async def main() -> str:
        try:
            return await step(at_most_once=True).run("charge", body)
        except StepInterruptedError as error:
            return str(error)

    execution = execution_of(main)
    function = execution.advance([CLAIMED]).commands[0].function
    intended = StepIntended(key="charge", at=T0, function=function)
    execution.advance([intended])
    assert [command.intended for command in execution.pending()] == [True]

    outcome = execution.advance([StepInterrupted(key="charge", at=T0, function=function)]).outcome
    execution.evict()

    assert "may or may not have taken effect" in str(getattr(outcome, "value", None))


def test_a_retry_that_is_unlimited_keeps_one_command() -> None:
    attempts: list[int] = []

    async def moody() -> str:
        attempts.append(1)
        if len(attempts) < 7:
            raise ValueError("not yet")
        return "at last"

    async def main() -> Any:
        return await step(retry=Retry(attempts=None, delay="1s", jitter=False)).run("moody", moody)

    history = drive(main)

    assert history.value == "at last"
    assert history.keys == ["moody"] * 7
