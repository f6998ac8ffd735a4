"""Slots: how many runs may be in memory, in all and of each queue."""

from __future__ import annotations

from collections.abc import Mapping


class Slots:
    """Counts runs in and out."""

    __slots__ = ("_queues", "free")

    def __init__(self, queues: Mapping[str, int], total: int) -> None:
        self._queues = dict(queues)
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

    def has_room(self, queue: str) -> bool:
        """Whether a run of this queue may come in."""
        return self.free > 0 and self._queues.get(queue, 0) > 0

    def room(self) -> dict[str, int]:
        """The queues that have room, and how much; empty if there is none in all."""
        if self.free <= 0:
            return {}
        return {queue: count for queue, count in self._queues.items() if count > 0}

    @property
    def queues(self) -> frozenset[str]:
        return frozenset(self._queues)
