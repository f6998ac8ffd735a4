"""Pages: the documentation's Markdown files, cut into the blocks that can be executed.

Every ``python`` fence is code and every ``console`` fence a session; both are executed. Other fences are for the eye. A comment on the line
before a fence says more: ``<!-- file: shop.py -->`` writes the block to a file instead, ``<!-- output -->`` compares the block with what the former
one printed (``...`` stands for anything), ``<!-- raises: Name -->`` expects an exception, and ``<!-- no-run: reason -->`` only compiles.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"

_FENCE = re.compile(r"^(?P<ticks>`{3,})(?P<language>[^`]*?)\s*$")
_MARKER = re.compile(r"^<!-- (?P<verb>file|output|raises|no-run)(?:: (?P<value>.+?))? -->$")
VERBS_WITH_A_VALUE = {"file", "raises", "no-run"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A fence. ``line`` is that of its first line of content, counted from 1; ``verb`` and ``value`` are its marker's."""

    language: str
    line: int
    text: str
    verb: str = ""
    value: str = ""


def pages() -> list[Path]:
    """README and every page of the documentation, as paths below the repository."""
    written = sorted(path for path in DOCS.rglob("*.md") if "_build" not in path.parts)
    return [path.relative_to(ROOT) for path in (ROOT / "README.md", *written)]


def blocks(text: str) -> Iterator[Block]:
    """The fences of a page, in order; ``ValueError`` for a marker that belongs to none, and for a fence left open."""
    lines = iter(enumerate(text.splitlines(), start=1))
    marker: re.Match[str] | None = None
    for number, line in lines:
        fence = _FENCE.match(line)
        if fence is None:
            if marker is not None:
                raise ValueError(f"line {number - 1}: {marker[0]} stands before no fence")
            marker = _marker(number, line)
            continue
        body = _body(number, fence["ticks"], lines)
        verb, value = (marker["verb"], marker["value"] or "") if marker else ("", "")
        yield Block(language=fence["language"], line=number + 1, text=body, verb=verb, value=value)
        marker = None


def _marker(number: int, line: str) -> re.Match[str] | None:
    found = _MARKER.match(line)
    if found and (found["verb"] in VERBS_WITH_A_VALUE) != (found["value"] is not None):
        raise ValueError(f"line {number}: {line} has a value too many or too few")
    if found is None and re.match(r"<!-- *(file|output|raises|no-?run)\b", line):
        raise ValueError(f"line {number}: {line} is nearly a marker")
    return found


def _body(number: int, ticks: str, lines: Iterator[tuple[int, str]]) -> str:
    body: list[str] = []
    for _, line in lines:
        if line.rstrip() == ticks:
            return "".join(f"{each}\n" for each in body)
        body.append(line)
    raise ValueError(f"line {number}: the fence is never closed")
