"""Memory is the reference: whatever is done to SQLite has the same outcome there and leaves the same state."""

from __future__ import annotations

import asyncio
import os
from random import Random

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from stepflow.storage.base import Storage
from stepflow.storage.memory import MemoryStorage
from stepflow.storage.opening import open_storage
from tests.contract.histories import History

SEEDS = range(int(os.environ.get("STEPFLOW_FUZZ_SEEDS", "12")))
"""More of them find rarer differences: a bug that 12 seeds miss, 2,000 seldom do."""

dice = st.randoms(use_true_random=False)


@pytest.mark.deadline(600)
@pytest.mark.parametrize("seed", SEEDS)
async def test_a_long_history_leaves_the_same_on_both(seed: int) -> None:
    async with MemoryStorage() as memory, open_storage("sqlite:///:memory:") as sqlite:
        history = History(Random(seed), memory, sqlite)
        await history.begin()

        for _ in range(200):
            await history.step()
            await history.compare()


class Equivalence(RuleBasedStateMachine):
    """The same with short histories, and Hypothesis to look for the shortest that tells the two apart."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.sqlite: Storage = open_storage("sqlite:///:memory:")
        self.runner.run(self.sqlite.__aenter__())
        self.history: History | None = None

    def teardown(self) -> None:
        self.runner.run(self.sqlite.__aexit__(None, None, None))
        self.runner.close()

    @initialize(random=dice)
    def begin(self, random: Random) -> None:
        self.history = History(random, MemoryStorage(), self.sqlite)
        self.runner.run(self.history.begin())

    def play(self, random: Random) -> History:
        assert self.history is not None
        self.history.dice.random = random
        return self.history

    @rule(random=dice)
    def anything(self, random: Random) -> None:
        self.runner.run(self.play(random).step())

    @rule(random=dice)
    def a_batch(self, random: Random) -> None:
        history = self.play(random)

        async def write() -> None:
            await history.write(await history.batch())

        self.runner.run(write())

    @rule(random=dice, worker=st.sampled_from(["w0", "w1"]))
    def a_claim(self, random: Random, worker: str) -> None:
        self.runner.run(self.play(random).claim(worker))

    @invariant()
    def they_agree(self) -> None:
        if self.history is not None:
            self.runner.run(self.history.compare())


Equivalence.TestCase.settings = settings(
    max_examples=20, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
)
TestEquivalence = Equivalence.TestCase
