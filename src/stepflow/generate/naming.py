"""Naming: what each declaration is called, the same every time, and no two alike."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Hashable, Iterable, Mapping

from stepflow.generate.shapes import Declaration

SENT_SUFFIX = "Input"
"""``OrderInput`` is what is sent, where it differs from the ``Order`` that is received."""

_NO_LETTER = re.compile(r"\W")


def name_declarations(
    declarations: Iterable[Declaration], differing: Collection[Hashable], reserved: Collection[str]
) -> Mapping[Hashable, str]:
    """A name for each declaration: its own if nobody else wants it, else with as much of its module before it as it takes.

    Of several that want a name, none gets it: so none of them changes its name when another is added to them.
    """
    ordered = sorted({each.key: each for each in declarations}.values(), key=lambda each: each.names[-1])
    levels = {each.key: 0 for each in ordered}
    while True:
        wanted = Counter(reserved)
        for each in ordered:
            wanted.update(_forms(_name(each, levels[each.key]), each.key in differing))
        crowded = [
            each
            for each in ordered
            if any(wanted[form] > 1 for form in _forms(_name(each, levels[each.key]), each.key in differing))
        ]
        if not crowded:
            return {each.key: _name(each, levels[each.key]) for each in ordered}
        growing = [each for each in crowded if levels[each.key] < len(each.names) - 1]
        for each in growing:
            levels[each.key] += 1
        if not growing:  # functions made them, all in the same place: they are numbered
            for place, each in enumerate(crowded):
                levels[each.key] += 1 + place


def _forms(name: str, differs: bool) -> tuple[str, ...]:
    return (name, f"{name}{SENT_SUFFIX}") if differs else (name,)


def _name(declaration: Declaration, level: int) -> str:
    last = len(declaration.names) - 1
    name = _NO_LETTER.sub("", declaration.names[min(level, last)]) or "Type"
    if name[0].isdigit():
        name = f"T{name}"
    return f"{name}{level - last + 1}" if level > last else name
