"""Measuring: what a process holds when it is at rest, and whether it grows."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import math
import os
import sqlite3
import statistics
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final

COUNTED: Final = ("tasks", "descriptors", "connections")
SHOWN: Final = (*COUNTED, "threads")
"""Threads are not judged: pools start another one whenever nobody is idle, up to their size, which may take days."""
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")
_ENDS: Final = 3
"""Samples at either end that are compared: what one of them happens to hold is no growth."""

_PARTS: Final = 10
"""Into so many parts the samples are divided for a slope. What a sample happens to hold is much like the next one's, so that samples
alone would look more certain than they are; means of parts do not."""

_CERTAIN: Final = 2.3
"""Standard errors that a slope may be wrong by, of so many parts (Student's t, 97.5 %)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A process at rest, so many seconds and runs after its start."""

    at: float
    runs: int
    memory: int
    """Bytes of RSS, without garbage."""
    blocks: int
    """What Python has allocated and not freed: this tells a leak from an allocator that keeps what was freed."""
    tasks: int
    descriptors: int
    connections: int
    threads: int


def take(at: float, runs: int) -> Sample:
    """What this process holds now, on the running loop."""
    _let_go()
    blocks = sys.getallocatedblocks()
    links = _descriptors()
    return Sample(
        at=at,
        runs=runs,
        blocks=blocks,
        memory=int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE,
        tasks=len(asyncio.all_tasks()),
        descriptors=len(links),
        connections=sum(link.startswith("socket:") for link in links),
        threads=threading.active_count(),
    )


def _let_go() -> None:
    """Collect garbage, and give the system back what the allocator keeps: neither is growth."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)


def _descriptors() -> list[str]:
    found: list[str] = []
    for entry in Path("/proc/self/fd").iterdir():
        try:
            found.append(str(entry.readlink()))
        except FileNotFoundError:
            continue  # it was the one that lists them
    return found


def empty_page_caches() -> None:
    """Let SQLite give back the pages that it keeps, up to 32 MB for each connection: they come and go by megabytes, and are no growth."""
    for each in gc.get_objects():
        if isinstance(each, sqlite3.Connection):
            each.execute("PRAGMA shrink_memory")


@dataclass(frozen=True, slots=True)
class Slope:
    """How steeply something rises, and by how much that may be wrong."""

    rise: float
    error: float

    def exceeds(self, limit: float) -> bool:
        """Whether it certainly is steeper."""
        return self.rise - self.error > limit

    def can_tell(self, limit: float) -> bool:
        """Whether twice as much would certainly have shown."""
        return self.error <= limit


def slope(places: Sequence[float], values: Sequence[float]) -> Slope:
    """The line that fits best (least squares) through the means of ten parts of the samples."""
    xs, ys = _means(places), _means(values)
    rise, start = statistics.linear_regression(xs, ys)
    misses = sum((y - start - rise * x) ** 2 for x, y in zip(xs, ys, strict=True))
    middle = statistics.fmean(xs)
    covered = sum((x - middle) ** 2 for x in xs)
    if len(xs) < _PARTS:
        return Slope(rise, math.inf)
    return Slope(rise, _CERTAIN * math.sqrt(misses / (len(xs) - 2) / covered))


def _means(values: Sequence[float]) -> list[float]:
    parts = min(_PARTS, len(values))
    bounds = [len(values) * part // parts for part in range(parts + 1)]
    return [statistics.fmean(values[begin:end]) for begin, end in pairwise(bounds)]


def growing(samples: Sequence[Sample]) -> dict[str, tuple[int, int]]:
    """The counts of which there are more in the end, at every look, than at any of the first looks."""
    found: dict[str, tuple[int, int]] = {}
    for name in COUNTED:
        first = max(getattr(sample, name) for sample in samples[:_ENDS])
        last = min(getattr(sample, name) for sample in samples[-_ENDS:])
        if last > first:
            found[name] = (first, last)
    return found
