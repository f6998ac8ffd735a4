"""Sagas: what to do as generators that yield calls and are sent the replies, many of them in step over one network.

A wave is everything that the sagas of a batch want to ask now; it is one round trip to each server, however many
they are. A saga may be given up between any two waves (a lost connection, a crash): each of them leaves the store
such that doing the whole again comes to the same end.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from datetime import datetime
from typing import Any, TypeAlias, TypeVar

from stepflow.storage._rules.records import Work
from stepflow.storage.redis.calls import Call
from stepflow.storage.redis.keys import Keys
from stepflow.storage.redis.network import Network
from stepflow.types import RunId

T = TypeVar("T")
_REMEMBERED = 4_096
Saga: TypeAlias = Generator[Sequence[Call], Sequence[Any], T]


class Remembered:
    """Runs as this process last saved them, so that their owner need not read them again; the oldest are forgotten.

    What is remembered may be out of date: it is good for a save that checks the run's version, and for nothing else.
    """

    __slots__ = ("_runs",)

    def __init__(self) -> None:
        self._runs: dict[RunId, Any] = {}

    def keep(self, run_id: RunId, held: Any) -> None:
        self._runs.pop(run_id, None)
        self._runs[run_id] = held
        if len(self._runs) > _REMEMBERED:
            del self._runs[next(iter(self._runs))]

    def take(self, run_id: RunId) -> Any:
        """The run, which is forgotten: whoever saves it keeps it anew. None if it is not known."""
        return self._runs.pop(run_id, None)


class Act:
    """What the sagas of one call of the port share: the keys, the instant, and whom to tell afterwards."""

    __slots__ = ("changed", "ending", "keys", "now", "owned", "ready")

    def __init__(self, keys: Keys, now: datetime, owned: Remembered | None = None) -> None:
        self.keys = keys
        self.owned = Remembered() if owned is None else owned
        self.now = now
        self.ready: set[str] = set()
        self.changed: set[RunId] = set()
        self.ending: set[RunId] = set()
        """Runs whose end is being told just now, by this very call."""

    def noted(self, work: Work) -> None:
        """Keep whom a piece of work concerns."""
        self.ready |= work.ready
        self.changed |= work.changed


async def perform(network: Network, saga: Saga[T]) -> T:
    """Do one saga."""
    [result] = await perform_all(network, [saga])
    return result


async def perform_all(network: Network, sagas: Sequence[Saga[T]]) -> list[T]:
    """Do sagas in step; their results in order. They must not depend on each other."""
    results: list[Any] = [None] * len(sagas)
    try:
        active = _step([(place, saga, None) for place, saga in enumerate(sagas)], results)
        while active:
            replies = await network.perform([call for _, _, calls in active for call in calls])
            shares: list[tuple[int, Saga[T], Sequence[Any] | None]] = []
            start = 0
            for place, saga, calls in active:
                shares.append((place, saga, replies[start : start + len(calls)]))
                start += len(calls)
            active = _step(shares, results)
    finally:
        for saga in sagas:
            saga.close()
    return results


def _step(
    shares: Sequence[tuple[int, Saga[T], Sequence[Any] | None]], results: list[Any]
) -> list[tuple[int, Saga[T], Sequence[Call]]]:
    """Hand each saga its replies; those that want more, with what they want."""
    active: list[tuple[int, Saga[T], Sequence[Call]]] = []
    for place, saga, replies in shares:
        try:
            active.append((place, saga, next(saga) if replies is None else saga.send(replies)))
        except StopIteration as end:
            results[place] = end.value
    return active


def call(one: Call) -> Saga[Any]:
    """One call's reply."""
    [reply] = yield [one]
    return reply
