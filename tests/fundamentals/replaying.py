"""Replaying: the property itself. Every prefix of a run's history, replayed and finished, gives the first run's result."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from difflib import unified_diff
from random import Random

from stepflow.model.journal import AttemptStarted, Entry, StepIntended
from tests.fundamentals.accounts import Finished, ended_steps
from tests.fundamentals.generated import program
from tests.fundamentals.programs import Program
from tests.fundamentals.simulated import Simulation, all_evicted
from tests.fundamentals.world import SECOND


def difference(first: tuple[str, str], second: tuple[str, str]) -> str:
    """Where two accounts of one run part."""
    lines = [
        " ".join(told).replace("},{", "},\n{").replace("), (", "),\n(").splitlines()
        for told in (first, second)
    ]
    return "\n".join(unified_diff(*lines, "first", "again", lineterm="", n=1))


@all_evicted()
def check(program: Program) -> int:
    """Run ``program``, then again from every prefix of its history. The number of prefixes."""
    first = Simulation(program, watch=True).finish()
    random = Random(program.seed)
    for cut in range(len(first.journal) + 1):
        prefix = first.journal[:cut]
        if random.randrange(2):
            Simulation(program, prefix).close()  # a worker that gives the run up at once
        again = Simulation(program, prefix, slices=random if random.randrange(2) else None)
        assert_same(first, again, cut)
        if random.randrange(3) == 0:
            assert_kept(first, Simulation(program, prefix), cut, random)
    return len(first.journal) + 1


def assert_kept(first: Finished, kept: Simulation, cut: int, random: Random) -> None:
    """An execution kept in memory, while another worker went on, takes over what that one wrote."""
    later = random.choice([length for length in first.fingerprints if length >= cut])
    kept.run.replay(first.journal[cut:later])
    assert kept.run.fingerprint() == first.fingerprints[later], (
        f"kept from {cut} entries, and differs at {later}"
    )
    kept.close()


def assert_same(first: Finished, again: Simulation, cut: int) -> None:
    """``again``, begun with ``cut`` entries, is where ``first`` was then, and ends as it did."""
    if cut in first.fingerprints:
        assert again.run.fingerprint() == first.fingerprints[cut], f"rebuilt differently from {cut} entries"
    second = again.finish()
    assert_no_recorded_step_ran(first.journal[:cut], second)
    assert second.left_over == ()
    told, retold = first.told(), second.told()
    assert retold == told, f"another history or outcome from {cut} entries:\n{difference(told, retold)}"


@all_evicted()
def check_other_world(program: Program) -> None:
    """Crash anywhere, and go on in a world with other latencies: consistent all the same, and replayed exactly."""
    first = Simulation(program).finish()
    random = Random(program.seed)
    cut = random.randrange(len(first.journal) + 1)
    prefix = first.journal[:cut]
    other = replace(program, seed=program.seed + 1)
    second = Simulation(other, prefix, watch=True).finish()
    assert_no_recorded_step_ran(prefix, second)
    for later in range(cut, len(second.journal) + 1):
        if later in second.fingerprints:
            again = Simulation(other, second.journal[:later])
            assert again.run.fingerprint() == second.fingerprints[later]
            again.close()


@all_evicted()
def check_once(program: Program) -> None:
    """A program whose steps run at most once: from no prefix a body runs that was begun before it."""
    first = Simulation(program, watch=True).finish()
    for cut in range(len(first.journal) + 1):
        prefix = first.journal[:cut]
        again = Simulation(program, prefix)
        begun = {entry.key for entry in prefix if isinstance(entry, StepIntended)}
        if begun <= ended_steps(prefix):
            assert_same(first, again, cut)
        else:
            second = again.finish()
            assert not [key for key in begun if second.executed[key]], "a step that was begun ran again"


@all_evicted()
def check_next_attempt(program: Program) -> None:
    """A second attempt keeps the steps that succeeded, and is replayed exactly itself."""
    first = Simulation(program).finish()
    if first.outcome[0] == "stuck":
        return  # it goes on for ever: no attempt follows
    started = AttemptStarted(at=first.journal[-1].at + SECOND, attempt=2)
    journal = [*first.journal, started]
    second = Simulation(program, journal, attempt=2, watch=True).finish()
    assert_no_recorded_step_ran(journal, second)
    for cut in range(len(journal), len(second.journal) + 1):
        assert_same(second, Simulation(program, second.journal[:cut], attempt=2), cut)


def assert_no_recorded_step_ran(prefix: Sequence[Entry], finished: Finished) -> None:
    for key in ended_steps(prefix):
        assert not finished.executed[key], f"recorded step {key} ran again"


def tell(programs: int) -> None:
    """Print the histories and traces of some programs (for a process of its own)."""
    for seed in range(programs):
        sys.stdout.write("\n".join(Simulation(program(Random(seed))).finish().told()))
