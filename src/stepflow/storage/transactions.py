"""Transactions: what a storage may offer beside the port, so that users' own rows are written together with a run's."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Any, Protocol, runtime_checkable

from stepflow.storage.writes import CommitRun, CreateRun, Outcome, SendEvent


class StorageTransaction(Protocol):
    """One transaction on a connection of its own, begun and not ended yet."""

    def hand_out(self, kind: type[Any] | None) -> AbstractAsyncContextManager[Any]:
        """What the user works with, as an object of ``kind`` (None: what the driver calls a connection).

        ``InputError`` for a kind that this storage does not know. Leaving it ends nothing but what it made.
        """
        ...

    async def commit(self, write: CommitRun, *, now: datetime) -> Outcome:
        """Apply ``write`` within the transaction and commit both; another outcome than ``Committed`` rolls both back.

        ``StorageUnavailableError`` and ``StorageFullError``: nothing is known, both may be there or not. Any other exception: neither is.
        """
        ...

    def roll_back(self) -> None:
        """Nothing of it is kept. Returns at once, never raises, safe to repeat and after ``commit``."""
        ...


@runtime_checkable
class TransactionalStorage(Protocol):
    """A ``Storage`` whose users' tables live in the same database."""

    @property
    def transactions_exclude(self) -> bool:
        """Whether an open transaction keeps every other write of the storage waiting."""
        ...

    async def begin_transaction(self) -> StorageTransaction:
        """Begin one. ``NotTransactionalError`` if this very storage has none, ``StorageUnavailableError`` if it may later."""
        ...

    async def write_within(self, connection: Any, write: CreateRun | SendEvent, *, now: datetime) -> Outcome:
        """Apply ``write`` in the transaction that is open on the caller's own ``connection``: it takes effect with its commit.

        An event's outcome may be ``Sent`` with position 0: who waits for it is found out after the commit. ``InputError`` for a
        connection of another driver or database, or one without an open transaction.
        """
        ...


@runtime_checkable
class Forwarding(Protocol):
    """A storage that keeps events from users' transactions aside until they are committed."""

    async def forward_events(self, *, now: datetime, limit: int) -> int:
        """Send up to ``limit`` events of ended transactions, each once, in the order they were written; how many those were."""
        ...
