"""Seeds: a fixed share of them on every store, and all that ever found something."""

from __future__ import annotations

import gc

import pytest

from tests.simulation.simulate import simulate
from tests.simulation.stored import stored
from tests.simulation.stores import NAMES

BLOCK = 10
BLOCKS = {"memory": 15, "sqlite": 8, "redis-model": 10}


# (A process that was killed may leave a coroutine of a workflow to the garbage collector, as a real one does.)
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.mark.parametrize(
    ("store", "start"),
    [(store, 1 + BLOCK * block) for store, blocks in BLOCKS.items() for block in range(blocks)],
)
def test_clusters_keep_every_promise_whatever_befalls_them(store: str, start: int) -> None:
    failures = {seed: simulate(seed, store).failures for seed in range(start, start + BLOCK)}
    gc.collect()

    assert {seed: found for seed, found in failures.items() if found} == {}, (
        f"repeat one: python -m tests.simulation --store {store} --seed N"
    )


@pytest.mark.parametrize(("seed", "store"), stored())
def test_what_a_seed_found_once_does_not_come_back(seed: int, store: str) -> None:
    assert simulate(seed, store).failures == []


@pytest.mark.parametrize("store", NAMES)
def test_a_seed_always_goes_the_same_way(store: str) -> None:
    for seed in (7, 11, 23):
        assert simulate(seed, store).hash == simulate(seed, store).hash
