"""Transactional steps: the storage's own transaction, handed to a step's body, with the step's result written in it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any, Protocol

from stepflow._engine.current import keep_others_out, let_others_in
from stepflow._runtime.committer import Committer
from stepflow.clock import Clock
from stepflow.errors import NotTransactionalError, StorageFullError, StorageUnavailableError
from stepflow.failpoints import failpoint
from stepflow.model.journal import Entry
from stepflow.storage import writes
from stepflow.storage.base import Storage
from stepflow.storage.transactions import StorageTransaction, TransactionalStorage
from stepflow.storage.writes import CommitRun
from stepflow.types import RunId

_LOOK_AGAIN = 0.2
"""Seconds between two looks at a storage that does not answer."""


class NotCommitted(Exception):
    """The connection was lost while the transaction was committed, and it turned out that it was not: the step runs again."""


class RunOwner(Protocol):
    """The driver, as a transaction sees it."""

    @property
    def run_id(self) -> RunId: ...

    def take_turn(self) -> asyncio.Future[None]: ...
    def next_commit(self, entries: tuple[Entry, ...]) -> CommitRun: ...
    def end_turn(self, turn: asyncio.Future[None], commit: CommitRun | None) -> None: ...
    def written_by_another(self, outcome: writes.Outcome) -> None: ...


class StepTransaction:
    """From the first ``async with transaction()`` of a body until its result is durable, or nothing of it is kept."""

    def __init__(self, owner: RunOwner, storage: Storage, committer: Committer, clock: Clock) -> None:
        if not isinstance(storage, TransactionalStorage):
            raise _no_transactions(storage)
        self._owner = owner
        self._storage = storage
        self._journal: Storage = storage
        self._committer = committer
        self._clock = clock
        self._opening = asyncio.Lock()
        self._turn: asyncio.Future[None] | None = None
        self._inner: StorageTransaction | None = None
        self._over = False

    # -------------------------------------------------------------- while the body runs
    @asynccontextmanager
    async def joined(self, kind: type[Any] | None) -> AsyncGenerator[Any]:
        """The transaction as an object of ``kind``; an exception that leaves it rolls everything back."""
        try:
            async with self._opening:
                inner = self._inner or await self._open()
            async with inner.hand_out(kind) as handed:
                yield handed
        except BaseException:
            self.roll_back()
            raise

    async def _open(self) -> StorageTransaction:
        if not self.may_be_joined:
            raise NotTransactionalError(
                "the transaction of this step has ended; open it in the step's own body"
            )
        if self._storage.transactions_exclude:
            # Nothing of this run may be on its way: it would wait for this transaction, and this one for it.
            await self._take_turn()
        inner = await self._storage.begin_transaction()
        if self._over:  # the body was given up meanwhile
            inner.roll_back()
            raise asyncio.CancelledError
        self._inner = inner
        if self._storage.transactions_exclude:
            keep_others_out()
        failpoint("transaction.after_begin")
        return inner

    async def _take_turn(self) -> None:
        self._turn = self._owner.take_turn()
        await self._turn

    @property
    def may_be_joined(self) -> bool:
        """Whether it has not ended."""
        return not self._over

    @property
    def is_open(self) -> bool:
        """Whether there is something to commit."""
        return self._inner is not None and not self._over

    def roll_back(self) -> None:
        """Nothing of it is kept; safe to repeat."""
        if self._over:
            return
        self._over = True
        if self._inner is not None:
            self._inner.roll_back()
        let_others_in()
        self._end_turn(None)

    # -------------------------------------------------------------- when it has returned
    async def conclude(self, make_entry: Callable[[], Entry], begins: Callable[[], None]) -> None:
        """Write the step's entry in the transaction and commit both; ``begins`` is told when there is no way back.

        Raises what makes the step fail, and ``NotCommitted`` if it has to run again; then nothing is kept.
        """
        inner = self._inner
        assert inner is not None, "only an open transaction is concluded"
        if self._turn is None:
            await self._take_turn()
        await asyncio.sleep(
            0
        )  # a cancel that is on its way arrives here, and not in the middle of the commit
        commit = self._owner.next_commit((make_entry(),))
        begins()
        failpoint("transaction.before_commit")
        try:
            outcome = await inner.commit(commit, now=self._clock.now())
        except (StorageUnavailableError, StorageFullError):
            await self._find_out(commit)
            return
        failpoint("transaction.after_commit")
        self._settle(commit, outcome)

    def _settle(self, commit: CommitRun, outcome: writes.Outcome) -> None:
        self._over = True
        if isinstance(outcome, writes.Committed):
            self._end_turn(commit)
        else:
            self._owner.written_by_another(outcome)

    async def _find_out(self, commit: CommitRun) -> None:
        """Take the commit's place in the journal: if that succeeds, the transaction did not, and never will."""
        self.forget_connection()
        stand_in = self._owner.next_commit(())
        outcome = await self._committer.write(stand_in)
        if isinstance(outcome, writes.Committed):
            self._over = True
            let_others_in()
            self._end_turn(stand_in)
            raise NotCommitted
        self._settle(commit, await self._who_was_first(commit, outcome))

    async def _who_was_first(self, commit: CommitRun, refusal: writes.Outcome) -> writes.Outcome:
        while True:
            try:
                rows = await self._journal.read_journal(commit.run_id, after=commit.seq - 1, limit=1)
            except StorageUnavailableError:
                await asyncio.sleep(_LOOK_AGAIN)
                continue
            mine = bool(rows) and (rows[0].seq, rows[0].writer, rows[0].write_id) == (
                commit.seq,
                commit.writer,
                commit.write_id,
            )
            return writes.Committed() if mine else refusal

    def forget_connection(self) -> None:
        """What the transaction held is given back: another write is to get past it."""
        assert self._inner is not None
        self._inner.roll_back()

    def _end_turn(self, commit: CommitRun | None) -> None:
        turn, self._turn = self._turn, None
        if turn is not None:
            self._owner.end_turn(turn, commit)


def _no_transactions(storage: Storage) -> NotTransactionalError:
    return NotTransactionalError(
        f"{storage.url} has no transactions that a step could join; sqlite:///FILE and postgresql://… have. "
        "Elsewhere make the step idempotent (current_run().step.idempotency_key)"
    )
