"""The command: plants each mutant and looks for a seed that notices it. Its last line is one JSON object."""

from __future__ import annotations

import argparse
import gc
import json
import sys

import pytest

from tests.simulation.mutants.table import EXPLAINED, MUTANTS, NOTICED_AT, Mutant
from tests.simulation.simulate import simulate


def notice(mutant: Mutant, most: int, *, start: int | None = None) -> tuple[int, int, str] | None:
    """The seed that noticed it, how many were tried, and what was seen; None if none of them did."""
    known = NOTICED_AT.get(mutant.__name__) if start is None else start
    seeds = [*([] if known is None else [known]), *range(1, most + 1)]
    for tried, seed in enumerate(seeds, 1):
        with pytest.MonkeyPatch.context() as patch:
            mutant(patch)
            try:
                result = simulate(seed)
            except Exception as error:  # noqa: BLE001 - a mutant may break anything, in any way
                return seed, tried, f"broke: {error!r}"
        if result.failed:
            return seed, tried, result.failures[0]
        if tried % 20 == 0:
            gc.collect()
    return None


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.mutants", description=__doc__)
    parser.add_argument("--most", type=int, default=5_000, help="seeds to try for each")
    parser.add_argument(
        "--afresh", action="store_true", help="look from seed 1 on, not first at the known one"
    )
    parser.add_argument("names", nargs="*", help="only these")
    options = parser.parse_args()
    killed: dict[str, int] = {}
    survived: list[str] = []
    chosen = [mutant for mutant in MUTANTS if not options.names or mutant.__name__ in options.names]
    for mutant in chosen:
        if mutant.__name__ in EXPLAINED:
            print(f"{mutant.__name__}: explained: {EXPLAINED[mutant.__name__]}", flush=True)
            continue
        found = notice(mutant, options.most, start=1 if options.afresh else None)
        if found is None:
            survived.append(mutant.__name__)
            print(f"{mutant.__name__}: SURVIVED {options.most} seeds", flush=True)
        else:
            seed, tried, what = found
            killed[mutant.__name__] = seed
            print(f"{mutant.__name__}: noticed at seed {seed} ({tried} tried): {what:.160}", flush=True)
    explained = [mutant.__name__ for mutant in chosen if mutant.__name__ in EXPLAINED]
    figures = {
        "planted": len(chosen),
        "killed": len(killed),
        "explained": len(explained),
        "survived": survived,
        "seeds": killed,
    }
    print(json.dumps(figures))
    return 1 if survived else 0


if __name__ == "__main__":
    sys.exit(main())
