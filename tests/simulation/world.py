"""World: virtual time, and whose turn it is. Everything that happens in a simulation is a place in its one heap."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from random import Random
from typing import TYPE_CHECKING, Any

from tests.simulation.dials import Dials
from tests.simulation.virtual import MICROSECONDS

if TYPE_CHECKING:
    from tests.simulation.meddling import Meddler
    from tests.simulation.observer import Observer
    from tests.simulation.processes import Process

_SPIN = 50_000
EPOCH = datetime(2030, 1, 1, tzinfo=UTC)


class World:
    """One seed's universe. ``random`` decides what goes wrong; nothing else is left to chance."""

    observer: Observer
    meddler: Meddler

    def __init__(self, seed: int, dials: Dials) -> None:
        self.seed = seed
        self.dials = dials
        self.random = Random(f"world-{seed}")
        self.now = 0
        self.calm = False
        """True once nothing goes wrong any more."""
        self.calm_from = 0
        """When every live worker has had the time to renew its lease."""
        self.faults: Counter[str] = Counter()
        self.processes: list[Process] = []
        self.outage_until = 0
        self.lines: list[str] | None = None
        """What happened, line by line, if somebody wants to read it."""
        self._heap: list[tuple[int, int, Process | None, Any]] = []
        self._order = itertools.count()
        self._digest = blake2b(digest_size=8)

    # -------------------------------------------------------------- time
    def instant(self) -> datetime:
        """The true time, which skewed clocks miss."""
        return EPOCH + timedelta(microseconds=self.now)

    def after(self, micros: int, call: Callable[[], None]) -> None:
        """Something happens in the world, whatever the processes are doing."""
        heapq.heappush(self._heap, (self.now + micros, next(self._order), None, call))

    def later(self, when: int, process: Process, handle: asyncio.Handle) -> None:
        """The handle is ready in that process at this instant, or when the process thaws."""
        heapq.heappush(self._heap, (when, next(self._order), process, handle))

    def hasten(self, process: Process, when: int) -> None:
        """What was put off in that process until then is due now: it has thawed before its time."""
        for place, (due, order, whose, what) in enumerate(self._heap):
            if whose is process and due == when:
                self._heap[place] = (self.now, order, whose, what)
        heapq.heapify(self._heap)

    def run(self, seconds: float, until: Callable[[], bool] = lambda: False) -> bool:
        """Let so much time pass; True if ``until`` came true before it was over."""
        heap = self._heap
        end = self.now + int(seconds * MICROSECONDS)
        turns = standing = 0
        while heap and heap[0][0] <= end:
            when, order, process, what = heapq.heappop(heap)
            standing = standing + 1 if when == self.now else 0
            if standing > _SPIN:
                raise AssertionError(
                    f"time stands still: {what!r} and its like are due at one instant, again and again"
                )
            if process is None:
                self.now = when
                what()
            elif process.dead or what._cancelled:
                continue
            elif process.frozen_until > when:
                heapq.heappush(heap, (process.frozen_until, order, process, what))
                continue
            else:
                self.now = when
                process.loop.make_ready(what)
                process.loop.run_ready()
            turns += 1
            if turns & 31 == 0 and until():
                return True
        self.now = end
        return until()

    # -------------------------------------------------------------- what happened
    def trace(self, *what: object) -> None:
        """Something happened: it is part of what has to be the same every time."""
        line = f"{self.now} {what}"
        self._digest.update(line.encode())
        if self.lines is not None:
            self.lines.append(f"{self.now / MICROSECONDS:11.6f}  {'  '.join(map(str, what))}")

    def fault(self, kind: str) -> None:
        self.faults[kind] += 1

    @property
    def hash(self) -> str:
        return self._digest.hexdigest()

    def dice(self, probability: float) -> bool:
        """Whether something goes wrong that does so this often."""
        return not self.calm and probability > 0 and self.random.random() < probability
