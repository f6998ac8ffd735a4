"""Faults: where in a value the part is that JSON can't hold, and how deep encoded text is nested."""

from __future__ import annotations

import dataclasses
import re
from array import array
from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate
from math import isfinite
from typing import Any, NamedTuple, cast

import msgspec

MAXIMUM_DEPTH = 100

_SHOWN_STEPS = 24
_SIMPLE_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,60}")
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"')
_OPENING, _CLOSING = b"[{", b"]}"
_NOT_BRACKETS = bytes(byte for byte in range(256) if byte not in _OPENING + _CLOSING)
_STEPS = bytes.maketrans(_OPENING + _CLOSING, b"\x01\x01\xff\xff")


class Fault(NamedTuple):
    """``path`` is written like ``$.items[3]``; ``problem`` says what is the matter there."""

    path: str
    problem: str


class _Node(NamedTuple):
    value: Any
    path: tuple[Any, ...]  # linked from the leaf up: ((parent's path), "step")
    depth: int
    leaving: bool = False


def find_fault(value: Any, encode: Callable[[Any], bytes]) -> Fault | None:
    """The first part of ``value`` that can't be encoded, cyclic, too deep or no JSON number; None if all is well.

    ``encode`` is tried on the parts that hold no other. Iterative and no deeper than is allowed, in the order in which encoders go, so
    that it ends where they did. It is only called when something is wrong already.
    """
    stack = [_Node(value, (), 1)]
    open_ids: set[int] = set()
    while stack:
        node = stack.pop()
        children = _children(node.value)
        if node.leaving:
            open_ids.discard(id(node.value))
        elif children is None:
            problem = _leaf_problem(node.value, encode)
            if problem is not None:
                return Fault(_written(node.path), problem)
        elif id(node.value) in open_ids:
            return Fault(_written(node.path), "refers back to something that contains it")
        elif node.depth > MAXIMUM_DEPTH:
            return Fault(_written(node.path), f"is nested deeper than {MAXIMUM_DEPTH} levels")
        else:
            problem = _key_problem(node.value, encode)
            if problem is not None:
                return Fault(_written(node.path), problem)
            open_ids.add(id(node.value))
            stack.append(node._replace(leaving=True))
            below = [_Node(child, (node.path, step), node.depth + 1) for step, child in children]
            stack.extend(reversed(below))
    return None


def nesting_depth(data: bytes) -> int:
    """How many arrays and objects of this JSON text lie inside one another, at most."""
    brackets = _STRING.sub(b"", data).translate(_STEPS, _NOT_BRACKETS)
    return max(accumulate(array("b", brackets)), default=0)


def type_name(type_: Any) -> str:
    """``module.qualname`` of a class, without ``builtins``; the written form of any other annotation."""
    if not isinstance(type_, type):
        return repr(type_)
    module, name = str(type_.__module__), str(type_.__qualname__)
    return name if module == "builtins" else f"{module}.{name}"


def _children(value: Any) -> Iterator[tuple[str, Any]] | None:
    """The parts of a container with their steps of the path; None for what holds no parts."""
    kind = cast("Any", type(value))
    if isinstance(value, dict):
        return ((_step(key), child) for key, child in cast("dict[object, Any]", value).items())
    if isinstance(value, list | tuple | set | frozenset):
        return ((f"[{at}]", child) for at, child in enumerate(cast("list[object]", value)))
    if isinstance(value, msgspec.Struct):
        return _attributes(value, value.__struct_fields__)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _attributes(value, [field.name for field in dataclasses.fields(value)])
    if hasattr(kind, "__attrs_attrs__"):
        return _attributes(value, [each.name for each in kind.__attrs_attrs__])
    if hasattr(kind, "__pydantic_fields__"):
        return _attributes(value, vars(value))
    return None


def _attributes(value: Any, names: Iterable[str]) -> Iterator[tuple[str, Any]]:
    return ((f".{name}", getattr(value, name)) for name in names if hasattr(value, name))


def _step(key: Any) -> str:
    if isinstance(key, str) and _SIMPLE_KEY.fullmatch(key):
        return f".{key}"
    return f"[{key!r:.80}]"


def _written(path: tuple[Any, ...]) -> str:
    steps: list[str] = []
    while path:
        path, step = path
        steps.append(step)
    steps.reverse()
    if len(steps) > _SHOWN_STEPS:
        steps[_SHOWN_STEPS // 2 : -_SHOWN_STEPS // 2] = ["…"]
    return "$" + "".join(steps)


def _key_problem(container: Any, encode: Callable[[Any], bytes]) -> str | None:
    if not isinstance(container, dict):
        return None
    for key in cast("dict[object, Any]", container):
        try:
            encode({key: None})
        except UnicodeEncodeError:
            return f"has a key with a lone surrogate: {key!a:.80}"
        except Exception as error:  # noqa: BLE001 - the key's own code may raise anything; it is told, not hidden
            return f"has a key of type {type_name(type(key))} ({error})"
    return None


def _leaf_problem(value: Any, encode: Callable[[Any], bytes]) -> str | None:
    if isinstance(value, float) and not isfinite(value):
        return f"is {value!r}, for which JSON has no number"
    try:
        encode(value)
    except UnicodeEncodeError:
        return "holds a lone surrogate, so it is not valid Unicode"
    except TypeError:
        return f"is a {type_name(type(value))}"
    except Exception as error:  # noqa: BLE001 - a value's own code may raise anything; it is told, not hidden
        return f"is a {type_name(type(value))} ({error})"
    return None
