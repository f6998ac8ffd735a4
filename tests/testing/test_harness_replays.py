"""The harness replays whatever is suspended or ended: code that is not deterministic is found by its first test."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from typing import Any

import pytest

import stepflow
from stepflow import Workflow, sleep, step, wait_for_event, workflow
from stepflow.testing import Harness

_counter = itertools.count()


def changing() -> int:
    """Another number each time: a clock, a file, a set of strings …"""
    return next(_counter)


@step
async def note(what: str) -> str:
    return what


@workflow
async def sleeps_for_a_random_time() -> None:
    await sleep("rest", 60 + random.random())


@workflow
async def names_a_step_after_something_that_changes() -> None:
    await step.run(f"report-{changing()}", note, "a")


@workflow
async def takes_another_branch_when_it_wakes() -> None:
    if changing() % 2:
        await note("odd")
    await sleep("rest", "1d")


@workflow
async def waits_for_another_event() -> None:
    await wait_for_event(f"answer/{changing()}", timeout="1d", default=None)


@workflow
async def returns_something_else() -> int:
    await note("a")
    return changing()


@workflow
async def raises_something_else() -> None:
    await note("a")
    raise ValueError(f"number {changing()}")


UNSOUND: list[tuple[Workflow[None, Any], str]] = [
    (sleeps_for_a_random_time, "would wake now at"),
    (names_a_step_after_something_that_changes, "report-"),
    (takes_another_branch_when_it_wakes, "note"),
    (waits_for_another_event, "waits now for"),
    (returns_something_else, "ends now as completed"),
    (raises_something_else, "ends now as failed"),
]


@pytest.mark.parametrize(("unsound", "told"), UNSOUND, ids=lambda each: getattr(each, "id", ""))
def test_planted_nondeterminism_fails_the_first_test(unsound: Workflow[None, Any], told: str) -> None:
    with Harness(unsound) as harness, pytest.raises(AssertionError, match="not deterministic") as failure:
        harness.run(unsound)

    assert told in str(failure.value)
    assert "stepflow.now()" in str(failure.value)


def test_without_replay_it_goes_unseen() -> None:
    with Harness(returns_something_else, replay=False) as harness:
        harness.run(returns_something_else)


@workflow
async def sound() -> list[str]:
    dice = stepflow.random()
    await sleep("rest", 60 + dice.random())
    name = f"report-{stepflow.uuid4()}"
    first = await step.run(name, note, str(stepflow.now()))
    async with stepflow_tasks() as group:
        tasks = [group(note(word)) for word in ("a", "b", "c")]
    return [first, *(task.result() for task in tasks)]


class stepflow_tasks:  # noqa: N801 - a task group that reads like a function
    def __init__(self) -> None:
        import asyncio

        self._group = asyncio.TaskGroup()

    async def __aenter__(self) -> Callable[..., Any]:
        return (await self._group.__aenter__()).create_task

    async def __aexit__(self, *error: object) -> None:
        await self._group.__aexit__(*error)


def test_what_stepflow_offers_instead_replays() -> None:
    with Harness(sound) as harness:
        result = harness.run(sound)

    assert result[1:] == ["a", "b", "c"]


played: list[str] = []


@workflow
async def plays() -> None:
    played.append("begin")
    await sleep("rest", "1d")
    played.append("end")


@pytest.mark.parametrize(("replay", "times"), [(True, 4), (False, 1)])
def test_every_suspension_is_a_replay_unless_that_is_switched_off(replay: bool, times: int) -> None:
    played.clear()
    with Harness(plays, replay=replay) as harness:
        harness.run(plays)

    # live; the check of the suspension; the replay as it wakes; the check of the end
    assert played.count("begin") == times
