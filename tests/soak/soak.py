"""Soak: the load for so long, with a rest now and then to see what the process holds."""

from __future__ import annotations

import asyncio
import math
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
from tests.soak.measuring import SHOWN, Sample, Slope, empty_page_caches, growing, slope, take

MOST_GROWTH: Final = 1_000_000
"""Bytes of the process an hour."""
MOST_BLOCKS: Final = 0.1
"""Blocks of Python's a run: what keeps anything of every run keeps at least one."""
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
    warm_up: float = 600.0
    """Seconds, or the first half if that is less: caches are filled, and allocators have what they need."""
    trace: bool = False
    """Whether to tell in the end which lines allocated what is there now and was not after the warm-up."""


@dataclass(slots=True)
class Report:
    """All samples after the warm-up."""

    plan: Plan
    samples: list[Sample] = field(default_factory=list)
    runs: int = 0

    @property
    def judges_slopes(self) -> bool:
        """Whether it took long enough for everything to be filled; until then memory does grow."""
        return self.samples[0].at >= self.plan.warm_up

    @property
    def memory(self) -> Slope:
        """Bytes an hour."""
        hours = [sample.at / 3_600 for sample in self.samples]
        return slope(hours, [sample.memory for sample in self.samples])

    @property
    def blocks(self) -> Slope:
        """Blocks a run."""
        return slope([sample.runs for sample in self.samples], [sample.blocks for sample in self.samples])

    @property
    def wrong(self) -> list[str]:
        """What grows, and must not."""
        found = [
            f"{name} grew from {first} to {last}" for name, (first, last) in growing(self.samples).items()
        ]
        if not self.judges_slopes:
            return found
        memory, blocks = self.memory, self.blocks
        if memory.exceeds(MOST_GROWTH):
            found.append(
                f"memory grows by {memory.rise / 1e6:.2f} MB an hour, give or take {memory.error / 1e6:.2f}"
            )
        if blocks.exceeds(MOST_BLOCKS):
            found.append(
                f"every run leaves {blocks.rise:.2f} blocks of memory, give or take {blocks.error:.2f}"
            )
        return found

    def figures(self) -> dict[str, Any]:
        """The last line of the command."""
        first, last = self.samples[0], self.samples[-1]
        memory, blocks = self.memory, self.blocks
        counts = {name: [getattr(first, name), getattr(last, name)] for name in SHOWN}
        return {
            "store": self.plan.store,
            "minutes": round(self.plan.seconds / 60, 2),
            "runs": self.runs,
            "samples": len(self.samples),
            "memory_mb": [round(first.memory / 1e6, 2), round(last.memory / 1e6, 2)],
            "slope_mb_per_hour": [_shown(memory.rise / 1e6), _shown(memory.error / 1e6)],
            "slope_judged": self.judges_slopes and memory.can_tell(MOST_GROWTH),
            "blocks": [first.blocks, last.blocks],
            "blocks_per_run": [_shown(blocks.rise), _shown(blocks.error)],
            "blocks_judged": self.judges_slopes and blocks.can_tell(MOST_BLOCKS),
            **counts,
            "growing": self.wrong,
        }


def _shown(number: float) -> float | None:
    return round(number, 3) if math.isfinite(number) else None


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
            await load.fill_pools()
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
        empty_page_caches()
        sample = take(at, load.runs)
        counts = ", ".join(f"{getattr(sample, name)} {name}" for name in SHOWN)
        warm = at >= min(plan.warm_up, plan.seconds / 2)
        tell(
            f"{at:6.0f} s: {load.runs} runs, {sample.memory / 1e6:.2f} MB, {sample.blocks} blocks, {counts}{'' if warm else ' (warming up)'}"
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
