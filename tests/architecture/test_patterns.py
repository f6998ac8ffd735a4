"""Regular expressions: none takes long over a hostile text (failures.md K21). Each is read from the source and tried as it is written."""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Iterator
from time import thread_time
from typing import Any

import pytest

from tests.architecture.sources import library

SIZE = 20_000
LIMIT = 0.05
"""Seconds of the processor's time."""

_USES = ("search", "match", "fullmatch", "sub", "split", "findall", "finditer")
HOSTILE = [
    *(
        seed * (SIZE // len(seed))
        for seed in (
            "1",
            "a",
            "A",
            "[",
            ":1",
            "~",
            "eyJ",
            "eyJa.",
            "sf_",
            "- at `$",
            "P1Y",
            "1h",
            " ",
            "{",
            "https://",
            '"\\\\',
            "\r",
            "../",
        )
    ),
    "1" * SIZE + "x",
    "a" * SIZE + "!",
    "[" * (SIZE // 2) + "]" * (SIZE // 2) + "x",
    " " * SIZE + "\n",
]


def patterns() -> Iterator[tuple[str, str | bytes, frozenset[str]]]:
    """Every pattern that is written as a literal: where it stands, the text, and the methods that are called with it."""
    for source in library():
        used: dict[str, set[str]] = {}
        for node in ast.walk(source.tree):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.attr in _USES:
                used.setdefault(node.value.id, set()).add(node.attr)
        for node in ast.walk(source.tree):
            if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Call):
                target = node.targets[0] if isinstance(node, ast.Assign) else node.target
                found = _literal(node.value, "compile")
                if found is not None and isinstance(target, ast.Name):
                    uses = frozenset(used.get(target.id, ()))
                    yield f"{source.name}:{node.lineno}", found, uses
            for use in _USES:
                found = _literal(node, use)
                if found is not None and isinstance(node, ast.Call):
                    yield f"{source.name}:{node.lineno}", found, frozenset([use])


def _literal(node: ast.AST, function: str) -> str | bytes | None:
    """The first argument of ``re.function("…")``."""
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args):
        return None
    module, literal = node.func.value, node.args[0]
    if not (isinstance(module, ast.Name) and module.id == "re" and node.func.attr == function):
        return None
    return (
        literal.value
        if isinstance(literal, ast.Constant) and isinstance(literal.value, str | bytes)
        else None
    )


def seconds(pattern: str | bytes, use: str, text: str) -> float:
    """What it costs, at best of three."""
    compiled: Any = re.compile(pattern)
    subject: Any = text.encode() if isinstance(pattern, bytes) else text
    call = getattr(compiled, use)
    best = math.inf
    for _ in range(3):
        begun = thread_time()
        if use == "sub":
            call(subject[:0], subject)
        elif use == "finditer":
            list(call(subject))
        else:
            call(subject)
        best = min(best, thread_time() - begun)
        if best < LIMIT:
            break
    return best


@pytest.mark.parametrize(
    ("where", "pattern", "uses"), [pytest.param(*each, id=each[0]) for each in patterns()]
)
def test_no_pattern_takes_long_over_a_hostile_text(
    where: str, pattern: str | bytes, uses: frozenset[str]
) -> None:
    slow = {
        (use, text[:12]): taken
        for use in sorted(uses)
        for text in HOSTILE
        if (taken := seconds(pattern, use, text)) >= LIMIT
    }

    assert slow == {}, where


def test_the_patterns_are_found() -> None:
    assert sum(bool(uses) for _, _, uses in patterns()) >= 25
