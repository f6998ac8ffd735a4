"""Lookup: which command a recorded entry answers, and what waits on either side without a partner."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable
from collections.abc import Set as AbstractSet

import msgspec

from stepflow._engine import divergence
from stepflow._engine.commands import Command
from stepflow._engine.divergence import KeyedEntry
from stepflow._engine.keys import scope_of
from stepflow.types import StepKey


class Match(msgspec.Struct, frozen=True):
    """The entry answers this command."""

    command: Command


class NotAsked(msgspec.Struct, frozen=True):
    """Nobody asks for the entry yet: it is set aside until its exact key is asked for."""


class Dropped(msgspec.Struct, frozen=True):
    """The command was asked and withdrawn: the entry came too late."""


class NeedsMore(msgspec.Struct, frozen=True):
    """The answer depends on entries that were not given yet."""


class Contradiction(msgspec.Struct, frozen=True):
    """Code and journal disagree, in words."""

    detail: str


Found = Match | NotAsked | Dropped | NeedsMore | Contradiction
_NOT_ASKED, _DROPPED, _NEEDS_MORE = NotAsked(), Dropped(), NeedsMore()


class Lookup:
    """Commands without an answer (``pending``), and recorded answers without a command (set aside)."""

    __slots__ = ("_aliases", "_aside", "_aside_order", "_known", "_withdrawn", "pending", "ready")

    def __init__(self, known: AbstractSet[str]) -> None:
        """``known``: the scopes that tasks have had so far, which were not renamed, therefore."""
        self._known = known
        self.pending: dict[StepKey, Command] = {}
        self._aliases: dict[StepKey, StepKey] = {}
        self._withdrawn: set[StepKey] = set()
        self._aside: dict[StepKey, list[tuple[int, KeyedEntry, bool]]] = {}
        self._aside_order = 0
        self.ready: list[tuple[int, StepKey]] = []
        """A heap of what was set aside and is asked for now, by age."""

    # -------------------------------------------------------------- commands
    def ask(self, command: Command) -> None:
        """Wait for an answer to ``command``; one that was set aside becomes ready."""
        key = command.key
        self.pending[key] = command
        if self._aside and key in self._aside:
            heapq.heappush(self.ready, (self._aside[key][0][0], key))

    def answered(self, command: Command) -> None:
        self.pending.pop(command.key, None)

    def withdraw(self, command: Command) -> bool:
        """The code gave the command up. False if it had been answered already."""
        if self.pending.get(command.key) is not command:
            return False
        del self.pending[command.key]
        self._withdrawn.add(command.key)
        return True

    def is_pending(self, command: Command) -> bool:
        return self.pending.get(command.key) is command

    # -------------------------------------------------------------- recorded entries
    def find(self, entry: KeyedEntry, rest: Callable[[], Iterable[KeyedEntry]] | None) -> Found:
        """The command that ``entry`` answers. ``rest`` gives the entries still to come, None if not all are known."""
        key = self._aliases.get(entry.key, entry.key)
        command = self.pending.get(key)
        if command is not None:
            if divergence.agrees(entry, command):
                return Match(command)
            if not divergence.is_other_timer(entry, command):
                return Contradiction(divergence.contradiction(entry, command))
        elif key in self._withdrawn:
            return _DROPPED
        return self._find_renamed(entry, rest)

    def _find_renamed(self, entry: KeyedEntry, rest: Callable[[], Iterable[KeyedEntry]] | None) -> Found:
        candidates = [c for c in self.pending.values() if divergence.may_be_renamed(entry, c)]
        if candidates and scope_of(entry.key) in self._known:
            return _NOT_ASKED  # its task is there: it may ask later, or does not want it any more
        if candidates:
            if rest is None:
                return _NEEDS_MORE
            own = {other.key for other in rest()}
            candidates = [c for c in candidates if c.key not in own and c.key not in self._aside]
        if len(candidates) > 1:
            return Contradiction(divergence.ambiguity(entry, candidates))
        if not candidates:
            return _NOT_ASKED
        self._aliases[entry.key] = candidates[0].key
        return Match(candidates[0])

    def set_aside(self, entry: KeyedEntry, *, kept: bool = False) -> None:
        """Hold a recorded entry until its exact key is asked for. ``kept``: from an earlier attempt."""
        self._aside_order += 1
        self._aside.setdefault(entry.key, []).append((self._aside_order, entry, kept))

    def next_aside(self) -> KeyedEntry | None:
        """The oldest entry set aside whose key is asked for now, taken out; None if there is none."""
        while self.ready:
            _, key = heapq.heappop(self.ready)
            held = self._aside.get(key)
            if key not in self.pending or not held:
                continue
            _, entry, _ = held.pop(0)
            if held:
                heapq.heappush(self.ready, (held[0][0], key))
            else:
                del self._aside[key]
            return entry
        return None

    def left_over(self) -> list[KeyedEntry]:
        """What was recorded in this attempt and never asked for, oldest first."""
        held = [item for items in self._aside.values() for item in items if not item[2]]
        return [entry for _, entry, _ in sorted(held, key=lambda item: item[0])]
