"""Hints: the annotations of a class with those of its bases, evaluated, and what their type variables stand for."""

from __future__ import annotations

import inspect
import sys
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any


@dataclass(frozen=True, slots=True)
class Hint:
    """An annotation, and what the type variables in it were bound to by a derived class."""

    annotation: Any
    bindings: Mapping[Any, Hint] = field(default_factory=dict[Any, "Hint"])

    def of(self, annotation: Any) -> Hint:
        """A part of this annotation."""
        return Hint(annotation, self.bindings)


def value_of(alias: Any) -> Any:
    """What an alias that was declared with ``type`` stands for; texts in it are evaluated where it was written."""
    holder = SimpleNamespace(__annotations__={"it": alias.__value__})
    module = vars(sys.modules[alias.__module__])
    return typing.get_type_hints(holder, globalns=module, include_extras=True)["it"]


def hints_of(class_: type) -> dict[str, Hint]:
    """The hints of all fields, bases first, by name. What can't be evaluated raises as Python says it (``NameError`` mostly)."""
    found: dict[str, Hint] = {}
    if typing.is_typeddict(class_):
        _gather_typed_dict(class_, {}, found)
        return found
    bindings: dict[Any, Mapping[Any, Hint]] = dict(_bound_bases(class_, {}))
    for base in reversed(class_.__mro__):
        own = inspect.get_annotations(base) if base.__module__ != "builtins" else {}
        for name, annotation in _evaluated(base, own).items():
            found.pop(name, None)
            found[name] = Hint(annotation, bindings.get(base, {}))
    return found


def _gather_typed_dict(class_: Any, bindings: Mapping[Any, Hint], found: dict[str, Hint]) -> None:
    """A TypedDict has forgotten its bases but for ``__orig_bases__``, and its annotations hold theirs too."""
    for base, bound in _parametrized_bases(class_, bindings):
        if typing.is_typeddict(base):
            _gather_typed_dict(base, bound, found)
    for name, annotation in _evaluated(class_, inspect.get_annotations(class_)).items():
        found.setdefault(name, Hint(annotation, bindings))


def _bound_bases(class_: type, bindings: Mapping[Any, Hint]) -> Iterator[tuple[type, Mapping[Any, Hint]]]:
    for base, bound in _parametrized_bases(class_, bindings):
        yield base, bound
        yield from _bound_bases(base, bound)


def _parametrized_bases(
    class_: Any, bindings: Mapping[Any, Hint]
) -> Iterator[tuple[type, Mapping[Any, Hint]]]:
    """The bases, each with what its own type variables are bound to."""
    for base in class_.__dict__.get("__orig_bases__", getattr(class_, "__bases__", ())):
        origin: Any = typing.get_origin(base) or base
        if not isinstance(origin, type) or origin is typing.Generic:
            continue
        parameters = getattr(origin, "__parameters__", ())
        arguments = typing.get_args(base)
        yield (
            origin,
            {
                parameter: Hint(argument, bindings)
                for parameter, argument in zip(parameters, arguments, strict=False)
            },
        )


def _evaluated(class_: type, annotations: Mapping[str, Any]) -> dict[str, Any]:
    """Annotations that stand in the class itself, texts evaluated where the class was written, ``Annotated`` kept."""
    if not annotations:
        return {}
    module = vars(sys.modules[class_.__module__])
    own = {
        **vars(class_),
        class_.__name__: class_,
        **{each.__name__: each for each in getattr(class_, "__type_params__", ())},
    }
    holder = type("_Holder", (), {"__annotations__": dict(annotations), "__module__": class_.__module__})
    # The module goes before the class, as in msgspec: the default of a field `date: date` is no type.
    return typing.get_type_hints(holder, globalns=own, localns=module, include_extras=True)
