"""Definitions: a workflow as data, checked when it is declared, and its types, resolved when it is first needed."""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from types import FunctionType
from typing import Any

import msgspec

from stepflow._engine.callables import awaited_type, function_reference, resolve_annotation
from stepflow.durations import parse_duration
from stepflow.errors import (
    DefinitionError,
    DeserializationError,
    DurationError,
    InputError,
    InvalidIdError,
)
from stepflow.model.ids import check_id, check_name
from stepflow.model.payloads import Payload
from stepflow.retry import Retry
from stepflow.types import Duration

Encode = Callable[[Any, str], Payload]
Decode = Callable[[Payload, Any], Any]

_P = inspect.Parameter
_POSITIONAL = (_P.POSITIONAL_ONLY, _P.POSITIONAL_OR_KEYWORD)
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_NULL = b"null"


class Types(msgspec.Struct, frozen=True, kw_only=True):
    """A workflow's resolved annotations. ``null_is_default``: a null input stands for the parameter's default."""

    input: Any
    output: Any
    null_is_default: bool


@dataclass(frozen=True, kw_only=True, eq=False)
class WorkflowDefinition:
    """A declared workflow. Two are equal only if they are the same one."""

    id: str
    function: Callable[..., Coroutine[Any, Any, Any]]
    retry: Retry
    timeout: timedelta | None
    version: str | None
    queue: str
    has_input: bool
    input_optional: bool

    @property
    def reference(self) -> str:
        """``module:qualname`` of its function."""
        return function_reference(self.function)

    @cached_property
    def types(self) -> Types:
        """Its types; ``DefinitionError`` if an annotation can't be resolved."""
        signature = inspect.signature(self.function)
        parameter = next(iter(signature.parameters.values()), None)
        input_type: Any = None
        if parameter is not None:
            input_type = self._resolve(parameter.annotation, f"input {parameter.name!r}")
        output = awaited_type(self._resolve(signature.return_annotation, "result"))
        return Types(
            input=input_type,
            output=output,
            null_is_default=self.input_optional and not _admits_null(input_type),
        )

    def resolve(self) -> Types:
        """The same as ``types``: for the app, which wants every error when it is built."""
        return self.types

    def _resolve(self, annotation: Any, what: str) -> Any:
        if annotation in (_P.empty, Any):
            return Any
        try:
            return resolve_annotation(annotation, inspect.unwrap(self.function))
        except Exception as error:
            raise DefinitionError(
                f"workflow {self.id!r} ({self.reference}): the annotation {annotation!r} of its {what} can't be resolved: "
                f"{error}; import the name at the top of the module, outside of `if TYPE_CHECKING`"
            ) from error

    # -------------------------------------------------------------- input
    def encode_input(self, value: Any, encode: Encode, decode: Decode) -> Payload:
        """The input as it is stored; ``InputError`` if it is not what the workflow takes."""
        if not self.has_input and value is not None:
            raise InputError(f"workflow {self.id!r} takes no input, and was given one")
        payload = encode(value, f"the input of workflow {self.id!r}")
        self.check_input(payload, decode)
        return payload

    def check_input(self, payload: Payload, decode: Decode) -> None:
        """``InputError`` if ``payload`` is not what the workflow takes."""
        try:
            self.read_input(payload, decode)
        except DeserializationError as error:
            raise InputError(f"the input of workflow {self.id!r} does not fit: {error}") from error

    def read_input(self, payload: Payload, decode: Decode) -> tuple[Any, ...]:
        """The function's arguments: none or one. ``DeserializationError`` if the payload does not fit."""
        if not self.has_input:
            return ()
        types = self.types
        if types.null_is_default and decode(payload, Any) is None:
            return ()
        return (decode(payload, types.input),)

    def start(self, payload: Payload, decode: Decode) -> Coroutine[Any, Any, Any]:
        """The function's coroutine, for an execution to run. ``DeserializationError`` if the input does not fit."""
        return self.function(*self.read_input(payload, decode))


class Defined:
    """What carries a definition: the base of ``Workflow``, so that this package need not know it."""

    __slots__ = ()

    @property
    def definition(self) -> WorkflowDefinition:
        raise NotImplementedError


def define_workflow(
    function: Any,
    *,
    id: str | None = None,
    retry: Retry | int = 1,
    timeout: Duration | None = None,
    version: str | None = None,
    queue: str = "default",
) -> WorkflowDefinition:
    """The definition of a coroutine function of no input or one; ``DefinitionError`` says what is wrong with others."""
    parameter = _only_parameter(function)
    try:
        return WorkflowDefinition(
            id=check_id("workflow id", kebab_case(function.__name__) if id is None else id),
            function=function,
            retry=Retry.of(retry),
            timeout=positive_duration("timeout", timeout),
            version=None if version is None else check_name("version", version),
            queue=check_id("queue", queue),
            has_input=parameter is not None,
            input_optional=parameter is not None and parameter.default is not _P.empty,
        )
    except (InvalidIdError, DurationError) as error:
        raise DefinitionError(f"@workflow {function_reference(function)}: {error}") from error


def kebab_case(name: str) -> str:
    """``survey_customer`` and ``surveyCustomer`` as ``survey-customer``."""
    return _HUMP.sub("-", name).replace("_", "-").strip("-").lower()


def positive_duration(what: str, value: Duration | None) -> timedelta | None:
    """``value`` as a ``timedelta``; ``DefinitionError`` if it is zero."""
    if value is None:
        return None
    duration = parse_duration(value)
    if not duration:
        raise DefinitionError(f"{what}={value!r}: must be longer than 0; leave it out for none")
    return duration


def _only_parameter(function: Any) -> inspect.Parameter | None:
    """The input's parameter, if there is one; ``DefinitionError`` if the function can't be a workflow."""
    if isinstance(function, staticmethod | classmethod):
        raise _wrong(function, "a workflow is a module-level function, not a method")
    if not isinstance(function, FunctionType):
        raise DefinitionError(
            f"@workflow was given {function!r:.200}; it decorates a module-level `async def` function"
        )
    if inspect.isasyncgenfunction(function) or inspect.isgeneratorfunction(function):
        raise _wrong(
            function, "it yields; a workflow returns one result (send events for what happens on the way)"
        )
    if not inspect.iscoroutinefunction(function):
        raise _wrong(
            function, "a workflow is an `async def` function; make it one, or call it from one as a step"
        )
    if "." in function.__qualname__.rpartition("<locals>.")[2]:
        raise _wrong(
            function, "a workflow is a module-level function, not a method; only steps may be methods"
        )
    parameters = list(inspect.signature(function).parameters.values())
    if parameters and parameters[0].name in ("self", "cls"):
        raise _wrong(
            function, f"its first parameter is {parameters[0].name!r}: a workflow is a function, not a method"
        )
    for parameter in parameters:
        if parameter.kind not in _POSITIONAL:
            raise _wrong(
                function,
                f"its parameter {str(parameter).partition(':')[0]!r} is not positional; a workflow takes no input or one "
                "positional input (a dataclass holds several values)",
            )
    if len(parameters) > 1:
        names = ", ".join(parameter.name for parameter in parameters)
        raise _wrong(function, f"it has {len(parameters)} inputs ({names}); put them in one dataclass")
    return parameters[0] if parameters else None


def _wrong(function: Any, reason: str) -> DefinitionError:
    return DefinitionError(f"@workflow {function_reference(function)}: {reason}")


def _admits_null(type_: Any) -> bool:
    try:
        msgspec.json.decode(_NULL, type=type_)
    except msgspec.ValidationError:
        return False
    except (TypeError, NameError):  # a type that msgspec does not know, left to pydantic
        return type(None) in typing.get_args(type_)
    return True
