"""Child workflows: started once, awaited, failed, cancelled, live and from every prefix of the journal."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest

from stepflow.errors import (
    ChildCancelledError,
    ChildFailedError,
    DefinitionError,
    InputError,
    InvalidIdError,
    NotDurableError,
)
from stepflow.model.journal import ChildStarted
from stepflow.model.states import RunStatus
from stepflow.primitives import sleep, step, wait_for_event
from stepflow.workflows import workflow
from tests.fundamentals.driving import World, assert_replays, drive, resume, try_again


@dataclass
class Answer:
    score: int


@workflow(queue="slow")
async def survey(customer: str) -> Answer:
    raise AssertionError("children are not run in these tests")


@workflow
async def nightly() -> None: ...


def ends(status: RunStatus, value: Any = None, *, after: float | None = 1.0) -> World:
    return World(children={"survey": (status, value)}, children_take=after)


def test_invoke_returns_what_the_child_returned_as_its_type() -> None:
    async def main() -> Any:
        return await step.invoke(survey, "ada")

    history = drive(main, world=ends(RunStatus.COMPLETED, Answer(5)))

    assert history.value == Answer(5)
    assert history.keys == ["survey", "survey~end"]
    assert_replays(history)


def test_a_child_gets_its_input_its_queue_and_an_id_of_its_own() -> None:
    async def main() -> None:
        await asyncio.gather(step.invoke(survey, "ada"), step.invoke(survey, "bob"))

    history = drive(main, world=ends(RunStatus.COMPLETED, Answer(5)))

    started = list(history.world.started.values())
    assert [(each.workflow_id, each.queue, bytes(each.input.data)) for each in started] == [
        ("survey", "slow", b'"ada"'),
        ("survey", "slow", b'"bob"'),
    ]
    assert len(history.world.started) == 2
    assert_replays(history)
    assert len(history.world.started) == 2


def test_a_workflow_named_by_its_id_is_decoded_as_the_type_that_is_asked_for() -> None:
    async def main() -> Any:
        return [await step.invoke("survey", {"any": 1}), await step.invoke("survey", 2, type=Answer)]

    history = drive(main, world=ends(RunStatus.COMPLETED, {"score": 4}))

    assert history.value == [{"score": 4}, Answer(4)]


def test_a_name_takes_the_place_of_the_workflows_id_in_the_key() -> None:
    async def main() -> None:
        await step.invoke(nightly, name="tonight")

    assert drive(main).keys == ["tonight", "tonight~end"]


def test_a_child_that_failed_raises_what_is_known_of_it() -> None:
    async def main() -> Any:
        try:
            await step.invoke(survey, "ada")
        except ChildFailedError as error:
            return [error.type, error.message, error.child_id]

    history = drive(main, world=ends(RunStatus.FAILED, ValueError("no answer")))

    assert history.value == ["ValueError", "no answer", next(iter(history.world.started))]
    assert_replays(history)


def test_a_child_that_was_cancelled_raises_another_error_than_a_cancel_of_this_run() -> None:
    async def main() -> str:
        try:
            await step.invoke(survey, "ada")
        except ChildCancelledError as error:
            return error.child_id
        return ""

    history = drive(main, world=ends(RunStatus.CANCELLED))

    assert history.value in history.world.started
    assert_replays(history)


def test_a_cancelled_invoke_cancels_the_child() -> None:
    async def main() -> str:
        try:
            async with asyncio.timeout(5):
                await step.invoke(survey, "ada")
        except TimeoutError:
            return "gave up"
        return "done"

    history = drive(main, world=ends(RunStatus.COMPLETED, after=None))

    assert history.value == "gave up"
    assert history.world.cancelled == list(history.world.started)
    assert_replays(history)


def test_the_timeout_of_an_invoke_cancels_the_child() -> None:
    async def main() -> str:
        try:
            await step.invoke(survey, "ada", timeout="5s")
        except TimeoutError:
            return "too late"
        return "done"

    history = drive(main, world=ends(RunStatus.COMPLETED, after=None))

    assert history.value == "too late"
    assert history.world.cancelled == list(history.world.started)
    assert_replays(history)


def test_a_child_that_ends_within_the_timeout_is_not_cancelled() -> None:
    async def main() -> Any:
        return await step.invoke(survey, "ada", timeout="5s")

    history = drive(main, world=ends(RunStatus.COMPLETED, Answer(1)))

    assert history.value == Answer(1)
    assert history.world.cancelled == []


def test_a_started_child_goes_on_beside_the_workflow() -> None:
    async def main() -> list[Any]:
        child = await step.start(survey, "ada")
        await sleep("1h")
        return [child.id, await child.result(), await child.result()]

    history = drive(main, world=ends(RunStatus.COMPLETED, Answer(3)))

    assert history.value == [next(iter(history.world.started)), Answer(3), Answer(3)]
    assert history.keys == ["survey", "sleep", "survey~end"]
    assert_replays(history)


def test_many_may_wait_for_one_child() -> None:
    async def main() -> list[Any]:
        child = await step.start(survey, "ada")
        return await asyncio.gather(child.result(), child.result(), child.result())

    history = drive(main, world=ends(RunStatus.COMPLETED, Answer(3)))

    assert history.value == [Answer(3)] * 3
    assert history.keys == ["survey", "survey~end"]
    assert_replays(history)


def test_one_who_gives_up_waiting_neither_cancels_the_child_nor_disturbs_the_others() -> None:
    async def main() -> list[Any]:
        child = await step.start(survey, "ada")
        patient = asyncio.create_task(child.result())
        try:
            await asyncio.wait_for(child.result(), 5)
        except TimeoutError:
            return ["gave up", await patient]
        return []

    history = drive(main, world=ends(RunStatus.COMPLETED, Answer(3), after=60))

    assert history.value == ["gave up", Answer(3)]
    assert history.world.cancelled == []
    assert_replays(history)


def test_the_one_who_asked_first_still_hears_of_the_end_when_a_later_one_gives_up() -> None:
    async def main() -> list[Any]:
        child = await step.start(survey, "ada")
        patient = asyncio.create_task(child.result())
        await asyncio.sleep(0)
        try:
            await asyncio.wait_for(child.result(), 5)
        except TimeoutError:
            return ["gave up", await patient]
        return []

    history = drive(main, world=ends(RunStatus.COMPLETED, Answer(3), after=60))

    assert history.value == ["gave up", Answer(3)]
    assert_replays(history)


def test_when_all_give_up_the_child_is_not_waited_for_any_more() -> None:
    async def main() -> None:
        child = await step.start(survey, "ada")
        try:
            await asyncio.wait_for(child.result(), 5)
        except TimeoutError:
            await wait_for_event("never")

    assert drive(main, world=ends(RunStatus.COMPLETED, after=None)).waiting == ["never"]


def test_a_child_may_be_waited_for_again_after_a_timeout() -> None:
    async def main() -> Any:
        child = await step.start(survey, "ada")
        while True:
            try:
                return await asyncio.wait_for(child.result(), 25)
            except TimeoutError:
                await sleep("1s")

    history = drive(main, world=ends(RunStatus.COMPLETED, Answer(3), after=60))

    assert history.value == Answer(3)
    assert_replays(history)


def test_a_child_can_be_cancelled() -> None:
    async def main() -> str:
        child = await step.start(survey, "ada")
        await child.cancel()
        try:
            await child.result()
        except ChildCancelledError:
            return "cancelled"
        return "done"

    history = drive(main, world=ends(RunStatus.COMPLETED, after=None))

    assert history.value == "cancelled"
    assert_replays(history)


def test_several_children_may_be_cancelled_at_once() -> None:
    async def main() -> list[str]:
        handles = [await step.start(survey, "ada"), await step.start(survey, "bob")]
        for handle in handles:
            await handle.cancel()
        await sleep("rest", 1)
        return [handle.id for handle in handles]

    history = drive(main, world=ends(RunStatus.COMPLETED, after=None))

    assert history.world.cancelled == history.value


def test_the_end_of_a_detached_child_is_not_told() -> None:
    async def main() -> None:
        child = await step.start(survey, "ada", detached=True)
        await child.result()

    history = drive(main)

    assert isinstance(history.error, NotDurableError)
    assert [entry.detached for entry in history.entries if isinstance(entry, ChildStarted)] == [True]


def test_a_child_whose_end_is_recorded_is_not_awaited_again_in_the_next_attempt() -> None:
    async def main() -> Any:
        answer = await step.invoke(survey, "ada")
        await step.run("fragile", lambda: 1)
        return answer

    history = drive(main, world=ends(RunStatus.COMPLETED, Answer(3)))

    again = try_again(history)

    assert again.value == Answer(3)
    assert len(history.world.started) == 1


def test_a_child_that_failed_is_started_anew_in_the_next_attempt() -> None:
    async def main() -> Any:
        return await step.invoke(survey, "ada")

    history = drive(main, world=ends(RunStatus.FAILED, ValueError("no")))
    history.world.children["survey"] = (RunStatus.COMPLETED, Answer(9))

    again = try_again(history)

    assert again.value == Answer(9)
    assert len(history.world.started) == 2


def test_newer_code_that_reads_the_result_otherwise_gets_it_so() -> None:
    async def old() -> Any:
        return await step.invoke("survey", "ada")

    async def new() -> Any:
        return await step.invoke(survey, "ada")

    history = drive(old, world=ends(RunStatus.COMPLETED, {"score": 2}))

    assert resume(history, len(history.entries), main=new).value == Answer(2)


@pytest.mark.parametrize(
    ("wanted", "input", "error"),
    [
        (survey, 3, InputError),
        (survey, None, InputError),
        (nightly, "x", InputError),
        ("a b", None, InvalidIdError),
        (len, None, DefinitionError),
        (None, None, DefinitionError),
    ],
)
def test_what_can_not_be_started_is_refused_before_it_is_asked_for(
    wanted: Any, input: Any, error: type[Exception]
) -> None:
    async def main() -> None:
        await step.start(wanted, input)

    history = drive(main)

    assert isinstance(history.error, error)
    assert history.keys == []
