"""``tests/FAILURES.md`` names tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

TESTS = Path(__file__).parents[1]
NAME = re.compile(r"`([^`\s]+)`")


def test_every_test_that_the_table_names_is_there() -> None:
    missing: list[str] = []
    last = ""
    for name in NAME.findall((TESTS / "FAILURES.md").read_text(encoding="utf-8")):
        path, _, test = name.partition("::")
        path = last if path == "…" else path
        if not path.endswith(".py"):
            continue
        last = path
        file = TESTS / path
        text = file.read_text(encoding="utf-8") if file.exists() else ""
        if not text or (test and not re.search(rf"\b(def|class) {re.escape(test.rstrip('…'))}", text)):
            missing.append(name)

    assert missing == []
