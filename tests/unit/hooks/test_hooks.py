"""Hooks: everybody is told everything in order, and a hook that fails disturbs nobody."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime
from typing import get_args

import pytest

from stepflow.hooks import Fact, Hooks, RunFact, RunStarted, StepFact, WorkerStarted

AT = datetime(2024, 1, 1, tzinfo=UTC)
STARTED = RunStarted(at=AT, run_id="r", workflow_id="w")


class Broken:
    """A hook that always fails, and counts."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, fact: Fact, /) -> None:
        self.calls += 1
        raise ValueError("the sink is down")


def broken_function(fact: Fact, /) -> None:
    raise ValueError("the sink is down")


def test_every_hook_is_told_every_fact_in_order() -> None:
    told: list[tuple[str, Fact]] = []
    hooks = Hooks([lambda fact: told.append(("one", fact)), lambda fact: told.append(("two", fact))])

    hooks.tell(STARTED)
    hooks.tell(WorkerStarted(at=AT, worker_id="w1"))

    assert [name for name, _ in told] == ["one", "two", "one", "two"]
    assert [type(fact) for _, fact in told[::2]] == [RunStarted, WorkerStarted]


def test_without_hooks_it_is_false_and_telling_does_nothing() -> None:
    assert not Hooks()
    assert Hooks([broken_function])
    Hooks().tell(STARTED)


def test_a_hook_that_fails_disturbs_neither_the_run_nor_the_others() -> None:
    told: list[Fact] = []
    broken = Broken()
    hooks = Hooks([broken, told.append])

    hooks.tell(STARTED)
    hooks.tell(STARTED)

    assert told == [STARTED, STARTED]
    assert broken.calls == 2


def test_a_hook_that_fails_is_logged_once_with_its_name(caplog: pytest.LogCaptureFixture) -> None:
    hooks = Hooks([Broken(), broken_function])

    for _ in range(3):
        hooks.tell(STARTED)

    records = [record for record in caplog.records if record.name == "stepflow.hooks"]
    assert [record.levelno for record in records] == [logging.ERROR, logging.ERROR]
    assert f"{__name__}.Broken" in records[0].getMessage()
    assert "broken_function" in records[1].getMessage()
    assert "RunStarted" in records[0].getMessage()
    assert records[0].exc_info is not None


def test_a_cancellation_goes_through_a_hook() -> None:
    def cancel(fact: Fact, /) -> None:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        Hooks([cancel]).tell(STARTED)


def test_facts_can_not_be_changed() -> None:
    with pytest.raises(AttributeError):
        STARTED.run_id = "other"  # type: ignore[misc]


def test_every_fact_says_when_and_whom_it_concerns() -> None:
    kinds = [kind for group in get_args(Fact) for kind in get_args(group) or (group,)]

    assert len(kinds) == 13
    for kind in kinds:
        names = set(kind.__struct_fields__)
        assert "at" in names
        assert names >= {"run_id", "workflow_id"} or kind not in {*get_args(RunFact), *get_args(StepFact)}


def test_a_hook_that_is_added_later_is_told_until_it_is_taken_away() -> None:
    first: list[Fact] = []
    later: list[Fact] = []
    hooks = Hooks([first.append])

    remove = hooks.add(later.append)
    hooks.tell(STARTED)
    remove()
    hooks.tell(STARTED)

    assert (first, later) == ([STARTED, STARTED], [STARTED])
    assert bool(hooks)


def test_hooks_that_were_none_are_some_once_one_is_added() -> None:
    hooks = Hooks()

    remove = hooks.add(lambda fact: None)
    some = bool(hooks)
    remove()

    assert (some, bool(hooks)) == (True, False)
