"""How docstrings become reference pages: what of Sphinx's own way is bent, and why."""

from __future__ import annotations

import re
from typing import Any

from sphinx.pycode import ModuleAnalyzer

from stepflow import step

# Overloads tell a type checker what an ``Any`` can't; to people ten lines that differ in one word say less than one line.
_TOLD_ONCE = {
    "stepflow.app": ("Stepflow.trigger", "Stepflow.handle"),
    "stepflow.sync": ("SyncStepflow.trigger", "SyncStepflow.handle"),
    "stepflow.primitives.verbs": (
        "Verbs.run", "Verbs.map", "Verbs.parallel", "StepVerbs.invoke", "StepVerbs.start", "StepVerbs.__call__",
    ),
    "stepflow.primitives.steps": ("Step.__call__", "Step.__get__"),
    "stepflow.primitives.waiting": ("wait_for_event", "Event.__init__", "Event.wait"),
    "stepflow.workflows": ("workflow", "Workflow.__call__"),
}  # fmt: skip

_ALIAS = re.compile(r"TypeAliasForwardRef\('(\w+)'\)")
_ARGS = re.compile(r"^Args:\s*$")
_ARG = re.compile(r"^ {4}(\w+): (.*)$")


def forget_overloads() -> None:
    """Show these functions with one signature."""
    for module, names in _TOLD_ONCE.items():
        analyzer = ModuleAnalyzer.for_module(module)
        analyzer.analyze()
        for name in names:
            analyzer.overloads.pop(name, None)


def process_docstring(
    _app: Any, _what: str, name: str, _obj: object, _options: Any, lines: list[str]
) -> None:
    """Take the text of ``step`` from what it does when called, and write ``Args:`` as a list of fields."""
    if name == "stepflow.step":
        text = (type(step).__call__.__doc__ or "").splitlines()
        lines[:] = [text[0], *(line.removeprefix("        ") for line in text[1:])]
    lines[:] = _with_fields(lines)


def process_signature(
    _app: Any, _what: str, _name: str, _obj: object, _options: Any, signature: str | None, returns: str | None
) -> tuple[str | None, str | None]:
    """Show our names for types (``Duration``) as they are written, also where Sphinx shows what it keeps them in."""
    return tuple(each and _ALIAS.sub(r"\1", each) for each in (signature, returns))  # type: ignore[return-value]


def _with_fields(lines: list[str]) -> list[str]:
    written: list[str] = []
    inside = False
    for line in lines:
        if _ARGS.match(line):
            inside = True
        elif inside and (argument := _ARG.match(line)):
            written.append(f":param {argument[1]}: {argument[2]}")
        elif inside and line.startswith(" " * 8):
            written.append(f"    {line.strip()}")
        else:
            inside = inside and not line.strip()
            written.append(line)
    return written
