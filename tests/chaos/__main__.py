"""The command: real worker processes on a real store, and everything goes wrong. Its last line is one JSON object; it fails if a run is lost.

What is played is the simulator's workload (tests/simulation), and what must hold are its invariants. `make chaos STORE=sqlite MINUTES=10` does
the same. The first lines say the seed: with it the same misfortunes are drawn again, but they meet other instants, as real processes do.
What a failure leaves is in the folder that the output names: the workers' logs, and the ledger of what each of them did.
"""

from __future__ import annotations

import argparse
import json
import secrets
import sys
from collections.abc import Sequence

from tests.chaos.commanding import say, to_the_end
from tests.chaos.ground import STORES
from tests.chaos.play import Plot, Result, play

_SHOWN = 20


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--store", default="sqlite", choices=STORES)
    parser.add_argument(
        "--minutes", type=float, default=10.0, help="how long things go wrong (10); healing comes on top"
    )
    parser.add_argument(
        "--seed", type=int, help="what is drawn from it is drawn again; a new one if left out"
    )
    parser.add_argument("--workers", type=int, default=4, help="worker processes (4)")
    parser.add_argument("--starts", type=float, default=48.0, help="runs that users start in a second (48)")
    parser.add_argument(
        "--mutant", help="plant this bug of tests/simulation/mutants in the workers, and see it noticed"
    )
    options = parser.parse_args(arguments)
    seed = secrets.randbelow(1_000_000) if options.seed is None else options.seed
    plot = Plot(
        store=options.store,
        seed=seed,
        seconds=options.minutes * 60,
        workers=options.workers,
        starts=options.starts,
        mutant=options.mutant,
    )
    say(f"seed {seed} on {plot.store}: {options.minutes:g} minutes, {plot.workers} workers")
    return show(to_the_end(play(plot, say), left="no process and no server is left"))


def show(result: Result) -> int:
    """What is wrong, and the figures."""
    verdict = result.verdict
    for name in ("lost", "second_outcomes", "wrong"):
        for what in getattr(verdict, name)[:_SHOWN]:
            say(f"{name.upper()}: {what}")
    if not verdict.clean:
        say(
            f"repeat it: python -m tests.chaos --store {result.plot.store} --seed {result.plot.seed} "
            f"--minutes {result.plot.seconds / 60:g}"
        )
    say(json.dumps(result.figures()))
    return 0 if verdict.clean else 1


if __name__ == "__main__":
    sys.exit(main())
