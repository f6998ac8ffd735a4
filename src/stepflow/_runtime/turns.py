"""Turns: how the transactions of a run's steps take turns with its ordinary writes.

A run's journal has one next place. Whoever writes a row in a transaction of its own must know that nothing else is on its way to that
place, and that what happens meanwhile is told to the workflow only afterwards: the order of the journal is the order of delivery.
"""

from __future__ import annotations

import asyncio
from collections import deque

from stepflow.model.journal import Entry

Held = tuple[Entry, bool]
"""An entry that came meanwhile, and whether it needs no write of its own."""


class Turns:
    """Who waits for a turn, who has one, and what happened since."""

    __slots__ = ("_waiting", "held", "holder")

    def __init__(self) -> None:
        self._waiting: deque[asyncio.Future[None]] = deque()
        self.holder: asyncio.Future[None] | None = None
        self.held: list[Held] = []

    def ask(self) -> asyncio.Future[None]:
        """A future that is done when the turn has come."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        return turn

    def grant(self) -> bool:
        """Give the turn to who waits longest; False if nobody does any more."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                self.holder = turn
                turn.set_result(None)
                return True
        return False

    def end(self, turn: asyncio.Future[None]) -> bool:
        """The turn is over, or not wanted any more; False if it was over already."""
        if turn is self.holder:
            self.holder = None
            return True
        if turn in self._waiting:
            self._waiting.remove(turn)
            return True
        return False

    def take_held(self) -> list[Held]:
        """What happened meanwhile, in order; from now on it is the taker's."""
        held, self.held = self.held, []
        return held
