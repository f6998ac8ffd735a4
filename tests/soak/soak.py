"""Soak: the load for so long, with a rest now and then to see what the process holds."""

from __future__ import annotations

import asyncio
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

from stepflow import Stepflow, opened
from tests.chaos.ground import GROUNDS
from tests.servers.polling import for_as_long_as
from tests.soak.load import WORKFLOWS, Load
from tests.soak.measuring import SHOWN, Sample, growing, slope, take

MOST_GROWTH: Final = 1_000_000
"""Bytes an hour."""
LONG_ENOUGH: Final = 1_200.0
"""Seconds of samples from which a slope of so little can be told from what comes and goes."""
FEWEST: Final = 6
"""Samples that are judged, at least: on a machine that is busy, resting takes its time."""
_RETENTION: Final = timedelta(seconds=30)
_KINDS_SHOWN: Final = 25


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """``seconds`` of load at ``pace`` runs a second, a rest ``every`` so many."""

    store: str
    seconds: float
    pace: float = 40.0
    every: float = 15.0
    warm_up: float = 900.0
    """Seconds, or the first half if that is less: pools get all of their threads, caches are filled."""
    trace: bool = False
    """Whether to tell in the end which lines allocated what is there now and was not after the warm-up."""


@dataclass(slots=True)
class Report:
    """All samples after the warm-up."""

    plan: Plan
    samples: list[Sample] = field(default_factory=list)
    runs: int = 0

    @property
    def judges_memory(self) -> bool:
        return self.samples[-1].at - self.samples[0].at >= LONG_ENOUGH

    @property
    def wrong(self) -> list[str]:
        """What grows, and must not."""
        found = [
            f"{name} grew from {first} to {last}" for name, (first, last) in growing(self.samples).items()
        ]
        if self.judges_memory and slope(self.samples) > MOST_GROWTH:
            found.append(f"memory grows by {slope(self.samples) / 1e6:.2f} MB an hour")
        return found

    def figures(self) -> dict[str, Any]:
        """The last line of the command."""
        first, last = self.samples[0], self.samples[-1]
        counts = {name: [getattr(first, name), getattr(last, name)] for name in SHOWN}
        return {
            "store": self.plan.store,
            "minutes": round(self.plan.seconds / 60, 2),
            "runs": self.runs,
            "samples": len(self.samples),
            "memory_mb": [round(first.memory / 1e6, 2), round(last.memory / 1e6, 2)],
            "slope_mb_per_hour": round(slope(self.samples) / 1e6, 3),
            "slope_judged": self.judges_memory,
            **counts,
            "growing": self.wrong,
        }


async def soak(plan: Plan, tell: Callable[[str], None]) -> Report:
    """Load and rest, in turns. Pruning is so quick that the store is as steady as the load."""
    report = Report(plan)
    opened._PRUNE_EVERY = _RETENTION
    async with GROUNDS[plan.store](0) as ground:
        app = Stepflow(
            ground.url, workflows=WORKFLOWS, worker=True, retention=_RETENTION, event_retention=_RETENTION
        )
        async with app:
            load = Load(app, plan.pace)
            async with asyncio.TaskGroup() as group:  # a load that fails ends it all
                working = group.create_task(load.go_on())
                await _in_turns(plan, load, report, tell)
                working.cancel()
            report.runs = load.runs
    return report


async def _in_turns(plan: Plan, load: Load, report: Report, tell: Callable[[str], None]) -> None:
    begun = time.monotonic()
    before: tracemalloc.Snapshot | None = None
    while (at := time.monotonic() - begun) < plan.seconds or len(report.samples) < FEWEST:
        await for_as_long_as(plan.every)
        await load.rest()
        sample = take(at)
        counts = ", ".join(f"{getattr(sample, name)} {name}" for name in SHOWN)
        warm = at >= min(plan.warm_up, plan.seconds / 2)
        tell(
            f"{at:6.0f} s: {load.runs} runs, {sample.memory / 1e6:.2f} MB, {counts}{'' if warm else ' (warming up)'}"
        )
        if warm:
            report.samples.append(sample)
            if plan.trace and before is None:
                tracemalloc.start(8)
                before = tracemalloc.take_snapshot()
        load.resume()
    if before is not None:
        for line in tracemalloc.take_snapshot().compare_to(before, "lineno")[:_KINDS_SHOWN]:
            tell(str(line))
