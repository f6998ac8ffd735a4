"""The command: one worker process under a steady load, for an hour. Its last line is one JSON object; it fails if something grows.

Every few seconds the load rests until nothing executes; then tasks, file descriptors and connections are counted, and memory is read: what the
process has of the machine (RSS), and how many blocks Python has allocated; both without garbage, and without the pages that SQLite keeps. After the
warm-up (10 minutes) none of the counts may grow, memory may by less than 1 MB an hour, and a run may leave less than a tenth of a block. Each slope comes
with what it may be wrong by: it is a failure if it certainly is too steep, and `..._judged` says whether twice the limit would have shown. What is shorter
than a warm-up and as much again shows the counts alone.
`make soak STORE=sqlite MINUTES=60` does the same.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence

from tests.chaos.commanding import say, to_the_end
from tests.chaos.ground import STORES
from tests.soak.soak import Plan, soak


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.soak", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--store", default="sqlite", choices=STORES)
    parser.add_argument("--minutes", type=float, default=60.0, help="how long (60)")
    parser.add_argument("--pace", type=float, default=40.0, help="runs started in a second (40)")
    parser.add_argument("--every", type=float, default=15.0, help="seconds between two rests (15)")
    parser.add_argument(
        "--trace", action="store_true", help="tell in the end which lines allocated what has grown (slow)"
    )
    options = parser.parse_args(arguments)
    plan = Plan(
        store=options.store,
        seconds=options.minutes * 60,
        pace=options.pace,
        every=options.every,
        trace=options.trace,
    )
    report = to_the_end(soak(plan, say), left="no server is left")
    for what in report.wrong:
        say(f"WRONG: {what}")
    say(json.dumps(report.figures()))
    return 1 if report.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
