"""Keeping: executions of suspended runs, so that a run that wakes soon need not be replayed."""

from __future__ import annotations

from collections import OrderedDict

from stepflow._runtime.driver import Driver
from stepflow.types import RunId

MOST_RUNS = 1_000
MOST_BYTES = 16 * 1024 * 1024


class Keeping:
    """The drivers that were suspended last, within limits of number and of delivered journal; the others are dropped."""

    def __init__(self, *, runs: int = MOST_RUNS, bytes: int = MOST_BYTES) -> None:
        self._most_runs = runs
        self._most_bytes = bytes
        self._drivers: OrderedDict[RunId, Driver] = OrderedDict()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._drivers)

    def keep(self, driver: Driver) -> None:
        """Hold on to it, and let go of those that were suspended longest ago if it is too much now."""
        former = self.take(driver.run_id)
        if former is not None:  # of a run that was deleted, and whose id is in use again
            former.drop()
        self._drivers[driver.run_id] = driver
        self._bytes += driver.weight
        while len(self._drivers) > self._most_runs or self._bytes > self._most_bytes:
            _, oldest = self._drivers.popitem(last=False)
            self._bytes -= oldest.weight
            oldest.drop()

    def take(self, run_id: RunId) -> Driver | None:
        """The driver of this run, which is not kept any more; None if there is none."""
        driver = self._drivers.pop(run_id, None)
        if driver is not None:
            self._bytes -= driver.weight
        return driver

    def known(self) -> dict[RunId, int]:
        """From which journal row each of them needs its run: the one by which it gave the run up comes again, as a proof."""
        return {run_id: driver.seq - 1 for run_id, driver in self._drivers.items()}

    def drop_all(self) -> None:
        for driver in self._drivers.values():
            driver.drop()
        self._drivers.clear()
        self._bytes = 0
