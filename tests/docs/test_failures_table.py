"""The table of failures in ``docs/explanation/guarantees.md`` names tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
TESTS = ROOT / "tests"
CONTRACT = ROOT / "src" / "stepflow" / "testing" / "adapter_contract"
TABLE = (
    (ROOT / "docs" / "explanation" / "guarantees.md").read_text(encoding="utf-8").partition("(failures)=")[2]
)
NAME = re.compile(r"`([^`\s]+)`")
OUTSIDE = ("clients/", "benchmarks/", "stepflow.")
"""Beginnings of names that are not below ``tests/``."""


def defines(text: str, test: str) -> bool:
    return re.search(rf"\b(def|class) {re.escape(test)}\b", text) is not None


def text_of(place: str) -> str:
    """The tests of a file, or of all files in a directory; empty if it is not there."""
    path = TESTS / place
    files = sorted(path.rglob("*.py")) if path.is_dir() else [path] if path.exists() else []
    return "\n".join(file.read_text(encoding="utf-8") for file in files)


def test_every_test_that_the_table_names_is_there() -> None:
    missing: list[str] = []
    contract = "\n".join(file.read_text(encoding="utf-8") for file in sorted(CONTRACT.glob("*.py")))
    place = ""
    for name in NAME.findall(TABLE):
        path, _, test = name.partition("::")
        if name.startswith("test_"):
            found = defines(contract, name)
        elif path.startswith(OUTSIDE) and not (TESTS / path).exists():
            found = (ROOT / path).exists() or path.startswith("stepflow.")
        elif path.endswith((".py", "/")) or path == "…":
            place = place if path == "…" else path
            text = text_of(place)
            found = bool(text) and (not test or defines(text, test))
        else:
            continue
        if not found:
            missing.append(name)

    assert missing == []


def test_every_line_of_the_table_names_a_test_or_says_why_there_is_none() -> None:
    reasons = ("does not apply", "can't", "is as documented")
    lines = [
        line for line in TABLE.splitlines() if line.startswith("| ") and not line.startswith("| failure")
    ]
    silent = [
        line
        for line in lines
        if not line.startswith("| what happened")
        and "`" not in line
        and not any(word in line for word in reasons)
    ]

    assert len(lines) > 100
    assert silent == []
