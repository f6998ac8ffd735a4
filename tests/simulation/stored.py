"""Stored: the seeds that found something once, as they stand in ``seeds.txt``."""

from __future__ import annotations

from pathlib import Path

SEEDS = Path(__file__).with_name("seeds.txt")


def stored() -> list[tuple[int, str]]:
    """Each seed with its store, in the order of the file."""
    lines = [line.split(maxsplit=2) for line in SEEDS.read_text().splitlines() if line.strip()]
    return [(int(line[0]), line[1]) for line in lines if line[0] != "#"]
