"""Callables: what a function is called, whether it is a coroutine function, and what type it returns."""

from __future__ import annotations

import collections.abc
import functools
import inspect
import logging
import sys
import typing
from types import BuiltinFunctionType, FunctionType, MethodType, SimpleNamespace
from typing import Any
from weakref import WeakKeyDictionary

_log = logging.getLogger("stepflow")
_typing: Any = typing  # checkers know some of its names as forms only
_NOT_VALUES = (_typing.NoReturn, _typing.Never, _typing.Self)
_result_types: WeakKeyDictionary[FunctionType, Any] = WeakKeyDictionary()
_described: WeakKeyDictionary[FunctionType, tuple[str, Any]] = WeakKeyDictionary()


def function_of(target: Any) -> Any:
    """The function (or class) behind partials, methods, decorators that keep ``__wrapped__``, and callable objects."""
    for _ in range(100):  # a ``__wrapped__`` may lead back to where it came from
        if isinstance(target, functools.partial):
            target = target.func  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        elif isinstance(target, MethodType | staticmethod | classmethod):
            target = target.__func__  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        elif "__wrapped__" in getattr(target, "__dict__", ()):
            target = target.__wrapped__
        elif isinstance(target, FunctionType | BuiltinFunctionType | type):
            return target
        elif hasattr(target, "__qualname__"):
            break
        else:
            target = target.__class__
    return target


def function_reference(target: Any) -> str:
    """``module:qualname`` of what is behind ``target``: how a journal names the function of a step."""
    function = function_of(target)
    module = getattr(function, "__module__", None) or "builtins"
    return f"{module}:{function.__qualname__}"


def is_coroutine_function(target: Any) -> bool:
    """Whether calling ``target`` makes a coroutine. Seen through partials, methods and ``__call__``.

    Not through ``__wrapped__``: a decorator may have made a blocking function of an async one.
    """
    while isinstance(target, functools.partial):
        target = target.func  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    if inspect.iscoroutinefunction(target):
        return True
    if isinstance(target, FunctionType | MethodType | BuiltinFunctionType | type):
        return False
    call = getattr(target.__class__, "__call__", None)  # noqa: B004  # its kind matters, not whether it is there
    return inspect.iscoroutinefunction(call)


def result_type(target: Any) -> Any:
    """The type of what ``target`` returns, once awaited: its annotation; ``Any`` if that is missing or can't be resolved."""
    function = function_of(target)
    if isinstance(function, type):
        if function is target or (isinstance(target, functools.partial) and target.func is function):
            return function  # the class itself is called: it returns an instance
        function = function_of(getattr(function, "__call__", None))  # noqa: B004
    if not isinstance(function, FunctionType):
        return Any
    try:
        return _result_types[function]
    except KeyError:
        found = _result_types[function] = _resolve_result(function)
        return found


def described(target: Any) -> tuple[str, Any]:
    """``function_reference`` and ``result_type`` in one, remembered for functions."""
    if not isinstance(target, FunctionType):
        return function_reference(target), result_type(target)
    found = _described.get(target)
    if found is None:
        found = _described[target] = (function_reference(target), result_type(target))
    return found


def resolve_annotation(annotation: Any, function: Any) -> Any:
    """An annotation of ``function``, evaluated if it is text, with its ``Annotated`` kept. ``NameError`` and others escape."""
    holder = SimpleNamespace(__annotations__={"it": annotation})
    namespace: dict[str, Any] = getattr(function, "__globals__", {})
    return typing.get_type_hints(
        holder, globalns=namespace, localns=_locals_of(function), include_extras=True
    )["it"]


def _locals_of(function: Any) -> dict[str, Any]:
    """Names that the function itself closes over, so that classes of an enclosing function may be found."""
    closure = getattr(function, "__closure__", None) or ()
    names = getattr(getattr(function, "__code__", None), "co_freevars", ())
    found: dict[str, Any] = {}
    for name, cell in zip(names, closure, strict=False):
        try:
            found[name] = cell.cell_contents
        except ValueError:  # not assigned yet
            continue
    return found


def _resolve_result(function: FunctionType) -> Any:
    annotation = function.__annotations__.get("return", inspect.Parameter.empty)
    if annotation is inspect.Parameter.empty:
        return Any
    try:
        resolved = resolve_annotation(annotation, function)
    except Exception as error:  # noqa: BLE001  # evaluating an annotation may raise anything
        _log.warning(
            "the return annotation %r of %s can't be resolved (%s): its results come back as plain JSON values",
            annotation,
            function_reference(function),
            error,
        )
        return Any
    return awaited_type(resolved)


def awaited_type(annotation: Any) -> Any:
    """``T`` for ``Awaitable[T]`` and its kin, which a step awaits; anything else as it is."""
    origin: Any = typing.get_origin(annotation)
    if annotation in _NOT_VALUES or isinstance(annotation, typing.TypeVar):
        return Any
    if origin is None:
        return Any if _is_awaitable(annotation) else annotation
    if _is_awaitable(origin):
        arguments = typing.get_args(annotation)
        return awaited_type(arguments[-1]) if arguments else Any
    return annotation


def _is_awaitable(type_: object) -> bool:
    return isinstance(type_, type) and issubclass(type_, collections.abc.Awaitable)


def module_of(target: Any) -> str | None:
    """The name of the module that defines what is behind ``target``, if it is loaded under that name."""
    name = getattr(function_of(target), "__module__", None)
    return name if name in sys.modules else None
