"""Workflows as a client needs them: a name, and the types of what goes in and comes out. ``Workflow`` objects fit by their shape."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, Protocol, TypeVar

from stepflow.errors import InputError

In_contra = TypeVar("In_contra", contravariant=True)
Out_co = TypeVar("Out_co", covariant=True)


class Takes(Protocol[In_contra, Out_co]):
    """A workflow with an input."""

    @property
    def id(self) -> str: ...

    @property
    def definition(self) -> Any: ...

    def __call__(self, input: In_contra, /) -> Coroutine[Any, Any, Out_co]: ...


class TakesNothing(Protocol[Out_co]):
    """A workflow that can be started without one."""

    @property
    def id(self) -> str: ...

    @property
    def definition(self) -> Any: ...

    def __call__(self) -> Coroutine[Any, Any, Out_co]: ...


class Addressed(Protocol):
    """An event with its fields filled in: ``shipped(id="42")``."""

    @property
    def id(self) -> str: ...


def workflow_id(workflow: Any) -> str:
    """The name under which the server knows it."""
    found = workflow if isinstance(workflow, str) else getattr(workflow, "id", None)
    if not isinstance(found, str):
        raise InputError(f"{workflow!r:.100} is no workflow; give one, or its id")
    return found


def output_type(workflow: Any) -> Any:
    """What its result is decoded as: ``Any`` if only its id is known."""
    return Any if workflow is None or isinstance(workflow, str) else workflow.definition.types.output
