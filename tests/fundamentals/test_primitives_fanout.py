"""Fan-out: order, windows, keys and failures of ``step.map`` and ``step.parallel``, live and from every prefix."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from stepflow._engine.commands import RunStep
from stepflow.errors import DefinitionError, DuplicateKeyError, InputError
from stepflow.primitives import sleep, step
from tests.fundamentals.driving import World, assert_replays, drive


@step
async def double(x: int) -> int:
    return 2 * x


@step(retry=1)
async def picky(x: int) -> int:
    if x % 2:
        raise ValueError(f"odd {x}")
    return x


def backwards(command: RunStep) -> float:
    """Later members end earlier."""
    return 100.0 - command.args[0] if command.args else 0.0


class Watch:
    """How many steps are in flight at most."""

    def __init__(self) -> None:
        self.asked = 0
        self.most = 0

    def items(self, world: World, count: int) -> Iterator[int]:
        for number in range(count):
            self.asked += 1
            self.most = max(self.most, self.asked - len(world.bodies))
            yield number


def test_results_stand_in_the_order_of_the_items() -> None:
    async def main() -> list[int]:
        return await step.map("double", double, [1, 2, 3])

    history = drive(main, world=World(takes=backwards))

    assert history.value == [2, 4, 6]
    assert history.keys == ["double[2]", "double[1]", "double[0]"]
    assert_replays(history)


def test_a_map_over_nothing_is_nothing_and_writes_nothing() -> None:
    async def main() -> list[int]:
        return await step.map("double", double, [])

    history = drive(main)

    assert history.value == []
    assert history.keys == []


def test_no_more_members_are_in_flight_than_allowed_and_items_are_taken_as_they_start() -> None:
    watch = Watch()
    world = World(takes=lambda command: 1.0)

    async def main() -> int:
        return len(await step.map("double", double, watch.items(world, 20), concurrency=3))

    history = drive(main, world=world)

    assert history.value == 20
    assert watch.most == 3


def test_a_hundred_members_are_in_flight_by_default() -> None:
    watch = Watch()
    world = World(takes=lambda command: 1.0)

    async def main() -> int:
        return len(await step.map("double", double, watch.items(world, 250)))

    assert drive(main, world=world).value == 250
    assert watch.most == 100


@pytest.mark.parametrize("concurrency", [0, -1, 1.5, "3", True])
def test_a_concurrency_that_is_no_number_from_one_on_is_refused(concurrency: Any) -> None:
    async def main() -> None:
        await step.map("double", double, [1], concurrency=concurrency)

    assert isinstance(drive(main).error, InputError)


def test_a_key_takes_the_place_of_the_index() -> None:
    async def main() -> list[str]:
        return await step.map("upper", str.upper, ["b", "a"], key=lambda text: f"item {text}")

    history = drive(main)

    assert history.value == ["B", "A"]
    assert history.keys == ["upper[item b]", "upper[item a]"]
    assert_replays(history)


def test_the_key_of_a_step_is_the_key_of_its_members() -> None:
    keyed = step(key=lambda x: x)(double.__wrapped__)

    async def main() -> list[int]:
        return await step.map("m", keyed, [7, 8])

    assert drive(main).keys == ["m[7]", "m[8]"]


def test_one_key_for_all_members_is_refused() -> None:
    async def main() -> None:
        await step(key="same").map("m", double, [7, 8])

    assert isinstance(drive(main).error, DefinitionError)


def test_a_key_that_two_items_share_is_refused_and_nothing_is_left_running() -> None:
    async def main() -> None:
        await step.map("upper", str.upper, ["a", "a"], key=str)

    history = drive(main)

    assert isinstance(history.error, DuplicateKeyError)
    assert history.error.key == "upper[a]"
    assert history.world.bodies == []


def test_two_maps_of_one_name_are_told_apart() -> None:
    async def main() -> list[list[int]]:
        return await asyncio.gather(step.map("m", double, [1]), step.map("m", double, [2]))

    history = drive(main)

    assert history.value == [[2], [4]]
    assert history.keys == ["m[0]", "m:2[0]"]


def test_the_first_failure_is_raised_itself_and_withdraws_the_rest() -> None:
    async def main() -> str:
        try:
            await step.map("picky", picky, [2, 1, 3, 4, 5, 6], concurrency=4)
        except ValueError as error:
            await sleep("1m")
            return str(error)
        return "all fine"

    history = drive(main, world=World(takes=lambda command: float(command.args[0])))

    assert history.value == "odd 1"
    assert history.keys == ["picky[1]", "sleep"]
    assert sorted(history.withdrawn) == ["picky[0]", "picky[2]", "picky[3]"]
    assert_replays(history)


def test_failures_may_stand_among_the_results() -> None:
    async def main() -> list[str]:
        results = await step.map("picky", picky, [1, 2, 3], return_exceptions=True)
        return [repr(result) for result in results]

    history = drive(main)

    assert history.value == ["ValueError('odd 1')", "2", "ValueError('odd 3')"]
    assert_replays(history)


def test_a_cancelled_map_withdraws_all_that_is_in_flight() -> None:
    async def main() -> str:
        try:
            async with asyncio.timeout(5):
                await step.map("double", double, range(10), concurrency=4)
        except TimeoutError:
            return "gave up"
        return "done"

    history = drive(main, world=World(takes=lambda command: 2.0 if command.args[0] == 0 else 60.0))

    assert history.value == "gave up"
    assert history.withdrawn == ["double[1]", "double[2]", "double[3]", "double[4]"]
    assert_replays(history)


def test_an_iterable_that_fails_fails_the_map_and_withdraws_the_rest() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise LookupError("no more")

    async def main() -> None:
        await step.map("double", double, items())

    history = drive(main)

    assert isinstance(history.error, LookupError)
    assert history.world.bodies == []


def test_what_is_not_iterable_is_refused_where_it_is_called() -> None:
    async def main() -> None:
        await step.map("double", double, 3)  # type: ignore[call-overload]

    assert isinstance(drive(main).error, TypeError)


def test_parallel_runs_functions_side_by_side() -> None:
    async def main() -> tuple[Any, ...]:
        return await step.parallel("p", lambda: double(1), lambda: 5, lambda: "x")

    history = drive(main)

    assert history.value == (2, 5, "x")
    assert history.keys == ["p[0]", "p[1]", "p[2]"]
    assert_replays(history)


def test_parallel_raises_the_first_failure_itself() -> None:
    async def main() -> None:
        await step(retry=1).parallel("p", lambda: double(1), lambda: picky(3))

    error = drive(main).error

    assert isinstance(error, ValueError)


def test_parallel_takes_no_keys() -> None:
    async def main() -> None:
        await step(key="k").parallel("p", lambda: 1)

    assert isinstance(drive(main).error, DefinitionError)


def test_a_map_resumed_in_the_middle_runs_only_what_is_missing() -> None:
    async def main() -> list[int]:
        return await step.map("double", double, range(30), concurrency=5)

    assert_replays(drive(main, world=World(takes=lambda command: command.args[0] * 7 % 5 + 1.0)))
