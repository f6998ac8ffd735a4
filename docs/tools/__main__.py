"""``python -m docs.tools`` writes what is generated in the documentation; ``--check`` only says what is stale."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from docs.tools import cli, facts, states
from docs.tools.figures import FIGURES

DOCS = Path(__file__).parents[1]


def generated() -> Iterator[tuple[Path, str]]:
    """Every generated file and what it should hold."""
    for name, draw in FIGURES.items():
        yield DOCS / "figures" / f"{name}.svg", draw()
    yield DOCS / "figures" / "states.svg", states.figure()
    yield DOCS / "reference" / "states.md", states.page()
    yield DOCS / "reference" / "limits.md", facts.limits()
    yield DOCS / "reference" / "failpoints.md", facts.failpoint_page()
    yield DOCS / "reference" / "cli.md", cli.page()


def stale() -> list[Path]:
    """The files that differ from what would be written."""
    return [
        path for path, text in generated() if not path.exists() or path.read_text(encoding="utf-8") != text
    ]


def main(check: bool) -> int:
    texts = dict(generated())
    wrong = stale()
    for path in wrong:
        sys.stdout.write(f"{path.relative_to(DOCS)}: {'stale' if check else 'written'}\n")
        if not check:
            path.parent.mkdir(exist_ok=True)
            path.write_text(texts[path], encoding="utf-8")
    return 1 if check and wrong else 0


if __name__ == "__main__":
    raise SystemExit(main("--check" in sys.argv[1:]))
