"""A file holds one idea in at most 400 lines, a function in at most 50; exceptions are named, with the reason."""

from __future__ import annotations

import ast

from tests.architecture.sources import FunctionNode, library

FILE_LINES = 400
FUNCTION_LINES = 50

# name → why it may be longer. An entry that is not needed any more fails the test too.
LONG_FILES: dict[str, str] = {
    "app.py": "a third of it are overloads: the public types of one class",
    "_runtime/driver.py": "one state machine over one run's state; what has a state of its own has left it already",
}
LONG_FUNCTIONS: dict[str, str] = {
    "_engine/answers.py:answer": "one match with a few lines for each of eleven entries",
}


def length(function: FunctionNode) -> int:
    """Lines from ``def`` to the end, without decorators and docstring."""
    lines = (function.end_lineno or function.lineno) - function.lineno + 1
    first = function.body[0]
    if ast.get_docstring(function) is not None:
        lines -= (first.end_lineno or first.lineno) - first.lineno + 1
    return lines


def test_files_are_at_most_400_lines_long() -> None:
    long = {source.name: source.lines for source in library() if source.lines > FILE_LINES}

    assert {name: lines for name, lines in long.items() if name not in LONG_FILES} == {}
    assert set(LONG_FILES) - set(long) == set(), "these are short enough now; take them off the list"


def test_functions_are_at_most_50_lines_long() -> None:
    long = {
        f"{source.name}:{function.name}": length(function)
        for source in library()
        for function in source.functions()
        if length(function) > FUNCTION_LINES
    }

    assert {name: lines for name, lines in long.items() if name not in LONG_FUNCTIONS} == {}
    assert set(LONG_FUNCTIONS) - set(long) == set(), "these are short enough now; take them off the list"
