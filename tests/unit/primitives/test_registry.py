"""The registry: collecting workflows, telling ids apart, and which modules' errors are trusted."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest

from stepflow._engine.registry import Registry
from stepflow.errors import DefinitionError, UnknownWorkflowError
from stepflow.primitives import step
from stepflow.workflows import workflow


@workflow(id="one")
async def one() -> None: ...


@workflow(id="two", queue="slow")
async def two() -> None: ...


@workflow(id="one")
async def another_one() -> None: ...


@workflow
async def unresolved(order: "NotThere") -> None: ...  # type: ignore[name-defined]  # noqa: F821, UP037


def module_with(**content: Any) -> ModuleType:
    module = ModuleType("shop")
    vars(module).update(content)
    return module


def test_workflows_are_found_by_id() -> None:
    registry = Registry([one, two])

    assert registry.get("two") is two.definition
    assert [definition.id for definition in registry] == ["one", "two"]
    assert "one" in registry
    assert "three" not in registry


def test_modules_are_searched_for_workflows() -> None:
    registry = Registry([module_with(a=one, b=two, c=3, d="one")])

    assert len(registry) == 2


def test_objects_in_a_module_that_refuse_to_be_asked_do_no_harm() -> None:
    class Proxy:
        @property
        def __class__(self) -> Any:
            raise RuntimeError("working outside of a context")

    assert len(Registry([module_with(a=one, proxy=Proxy())])) == 1


def test_the_same_workflow_twice_is_once() -> None:
    assert len(Registry([one, one, module_with(again=one)])) == 1


def test_two_workflows_with_one_id_are_refused_by_their_functions() -> None:
    with pytest.raises(DefinitionError, match=r"'one': \S+:one and \S+:another_one"):
        Registry([one, another_one])


def test_what_is_no_workflow_is_refused() -> None:
    async def forgotten() -> None: ...

    with pytest.raises(DefinitionError, match="is @workflow missing"):
        Registry([forgotten])  # type: ignore[list-item]


def test_a_module_without_workflows_is_refused() -> None:
    with pytest.raises(DefinitionError, match="'shop' holds no workflow"):
        Registry([module_with(a=1)])


def test_a_lone_workflow_in_place_of_a_list_is_refused() -> None:
    with pytest.raises(DefinitionError, match="takes a list"):
        Registry(one)  # type: ignore[arg-type]


def test_annotations_are_resolved_when_a_workflow_is_registered() -> None:
    with pytest.raises(DefinitionError, match="NotThere"):
        Registry([unresolved])


def test_an_unknown_id_is_answered_with_the_nearest_ones() -> None:
    registry = Registry([one, two])

    with pytest.raises(UnknownWorkflowError, match="did you mean 'two'") as caught:
        registry.get("twoo")

    assert caught.value.nearest == ("two",)
    assert registry.find("twoo") is None


def test_queues_are_those_that_workflows_name() -> None:
    assert Registry([one, two]).queues == {"default", "slow"}


def test_errors_are_trusted_from_modules_of_workflows_and_of_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    async def charge() -> None: ...

    charge.__module__ = "decimal"
    before = Registry([one]).error_modules()

    step(charge)

    assert __name__ in before
    assert Registry([]).error_modules() >= {"decimal"}


def test_a_module_that_is_not_loaded_is_not_trusted() -> None:
    async def charge() -> None: ...

    charge.__module__ = "gone.away"

    step(charge)

    assert "gone.away" not in Registry([]).error_modules()
