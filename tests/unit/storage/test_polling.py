"""Polling a SQLite file: how often a process looks for what others wrote."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from itertools import pairwise

import pytest

from stepflow.storage.sqlite.polling import VersionPoller

IDLE, EAGER, CLOSEST = 0.01, 0.002, 0.000_25


class Watch(threading.Event):
    """A thread's life without the thread: every wait takes as long as it is asked to, and something may happen then."""

    def __init__(self, *, changes: Sequence[int] = (), own: Sequence[int] = (), looks: int) -> None:
        """After so many waits: ``changes`` of others, and writes of our ``own``; it ends after ``looks``."""
        super().__init__()
        self.pauses: list[float] = []
        self.told: list[int] = []
        self._now = 100.0
        self._changes, self._own, self._looks = changes, own, looks
        self._poller = VersionPoller(
            self._version,
            lambda: self.told.append(len(self.pauses)),
            idle=IDLE,
            on_begin=lambda: None,
            closest=CLOSEST,
        )

    def watched(self, monkeypatch: pytest.MonkeyPatch) -> list[float]:
        monkeypatch.setattr(self._poller, "_clock", self)
        self._poller._watch(self)
        return self.pauses

    def monotonic(self) -> float:
        return self._now

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout is not None
        if len(self.pauses) == self._looks:
            return True
        self.pauses.append(timeout)
        self._now += timeout
        if len(self.pauses) in self._own:
            self._poller.stir()
        return False

    def _version(self) -> int:
        return sum(change <= len(self.pauses) for change in self._changes)


def test_a_process_looks_seldom_while_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Watch(looks=3).watched(monkeypatch) == [IDLE] * 3


def test_a_process_that_is_alone_never_looks_most_closely(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Watch(own=[1, 4, 5], looks=8).watched(monkeypatch) == [IDLE] + [EAGER] * 7


@pytest.mark.parametrize("happens", ["others write", "we write"])
def test_processes_that_answer_each_other_look_most_closely_after_whatever_happens(
    happens: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes, own = ([1, 20], []) if happens == "others write" else ([1], [20])
    watch = Watch(changes=changes, own=own, looks=40)

    pauses = watch.watched(monkeypatch)

    for begun in (1, 20):
        assert pauses[begun] == CLOSEST
        assert all(first < second <= EAGER for first, second in pairwise(pauses[begun : begun + 6]))
        assert pauses[begun + 6] == EAGER
    assert watch.told == changes


def test_a_second_after_the_last_answer_a_process_is_alone_again(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = 6 + round(1 / EAGER)

    pauses = Watch(changes=[1], own=[looks], looks=looks + 1).watched(monkeypatch)

    assert pauses[-1] == EAGER
