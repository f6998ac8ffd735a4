"""Transactions that users take part in: one of ours, handed to a step; and theirs, in which a run or an event of ours is written."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import datetime
from typing import Any, Final

import msgspec

from stepflow.errors import InputError, StorageError, StorageUnavailableError
from stepflow.model.events import NewEvent
from stepflow.storage._rules.records import Work
from stepflow.storage._rules.runs import already
from stepflow.storage.postgres.driver import ERRORS, SERVER_ERROR, Transaction, state_of
from stepflow.storage.postgres.errors import translate
from stepflow.storage.postgres.link import Link
from stepflow.storage.postgres.operations import runs
from stepflow.storage.postgres.options import PostgresOptions, place_of
from stepflow.storage.postgres.pool import Pool
from stepflow.storage.postgres.quick import write_quickly
from stepflow.storage.postgres.working_set import Loaded, WorkingSet
from stepflow.storage.writes import (
    CommitRun,
    Conflict,
    CreateRun,
    Duplicate,
    Existing,
    Fenced,
    Outcome,
    Sent,
    Undeliverable,
    Write,
)
from stepflow.types import RunId

_log = logging.getLogger("stepflow.storage")
_ATTEMPTS: Final = 20
_KEEP: Final = "INSERT INTO @.outbox (event) VALUES ($1)"
_KEPT: Final = "SELECT id, event FROM @.outbox ORDER BY id LIMIT $1"
_FORGET: Final = "DELETE FROM @.outbox WHERE id = ANY($1::bigint[])"
_EVENT: Final = msgspec.json.Decoder(NewEvent)
_LOST: Final = ("08", "57P", "40")
"""States after which a transaction may or may not have been committed, or may be tried again."""

Encode = Callable[[Sequence[Write]], Mapping[int, str]]


class PostgresTransaction:
    """A ``StorageTransaction`` on a connection that nobody else uses meanwhile."""

    def __init__(
        self,
        pool: Pool,
        link: Link,
        begun: Transaction,
        options: PostgresOptions,
        encode: Encode,
        tell: Callable[[RunId], None],
    ) -> None:
        self._pool = pool
        self._begun = begun
        self._may_be_reused = True
        self._link: Link | None = link
        self._options = options
        self._encode = encode
        self._tell = tell

    def hand_out(self, kind: type[Any] | None) -> AbstractAsyncContextManager[Any]:
        link = self._link
        if link is None:
            raise StorageError("the transaction of this step has ended")
        connection: Any = link.connection
        if kind is None or isinstance(connection, kind):
            return _as_it_is(connection)
        if kind.__module__.partition(".")[0] == "sqlalchemy":
            from stepflow.storage.postgres.sqlalchemy import hand_out  # noqa: PLC0415 - an extra

            self._may_be_reused = False  # it changes how the connection reads values
            return hand_out(connection, kind)
        raise InputError(
            f"transaction({kind.__name__}): on PostgreSQL it is an asyncpg.Connection, or SQLAlchemy's AsyncSession or AsyncConnection"
        )

    async def commit(self, write: CommitRun, *, now: datetime) -> Outcome:
        link, self._link = self._link, None
        if link is None:
            raise StorageUnavailableError("the transaction of this step has ended")
        place = place_of(self._options.server)
        try:
            async with asyncio.timeout(1.5 * self._options.statement_timeout):
                outcome = await self._commit(link, write, now)
        except ERRORS as error:
            self._pool.give_up(link)
            if not isinstance(error, SERVER_ERROR) or state_of(error).startswith(_LOST):
                raise translate(error, place) from error
            raise  # what the user's own rows broke: a deferred constraint, a failed statement
        except BaseException:
            self._pool.give_up(link)
            raise
        if self._may_be_reused:
            self._pool.give_back(link)
        else:
            self._pool.give_up(link)
        return outcome

    async def _commit(self, link: Link, write: CommitRun, now: datetime) -> Outcome:
        if not link.connection.is_in_transaction():
            raise StorageError("the step's transaction was ended inside the step; leave that to Stepflow")
        done = await write_quickly(link, [write], [0], self._encode([write]), now)
        if 0 not in done.outcomes:
            await self._begun.rollback()
            return Fenced()
        await self._begun.commit()
        self._tell(write.run_id)
        return done.outcomes[0]

    def roll_back(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            self._pool.give_up(link)


@asynccontextmanager
async def _as_it_is(connection: Any) -> AsyncGenerator[Any]:
    yield connection


async def begin_transaction(
    pool: Pool, options: PostgresOptions, encode: Encode, tell: Callable[[RunId], None]
) -> PostgresTransaction:
    """Begin one, on a connection beside those that the engine writes with: it must not wait for users."""
    link = await pool.borrow()
    try:
        begun = await link.begin()
    except BaseException as error:
        pool.give_up(link)
        if isinstance(error, ERRORS):
            raise translate(error, place_of(options.server)) from error
        raise
    return PostgresTransaction(pool, link, begun, options, encode, tell)


async def create_within(link: Link, write: CreateRun, now: datetime) -> Outcome:
    """Create a run in the caller's transaction, without a lock on any that is there."""
    run = write.run
    for _ in range(_ATTEMPTS):
        done = await write_quickly(link, [write], [0], {}, now)
        if done.outcomes:
            return done.outcomes[0]
        taken = await _who_is_there(link, write, now)
        if taken is not None:
            return taken
    raise StorageUnavailableError(f"PostgreSQL: run {run.id!r} is made and deleted all the time; try again")


async def _who_is_there(link: Link, write: CreateRun, now: datetime) -> Existing | Conflict | None:
    ids = [write.run.id]
    loaded = Loaded()
    loaded.runs[write.run.id] = None
    key = write.run.idempotency_key
    if key is not None:
        holder = await runs.id_of_key(link, key)
        loaded.keys[key] = holder
        if holder is not None:
            ids.append(holder)
    for found in await runs.load(link, ids, whole=True):
        loaded.add_run(found)
    return already(Work(WorkingSet(loaded, ()), now), write.run)


async def keep_event(link: Link, event: NewEvent) -> Outcome:
    """Put an event aside in the caller's transaction."""
    await link.fetch(_KEEP, msgspec.json.encode(event).decode())
    return Sent(pos=0)


async def kept_events(link: Link, limit: int) -> list[tuple[int, NewEvent]]:
    """Events of transactions that were committed, in the order in which they were put aside."""
    return [(row[0], _EVENT.decode(row[1])) for row in await link.fetch(_KEPT, limit)]


def report_dropped(events: Sequence[NewEvent], outcomes: Sequence[Outcome]) -> None:
    """Say which events nobody will get: their senders are gone."""
    for event, outcome in zip(events, outcomes, strict=True):
        if isinstance(outcome, Undeliverable):
            status = "does not exist" if outcome.status is None else f"is {outcome.status.value}"
            _log.warning(
                "event %r, sent in a transaction, is dropped: run %s %s",
                event.event_id,
                outcome.run_id,
                status,
            )
        elif isinstance(outcome, Duplicate) and outcome.once_lost:
            _log.warning(
                "event %r, sent once=True in a transaction, is dropped: another one came first",
                event.event_id,
            )


async def forget_events(link: Link, ids: Sequence[int]) -> None:
    await link.fetch(_FORGET, list(ids))
