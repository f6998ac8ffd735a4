"""Steps in a workflow: keys, results, retries and options, live and from every prefix of the journal."""

from __future__ import annotations

import asyncio
import functools
import logging
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from stepflow._engine.commands import Diverged, RunStep
from stepflow._engine.current import emit
from stepflow.errors import (
    DefinitionError,
    DuplicateKeyError,
    FatalError,
    InvalidIdError,
    NotInStepError,
    SerializationError,
    StepFailedError,
)
from stepflow.model.journal import AttemptFailed, Entry, StepCompleted, StepIntended
from stepflow.primitives import StepContext, current_run, step
from stepflow.retry import Retry
from stepflow.workflows import workflow
from tests.fundamentals.driving import RUN_ID, World, assert_replays, drive, resume


@dataclass
class Order:
    id: str
    total: int


class TroubleError(Exception):
    """Of a module that nobody said to trust."""


@step
async def charge(order: Order) -> Order:
    return Order(order.id, order.total + 1)


@step(name="label")
def print_label(text: str) -> str:
    return f"<{text}>"


@step(key=lambda order: order.id)
async def keyed(order: Order) -> str:
    return order.id


@step(retry=Retry(attempts=3, delay="10s", jitter=False))
async def flaky() -> int:
    attempt = current_run().step.attempt
    if attempt < 3:
        raise TroubleError(f"attempt {attempt}")
    return attempt


class Service:
    def __init__(self, name: str) -> None:
        self.name = name

    @step
    async def ship(self, order: Order) -> str:
        return f"{self.name} ships {order.id}"

    @step(key=lambda self, order: f"{self.name} {order.id}")
    def pack(self, order: Order) -> str:
        return f"{self.name} packs {order.id}"

    @classmethod
    @step
    async def made(cls) -> str:
        return cls.__name__

    @step
    @staticmethod
    def still(x: int) -> int:
        return x


def completed(entries: list[Entry]) -> list[StepCompleted]:
    return [entry for entry in entries if isinstance(entry, StepCompleted)]


# ------------------------------------------------------------------ keys
def test_a_step_is_checkpointed_under_its_name_and_its_ordinal() -> None:
    async def main() -> list[Any]:
        return [await charge(Order("a", 1)), await print_label("x"), await charge(Order("b", 2))]

    history = drive(main)

    assert history.value == [Order("a", 2), "<x>", Order("b", 3)]
    assert history.keys == ["charge", "label", "charge:2"]
    assert_replays(history)


def test_the_journal_names_the_function_behind_a_step() -> None:
    async def main() -> None:
        await charge(Order("a", 1))
        await Service("s").ship(Order("a", 1))
        await step.run("partly", functools.partial(len, "x"))

    assert [entry.function for entry in completed(drive(main).entries)] == [
        f"{__name__}:charge",
        f"{__name__}:Service.ship",
        "builtins:len",
    ]


def test_the_key_is_taken_where_the_step_is_called_not_where_it_is_awaited() -> None:
    async def main() -> list[Any]:
        late = charge(Order("late", 1))
        soon = charge(Order("soon", 1))
        first = await soon
        async with asyncio.TaskGroup() as group:
            task = group.create_task(late, name="other scope")
        return [first.id, task.result().id]

    history = drive(main)

    assert history.value == ["soon", "late"]
    assert history.keys == ["charge:2", "charge"]
    assert_replays(history)


def test_a_step_called_in_a_task_has_the_task_in_its_key() -> None:
    async def audit() -> None:
        await print_label("x")

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(audit(), name="audit")

    assert drive(main).keys == ["audit/label"]


def test_key_takes_the_place_of_the_ordinal() -> None:
    async def main() -> list[str]:
        return await asyncio.gather(keyed(Order("a", 1)), keyed(Order("b/c", 1)))

    history = drive(main)

    assert history.value == ["a", "b/c"]
    assert history.keys == ["keyed[a]", "keyed[b~1c]"]
    assert_replays(history)


def test_two_steps_with_one_key_are_refused() -> None:
    async def main() -> None:
        await keyed(Order("a", 1))
        await keyed(Order("a", 1))

    error = drive(main).error

    assert isinstance(error, DuplicateKeyError)
    assert error.key == "keyed[a]"


def test_keyed_steps_may_change_places_while_a_run_is_in_flight() -> None:
    async def old() -> list[str]:
        return [await keyed(Order("a", 1)), await keyed(Order("b", 1)), await print_label("end")]

    async def new() -> list[str]:
        return [await keyed(Order("b", 1)), await keyed(Order("a", 1)), await print_label("end")]

    history = drive(old)
    history.world.bodies.clear()

    again = resume(history, 3, main=new)

    assert again.value == ["b", "a", "<end>"]
    assert history.world.bodies == ["label"]


@pytest.mark.parametrize("key", [None, 1.5, True, ["a"]])
def test_a_key_that_is_no_text_is_refused(key: Any) -> None:
    async def main() -> None:
        await step(key=lambda x: key).run("x", print_label, "x")

    assert isinstance(drive(main).error, DefinitionError)


@pytest.mark.parametrize("key", ["", "a\nb", "x" * 201])
def test_a_malformed_key_is_refused(key: str) -> None:
    async def main() -> None:
        await step(key=key).run("x", print_label, "x")

    assert isinstance(drive(main).error, InvalidIdError)


@pytest.mark.parametrize("name", ["", "a\0b", "x" * 201, None, 3])
def test_a_malformed_name_is_refused(name: Any) -> None:
    async def main() -> None:
        await step.run(name, print_label, "x")

    assert isinstance(drive(main).error, InvalidIdError)


# ------------------------------------------------------------------ values
def test_a_result_is_what_it_decodes_to_also_the_first_time() -> None:
    def make() -> dict[int, tuple[int, ...]]:
        return {1: (2, 3)}

    async def main() -> Any:
        return [await step.run("typed", make), await step.run("untyped", lambda: (1, 2))]

    assert drive(main).value == [{1: (2, 3)}, [1, 2]]


def test_a_class_is_a_step_that_returns_an_instance() -> None:
    async def main() -> Any:
        return await step.run("make", Order, "a", total=3)

    assert drive(main).value == Order("a", 3)


def test_an_awaitable_that_a_function_returns_is_awaited() -> None:
    async def main() -> Any:
        return await step.run("lazy", lambda: charge(Order("a", 1)))

    history = drive(main)

    assert history.value == {"id": "a", "total": 2}
    assert history.keys == ["lazy"]  # the step inside is the plain function


def test_a_result_that_can_not_be_encoded_fails_the_step_without_a_retry() -> None:
    async def main() -> None:
        await step.run("thing", object)

    history = drive(main)

    assert isinstance(history.error, SerializationError)
    assert history.world.bodies == ["thing"]


# ------------------------------------------------------------------ methods and nesting
def test_methods_are_steps_with_self_bound() -> None:
    async def main() -> list[Any]:
        service = Service("north")
        return [
            await service.ship(Order("a", 1)),
            await Service.ship(service, Order("b", 1)),
            await Service.made(),
            await service.still(4),
            await Service.still(5),
        ]

    history = drive(main)

    assert history.value == ["north ships a", "north ships b", "Service", 4, 5]
    assert history.keys == ["ship", "ship:2", "made", "still", "still:2"]
    assert_replays(history)


def test_the_key_of_a_method_is_made_of_all_its_arguments() -> None:
    async def main() -> None:
        await Service("north").pack(Order("a", 1))
        await Service.pack(Service("south"), Order("a", 1))

    assert drive(main).keys == ["pack[north a]", "pack[south a]"]


def test_a_step_inside_a_step_is_the_plain_function() -> None:
    async def outer() -> list[Any]:
        return [await print_label("in"), current_run().step.name]

    async def main() -> Any:
        return await step.run("outer", outer)

    history = drive(main)

    assert history.value == ["<in>", "outer"]
    assert history.keys == ["outer"]


def test_a_workflow_called_in_a_workflow_is_inlined() -> None:
    @workflow
    async def inner(text: str) -> str:
        return await print_label(text)

    async def main() -> list[str]:
        return [await inner("a"), await print_label("b")]

    history = drive(main)

    assert history.value == ["<a>", "<b>"]
    assert history.keys == ["label", "label:2"]


# ------------------------------------------------------------------ failures and retries
def test_attempts_are_counted_and_delayed() -> None:
    async def main() -> int:
        return await flaky()

    history = drive(main)

    assert history.value == 3
    failed = [entry for entry in history.entries if isinstance(entry, AttemptFailed)]
    assert [entry.attempt for entry in failed] == [1, 2]
    assert failed[0].retry_at - failed[0].at == timedelta(seconds=10)
    assert_replays(history)


def test_a_failure_can_be_caught_and_is_the_same_on_replay() -> None:
    async def fail() -> None:
        raise ValueError("no", 3)

    async def main() -> Any:
        try:
            await step(retry=1).run("fail", fail)
        except ValueError as error:
            return [list(error.args), await print_label("mended")]

    history = drive(main)

    assert history.value == [["no", 3], "<mended>"]
    assert_replays(history)


def test_a_failure_of_an_unknown_class_is_a_step_failed_error() -> None:
    async def fail() -> None:
        raise TroubleError("oh")

    async def main() -> None:
        await step(retry=1).run("fail", fail)

    error = drive(main).error

    assert isinstance(error, StepFailedError)
    assert (error.type, error.message) == ("TroubleError", "oh")


def test_a_fatal_error_is_not_tried_again() -> None:
    async def fail() -> None:
        raise FatalError("never")

    async def main() -> None:
        await step.run("fail", fail)

    history = drive(main)

    assert isinstance(history.error, FatalError)
    assert history.world.bodies == ["fail"]


def test_a_cancelled_step_is_withdrawn() -> None:
    async def main() -> str:
        try:
            async with asyncio.timeout(5):
                await charge(Order("slow", 1))
        except TimeoutError:
            return "gave up"
        return "got it"

    history = drive(main, world=World(takes=lambda command: 60.0))

    assert history.value == "gave up"
    assert history.withdrawn == ["charge"]
    assert_replays(history)


# ------------------------------------------------------------------ options
def options_of(main: Any) -> RunStep:
    """The first step that ``main`` asks for."""
    seen: list[RunStep] = []

    def takes(command: RunStep) -> float:
        seen.append(command)
        return 0.0

    drive(main, world=World(takes=takes))
    return seen[0]


def test_by_default_a_step_has_three_attempts_and_no_timeout() -> None:
    options = options_of(lambda: charge(Order("a", 1))).options

    assert options.retry == Retry()
    assert options.timeout is None
    assert options.executor == "thread"
    assert not options.at_most_once


def test_options_given_in_place_go_over_those_of_the_step() -> None:
    mine = step(retry=2, timeout="5s", executor="inline")(print_label.__wrapped__)

    kept = options_of(lambda: step.run("x", mine, "a")).options
    changed = options_of(lambda: step(timeout="1m").run("x", mine, "a")).options
    cleared = options_of(lambda: step(timeout=None).run("x", mine, "a")).options

    assert (kept.retry.attempts, kept.timeout, kept.executor) == (2, timedelta(seconds=5), "inline")
    assert (changed.retry.attempts, changed.timeout) == (2, timedelta(minutes=1))
    assert (cleared.retry.attempts, cleared.timeout) == (2, None)


def test_at_most_once_means_one_attempt_after_a_durable_intent() -> None:
    async def pay() -> int:
        return 1

    async def main() -> int:
        return await step(at_most_once=True).run("pay", pay)

    history = drive(main)

    assert history.value == 1
    assert [type(entry) for entry in history.entries[1:]] == [StepIntended, StepCompleted]
    assert options_of(main).options.retry.attempts == 1


def test_at_most_once_in_place_overrules_the_retry_of_the_step() -> None:
    options = options_of(lambda: step(at_most_once=True).run("x", flaky)).options

    assert options.at_most_once
    assert options.retry.attempts == 1


def test_at_most_once_contradicts_a_retry() -> None:
    careful = step(at_most_once=True)(charge.__wrapped__)

    with pytest.raises(DefinitionError, match="at most once means one attempt"):
        step(at_most_once=True, retry=3)
    with pytest.raises(DefinitionError, match="at most once means one attempt"):
        step(retry=3).run("x", careful, Order("a", 1))


# ------------------------------------------------------------------ context
def test_a_body_knows_its_run_and_its_step() -> None:
    async def body() -> list[Any]:
        run = current_run()
        return [run.id, run.workflow_id, run.attempt, run.input, run.step.name, run.step.attempt]

    async def main(value: int) -> Any:
        return await step.run("look", body)

    assert drive(main, 5).value == [RUN_ID, "driven", 1, 5, "look", 1]


def test_idempotency_keys_differ_by_step_and_not_by_attempt() -> None:
    seen: list[StepContext] = []

    @step(retry=Retry(attempts=2, delay="1s"))
    async def body() -> None:
        seen.append(current_run().step)
        if current_run().step.attempt == 1:
            raise TroubleError

    async def main() -> None:
        await body()
        await body()

    drive(main)

    keys = [context.idempotency_key for context in seen]
    assert keys[0] == keys[1]
    assert keys[2] == keys[3]
    assert keys[0] != keys[2]


def test_workflow_code_is_in_no_step() -> None:
    async def main() -> None:
        _ = current_run().step

    assert isinstance(drive(main).error, NotInStepError)


def test_workflow_code_knows_its_run() -> None:
    async def main(value: int) -> list[Any]:
        run = current_run()
        return [run.id, run.workflow_id, run.attempt, run.input, run.started_at.isoformat()]

    assert drive(main, 7).value == [RUN_ID, "driven", 1, 7, "2026-01-01T00:00:00+00:00"]


def test_what_a_workflow_logs_appears_once() -> None:
    async def main() -> None:
        log = current_run().log
        log.info("before %s", "step", order=3)
        await print_label("x")
        log.error("after")

    history = drive(main)

    assert [(line.level, line.message, line.args, line.extra) for line in history.logs] == [
        (20, "before %s", ("step",), {"order": 3}),
        (40, "after", (), None),
    ]
    assert resume(history, len(history.entries)).logs == []


def test_an_exception_that_a_workflow_logs_is_the_one_of_that_moment() -> None:
    async def main() -> None:
        try:
            raise TroubleError("now")
        except TroubleError:
            current_run().log.error("it broke", exc_info=True)

    (line,) = drive(main).logs

    assert line.extra is not None
    assert isinstance(line.extra["exc_info"][1], TroubleError)


def test_a_held_back_line_is_written_with_the_id_of_its_run(caplog: pytest.LogCaptureFixture) -> None:
    emit("run_1", logging.WARNING, "%d left", (3,), {"message": "taken"})

    (record,) = caplog.records
    assert record.getMessage() == "3 left"
    assert (vars(record)["run_id"], vars(record)["message_"]) == ("run_1", "taken")
    assert not hasattr(record, "step")


def test_another_function_under_the_same_key_is_a_divergence() -> None:
    async def old() -> Any:
        return await step.run("x", print_label, "a")

    async def new() -> Any:
        return await step.run("x", charge, Order("a", 1))

    history = drive(old)

    assert isinstance(resume(history, len(history.entries), main=new).outcome, Diverged)
