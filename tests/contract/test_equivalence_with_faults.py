"""Memory is the oracle of a state machine that does the same to every store, with faults: what is not answered is sent again.

A call may fail before anything is done, or be done and fail all the same, once or several times in a row. Both stores meet the
same faults, and everything is sent again unchanged, as the runtime does; then both must have answered alike and hold the same.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from stepflow.errors import StorageFullError, StorageUnavailableError
from stepflow.storage.memory import MemoryStorage
from stepflow.storage.opening import open_storage
from stepflow.testing.faults import FaultyStorage
from tests.contract.histories import WORKERS, History
from tests.servers.stores import FULL, LASTING, Stores, stores

__all__ = ["stores"]

EXAMPLES = {"libsql": 4, "redis-cluster": 6}
"""Histories for each store, such that they take seconds; 10 where nothing else is said."""

ASKED = int(os.environ.get("STEPFLOW_FUZZ_EXAMPLES", "300" if FULL else "0"))
"""Histories for each store in a long hunt, which is another one each time."""

STEPS = 30
FAULTS = ["before", "after", "full"]

dice = st.randoms(use_true_random=False)
faults = st.lists(st.sampled_from(FAULTS), max_size=3)


class FaultyHistory(History):
    """A history on two storages that fail in the same way at the same calls."""

    first: FaultyStorage
    second: FaultyStorage

    def __init__(self, random: Random, first: FaultyStorage, second: FaultyStorage) -> None:
        super().__init__(random, first, second)
        self.ahead: list[str] = []
        """The faults that the next call meets, one after the other."""

    async def same(self, method: str, *arguments: Any, **options: Any) -> Any:
        ahead, self.ahead = self.ahead, []
        for storage in (self.first, self.second):
            for fault in ahead:
                arranged = storage.fail_after if fault == "after" else storage.fail_before
                arranged(method, error=_full if fault == "full" else None)
        expected, failures = await _persistently(self.first, method, *arguments, **options)
        got, others = await _persistently(self.second, method, *arguments, **options)
        assert got == expected
        assert failures == others == len(ahead)
        return expected


def _full() -> Exception:
    return StorageFullError("a test arranged it")


async def _persistently(storage: FaultyStorage, method: str, *arguments: Any, **options: Any) -> Any:
    """The answer, and how often it was asked for in vain."""
    failures = 0
    while True:
        try:
            return await getattr(storage, method)(*arguments, **options), failures
        except (StorageUnavailableError, StorageFullError):
            failures += 1


class Faulty(RuleBasedStateMachine):
    """One history on an empty store, and on memory."""

    def __init__(self, fresh: Callable[[], str]) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.store = FaultyStorage(open_storage(fresh()))
        self.runner.run(self.store.__aenter__())
        self.history: FaultyHistory | None = None

    def teardown(self) -> None:
        self.runner.run(self.store.__aexit__(None, None, None))
        self.runner.close()

    @initialize(random=dice)
    def begin(self, random: Random) -> None:
        self.history = FaultyHistory(random, FaultyStorage(MemoryStorage()), self.store)
        self.runner.run(self.history.begin())

    def play(self, random: Random, ahead: list[str]) -> FaultyHistory:
        assert self.history is not None
        self.history.dice.random = random
        self.history.ahead = list(ahead)
        return self.history

    @rule(random=dice)
    def anything(self, random: Random) -> None:
        self.runner.run(self.play(random, []).step())

    @rule(random=dice, ahead=faults)
    def a_batch(self, random: Random, ahead: list[str]) -> None:
        history = self.play(random, ahead)

        async def write() -> None:
            await history.write(await history.batch())

        self.runner.run(write())

    @rule(random=dice, ahead=faults, worker=st.sampled_from(WORKERS))
    def a_claim(self, random: Random, ahead: list[str], worker: str) -> None:
        self.runner.run(self.play(random, ahead).claim(worker))

    @rule(random=dice, ahead=faults, worker=st.sampled_from(WORKERS))
    def a_release(self, random: Random, ahead: list[str], worker: str) -> None:
        history = self.play(random, ahead)
        self.runner.run(history.same("release_worker", worker, now=history.now))

    @rule(random=dice, ahead=faults)
    def a_pruning(self, random: Random, ahead: list[str]) -> None:
        self.runner.run(self.play(random, ahead).prune())

    @invariant()
    def they_agree(self) -> None:
        if self.history is not None:
            self.runner.run(self.history.compare())


@pytest.mark.timeout(7_200 if ASKED else 120)
@pytest.mark.parametrize("name", LASTING)
def test_every_store_does_what_memory_does_whatever_fails(name: str, stores: Stores) -> None:
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        lambda: Faulty(lambda: stores.fresh(name)),
        settings=settings(
            max_examples=ASKED or EXAMPLES.get(name, 10),
            stateful_step_count=STEPS,
            deadline=None,
            derandomize=not ASKED,
            database=None,
            phases=[Phase.generate, Phase.shrink] if ASKED else [Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )
