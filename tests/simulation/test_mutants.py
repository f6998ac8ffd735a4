"""Mutants: a broken promise is noticed at the seed that is known to notice it. `make mutants` looks for all of them afresh."""

from __future__ import annotations

import gc

import pytest

from tests.simulation.mutants.__main__ import notice
from tests.simulation.mutants.table import EXPLAINED, MUTANTS, NOTICED_AT, Mutant
from tests.simulation.simulate import simulate

FEW = 100
"""Seeds to try where the known one does not notice it any more: a call more or less anywhere, and every seed is another story."""


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    "mutant",
    [mutant for mutant in MUTANTS if mutant.__name__ in NOTICED_AT],
    ids=lambda mutant: mutant.__name__,
)
def test_a_broken_promise_is_noticed(mutant: Mutant) -> None:
    assert notice(mutant, FEW) is not None
    gc.collect()


def test_seeds_that_notice_mutants_are_content_without_them() -> None:
    assert {seed: found for seed in set(NOTICED_AT.values()) if (found := simulate(seed).failures)} == {}


def test_at_least_thirty_planted_bugs_have_a_seed() -> None:
    names = {mutant.__name__ for mutant in MUTANTS}

    assert set(NOTICED_AT) | set(EXPLAINED) <= names
    assert len(NOTICED_AT) >= 30
