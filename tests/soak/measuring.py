"""Measuring: what a process holds when it is at rest, and whether it grows."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

COUNTED: Final = ("tasks", "descriptors", "connections")
SHOWN: Final = (*COUNTED, "threads")
"""Threads are not judged: pools start another one whenever nobody is idle, up to their size, which may take days."""
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")
_ENDS: Final = 3
"""Samples at either end that are compared: what one of them happens to hold is no growth."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A process at rest, so many seconds after its start."""

    at: float
    memory: int
    """Bytes of RSS, without garbage."""
    tasks: int
    descriptors: int
    connections: int
    threads: int


def take(at: float) -> Sample:
    """What this process holds now, on the running loop."""
    _let_go()
    links = _descriptors()
    return Sample(
        at=at,
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


def slope(samples: Sequence[Sample]) -> float:
    """Bytes of memory an hour: the line that fits best (least squares)."""
    middle = sum(sample.at for sample in samples) / len(samples)
    mean = sum(sample.memory for sample in samples) / len(samples)
    covered = sum((sample.at - middle) ** 2 for sample in samples)
    rises = sum((sample.at - middle) * (sample.memory - mean) for sample in samples)
    return rises / covered * 3_600


def growing(samples: Sequence[Sample]) -> dict[str, tuple[int, int]]:
    """The counts of which there are more in the end, at every look, than at any of the first looks."""
    found: dict[str, tuple[int, int]] = {}
    for name in COUNTED:
        first = max(getattr(sample, name) for sample in samples[:_ENDS])
        last = min(getattr(sample, name) for sample in samples[-_ENDS:])
        if last > first:
            found[name] = (first, last)
    return found
