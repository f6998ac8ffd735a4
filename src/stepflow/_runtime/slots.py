"""Slots: how many runs may be in memory, in all and of each queue."""

from __future__ import annotations

from collections.abc import Mapping


class Slots:
    """Counts runs in and out, and what a claim that is on its way may bring."""

    __slots__ = ("_asked", "_asked_in_all", "_queues", "free")

    def __init__(self, queues: Mapping[str, int], total: int) -> None:
        self._queues = dict(queues)
        self._asked: Mapping[str, int] = {}
        self._asked_in_all = 0
        self.free = total

    def take(self, queue: str) -> None:
        """A run of this queue comes into memory."""
        self.free -= 1
        if queue in self._queues:
            self._queues[queue] -= 1

    def give(self, queue: str) -> None:
        """One left."""
        self.free += 1
        if queue in self._queues:
            self._queues[queue] += 1

    def serves(self, queue: str) -> bool:
        return queue in self._queues

    def reserve(self, room: Mapping[str, int], limit: int) -> None:
        """A claim asks for so many runs of each queue, and at most ``limit``; until ``unreserve`` it may bring them."""
        self._asked, self._asked_in_all = room, limit

    def unreserve(self) -> None:
        """The claim is answered."""
        self._asked, self._asked_in_all = {}, 0

    def has_room(self, queue: str) -> bool:
        """Whether a run of this queue may come in, whatever is claimed meanwhile."""
        asked = min(self._asked.get(queue, 0), self._asked_in_all)
        return self.free > self._asked_in_all and self._queues.get(queue, 0) > asked

    def room(self) -> dict[str, int]:
        """The queues that have room, and how much; empty if there is none in all."""
        if self.free <= 0:
            return {}
        return {queue: count for queue, count in self._queues.items() if count > 0}

    @property
    def queues(self) -> frozenset[str]:
        return frozenset(self._queues)
