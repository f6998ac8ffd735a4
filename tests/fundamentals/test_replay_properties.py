"""The specification of the engine: random programs, crashed everywhere, end as if nothing had happened.

``STEPFLOW_FUZZ_PROGRAMS=3000`` tries more programs than the 300 of an ordinary run.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from random import Random

import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from tests.fundamentals import generated
from tests.fundamentals.conftest import in_parts
from tests.fundamentals.programs import Program
from tests.fundamentals.replaying import check, check_next_attempt, check_once, check_other_world

HASH_SEEDS = ("0", "1", "2", "3", "4")


def programs() -> st.SearchStrategy[Program]:
    return st.randoms(use_true_random=False).map(generated.program)


def for_all(part: range, holds: Callable[[Program], object]) -> None:
    """Try ``holds`` on as many programs as the part has, made from its numbers; name the one that it fails on."""
    for number in part:
        program = generated.program(Random(number))
        try:
            holds(program)
        except AssertionError as error:
            raise AssertionError(f"seed {number}: {program}") from error


@pytest.mark.usefixtures("nothing_left")
@in_parts
def test_every_prefix_of_a_history_replayed_and_finished_gives_the_first_result(part: range) -> None:
    @seed(part.start)
    @settings(max_examples=len(part), database=None, deadline=None, suppress_health_check=list(HealthCheck))
    @given(programs())
    def holds(program: Program) -> None:
        check(program)

    holds()


@pytest.mark.usefixtures("nothing_left")
@in_parts
def test_the_same_holds_for_programs_of_plain_seeds(part: range) -> None:
    for_all(part, check)


@pytest.mark.usefixtures("nothing_left")
@in_parts
def test_a_run_that_goes_on_differently_after_a_crash_stays_consistent(part: range) -> None:
    for_all(part, check_other_world)


@in_parts
def test_a_step_that_runs_at_most_once_does(part: range) -> None:
    for_all(part, lambda program: check_once(replace(program, main=generated.only_once(program.main))))


@in_parts
def test_a_second_attempt_keeps_what_succeeded_and_is_replayed_itself(part: range) -> None:
    for_all(part, check_next_attempt)


def test_what_happens_at_one_instant_is_decided_one_by_one() -> None:
    for number in range(100):
        check(generated.crowded(Random(number)))


def test_histories_do_not_depend_on_the_seed_of_pythons_hashes() -> None:
    told = {hash_seed: histories_under(hash_seed) for hash_seed in HASH_SEEDS}

    assert len(set(told.values())) == 1
    assert "step-completed" in told["0"]


def histories_under(hash_seed: str) -> str:
    """What some programs leave behind in a process with this ``PYTHONHASHSEED``."""
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": os.pathsep.join(sys.path)}
    code = "from tests.fundamentals.replaying import tell; tell(25)"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60, check=True
    )
    return done.stdout
