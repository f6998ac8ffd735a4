"""The command: many seeds, or one, or one made smaller. Its last line is one JSON object; it fails if a seed does."""

from __future__ import annotations

import argparse
import gc
import json
import sys
import time
from collections import Counter
from collections.abc import Sequence

from tests.fundamentals.programs import Step
from tests.simulation.shrinking import shrink
from tests.simulation.simulate import Result, simulate
from tests.simulation.stores import NAMES

_COLLECT_EVERY = 20
_TELL_EVERY = 15.0
_TWICE_EVERY = 25
"""One seed of so many is run twice, and has to go the same way."""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--store", default="memory", choices=NAMES)
    parser.add_argument("--start", type=int, default=1)
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--seed", type=int, help="run this one, and show all that happens")
    parser.add_argument("--shrink", action="store_true", help="with --seed: make the failure smaller first")
    options = parser.parse_args(arguments)
    if options.seed is None:
        return run_many(options.store, options.start, options.seeds)
    if options.shrink:
        return show_smaller(options.seed, options.store)
    return show(simulate(options.seed, options.store, keep_lines=True))


def show(result: Result) -> int:
    """All that happened, and what was wrong with it."""
    print(*result.lines or (), sep="\n")
    print(f"seed {result.seed} on {result.store}: {sum(result.faults.values())} faults, trace {result.hash}")
    print(*result.failures or ("nothing is wrong",), sep="\n")
    return 1 if result.failed else 0


def show_smaller(seed: int, store: str) -> int:
    """What is left of the seed when everything is left out that it fails without."""
    smaller = shrink(seed, store)
    print("what went wrong:", *smaller.result.failures, sep="\n  ")
    print("dials:", smaller.dials)
    for plan in smaller.plan.plans:
        if plan.acts or plan.main != Step("report"):
            print("run:", plan)
    print(
        *simulate(seed, store, dials=smaller.dials, plan=smaller.plan, keep_lines=True).lines or (), sep="\n"
    )
    return 1


def run_many(store: str, start: int, seeds: int) -> int:
    """Seeds from ``start`` on; the first failure is told with the command that repeats it."""
    faults: Counter[str] = Counter()
    failed: list[int] = []
    begun, told = time.process_time(), time.monotonic()
    for done, seed in enumerate(range(start, start + seeds), 1):
        result = simulate(seed, store)
        faults += result.faults
        failures = list(result.failures)
        if seed % _TWICE_EVERY == 0 and simulate(seed, store).hash != result.hash:
            failures.append("the same seed went two ways")
        if failures:
            failed.append(seed)
            print(f"seed {seed} on {store}: {failures[0]:.500}", flush=True)
        if done % _COLLECT_EVERY == 0:
            gc.collect()
        if time.monotonic() - told > _TELL_EVERY:
            told = time.monotonic()
            print(f"{done} of {seeds} seeds, {faults.total()} faults, {len(failed)} failed", flush=True)
    hours = (time.process_time() - begun) / 3600
    if failed:
        print(f"repeat the first failure: python -m tests.simulation --store {store} --seed {failed[0]}")
    figures = {
        "store": store,
        "start": start,
        "seeds": seeds,
        "faults": faults.total(),
        "by_kind": dict(sorted(faults.items())),
        "failures": len(failed),
        "failed": failed[:20],
        "seeds_per_core_hour": round(seeds / hours),
    }
    print(json.dumps(figures))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
