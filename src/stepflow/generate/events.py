"""Events: the declarations that modules hold, and which event ids each of them covers."""

from __future__ import annotations

import re
import string
from collections.abc import Iterable, Iterator, Sequence
from types import ModuleType
from typing import Any

from stepflow.primitives.waiting import Event

Pattern = tuple[str | None, ...]
"""The id's text, with None where a field of the template is: any text."""


def events_of(modules: Iterable[ModuleType]) -> Iterator[Event[Any]]:
    """Every event that the modules hold under any name, also in modules that they hold themselves; each once."""
    found: set[int] = set()
    for module in modules:
        inner = [each for each in vars(module).values() if isinstance(each, ModuleType)]
        for holder in (module, *inner):
            for value in list(vars(holder).values()):
                # By class, not isinstance: an object in a user's module may pretend to be anything.
                if issubclass(type(value), Event) and id(value) not in found:
                    found.add(id(value))
                    yield value


def pattern_of(event: Event[Any]) -> Pattern:
    """The template cut at its fields; fields that touch are one."""
    parts: list[str | None] = []
    for text, field, _, _ in string.Formatter().parse(event.template):
        if text and parts and parts[-1] is not None:
            parts[-1] += text
        elif text:
            parts.append(text)
        if field is not None and parts[-1:] != [None]:
            parts.append(None)
    return tuple(parts)


def covers(pattern: Pattern, other: Pattern) -> bool:
    """Whether each id of ``other`` is one of ``pattern`` too, to a reader for whom a field may hold a slash."""
    if pattern == other:
        return False
    expression = "".join(".+" if part is None else re.escape(part) for part in pattern)
    return re.fullmatch(expression, _sample(other), re.DOTALL) is not None


def _sample(pattern: Sequence[str | None]) -> str:
    return "".join("\0" if part is None else part for part in pattern)
