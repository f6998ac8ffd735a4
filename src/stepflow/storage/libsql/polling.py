"""Polling: how a process notices that another one wrote. A server tells nobody; its turn is looked at."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from stepflow.clock import SystemClock
from stepflow.errors import StorageError
from stepflow.storage.libsql.connection import Connection
from stepflow.storage.libsql.transactions import READ_TURN, turn_of

_EAGER = 0.02
_EAGER_FOR = 1.0
_TROUBLED = 1.0


class TurnPoller:
    """Looks at the turn while somebody listens, eagerly for a second after anything happened here or elsewhere.

    Transactions of this process tell it what they saw, which spares looks.
    """

    def __init__(self, connection: Connection, on_change: Callable[[], None], *, idle: float) -> None:
        self._connection = connection
        self._on_change = on_change
        self._idle = idle
        self._eager = min(_EAGER, idle)
        self._clock = SystemClock()
        self._eager_until = 0.0
        self._turn: int | None = None
        self._looks = 0
        self._listeners = 0
        self._task: asyncio.Task[None] | None = None

    def join(self) -> None:
        """Somebody listens, in this loop."""
        self._listeners += 1
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._watch(), name="stepflow-libsql-poll")

    def leave(self) -> None:
        """Somebody does not any more."""
        self._listeners -= 1
        if self._listeners == 0 and self._task is not None:
            self._task.cancel()
            self._task = None

    def stir(self) -> None:
        """Something happens here: others may soon answer."""
        self._eager_until = self._clock.monotonic() + _EAGER_FOR

    def moved(self) -> None:
        """Others wrote while a transaction here was under way."""
        self.stir()
        self._on_change()

    def seen(self, turn: int, *, written: bool = False) -> None:
        """A transaction found this turn; or made it, if it has ``written``: then the one before was there too."""
        self._looks += 1
        before = turn - 1 if written else turn
        if self._turn is not None and before > self._turn:
            self.moved()
        self._turn = turn if self._turn is None else max(turn, self._turn)

    async def look(self) -> None:
        """Look now."""
        looks = self._looks
        (answer,) = await self._connection.ask([READ_TURN])
        if self._looks == looks:  # else a transaction knows better
            self.seen(turn_of(answer, self._connection.where))

    async def close(self) -> None:
        """End it."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _watch(self) -> None:
        troubled = False
        while True:
            eager = self._clock.monotonic() < self._eager_until
            looks = self._looks
            await asyncio.sleep(_TROUBLED if troubled else self._eager if eager else self._idle)
            if self._looks != looks and not troubled:
                continue  # a transaction looked meanwhile
            try:
                await self.look()
            except StorageError:
                troubled = True  # whoever writes will be told what is wrong
                continue
            if troubled:
                troubled = False
                self.moved()
