"""Transactions that users take part in: on a connection of their own, while everybody else's writes wait."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import threading
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from stepflow.errors import InputError, NotTransactionalError, StorageError, StorageUnavailableError
from stepflow.storage._rules.records import Work
from stepflow.storage._sql.foreign import driver_connection, unknown_connection
from stepflow.storage.sqlite.connection import connect
from stepflow.storage.sqlite.errors import translate
from stepflow.storage.sqlite.options import SqliteOptions
from stepflow.storage.sqlite.session import Session
from stepflow.storage.sqlite.working_set import apply_batch, encode_batch
from stepflow.storage.writes import CommitRun, Committed, CreateRun, Outcome, SendEvent

Tell = Callable[[Work], None]


def _deny_ends(action: int, *_: object) -> int:
    """The authorizer while users have the connection: whoever commits in the middle would tear apart what belongs together."""
    return sqlite3.SQLITE_DENY if action == sqlite3.SQLITE_TRANSACTION else sqlite3.SQLITE_OK


class SqliteTransaction:
    """A ``StorageTransaction`` on the file. From its begin on, nobody else writes."""

    def __init__(self, path: Path, options: SqliteOptions, tell: Tell) -> None:
        self._path = path
        self._tell = tell
        self._connection = connect(
            path, synchronous=options.synchronous, patience=options.busy_timeout / 1000
        )
        self._using = threading.Lock()
        self._closed = False

    def begin(self) -> None:
        """Take the lock; ``sqlite3.OperationalError`` while somebody has it. Called on the writing thread."""
        with self._using:
            if not self._closed:
                self._connection.execute("BEGIN IMMEDIATE")
                self._connection.set_authorizer(_deny_ends)

    def hand_out(self, kind: type[Any] | None) -> AbstractAsyncContextManager[Any]:
        if kind is not None and not issubclass(sqlite3.Connection, kind):
            raise InputError(f"transaction({kind.__name__}): on SQLite it is a sqlite3.Connection")
        return self._handed_out()

    @asynccontextmanager
    async def _handed_out(self) -> AsyncGenerator[sqlite3.Connection]:
        yield self._connection

    async def commit(self, write: CommitRun, *, now: datetime) -> Outcome:
        # On a thread: a commit may take as long as the disk wants.
        outcome, work = await asyncio.to_thread(self._commit, write, now)
        self._tell(work)
        return outcome

    def _commit(self, write: CommitRun, now: datetime) -> tuple[Outcome, Work]:
        encoded = encode_batch([write])
        with self._using:
            if self._closed:
                raise StorageUnavailableError(f"SQLite database {self._path}: the storage was closed")
            connection = self._connection
            connection.set_authorizer(None)
            if not connection.in_transaction:
                self._close()
                raise StorageError(
                    f"SQLite database {self._path}: the step's transaction was ended inside the step; leave that to Stepflow"
                )
            try:
                with _as_we_need_it(connection):
                    (outcome,), work = apply_batch(connection, [write], encoded, now)
                    if isinstance(outcome, Committed):
                        connection.execute("COMMIT")
            except sqlite3.IntegrityError:
                raise  # a deferred constraint of the user's own
            except sqlite3.Error as error:
                raise translate(error, str(self._path)) from error
            finally:
                self._close()
        return outcome, work

    def roll_back(self) -> None:
        with self._using:
            self._close()

    def _close(self) -> None:
        """Closing ends a transaction without a trace."""
        if not self._closed:
            self._closed = True
            with contextlib.suppress(sqlite3.Error):  # whatever is wrong with it: it is not used again
                self._connection.rollback()
            self._connection.close()


async def begin_transaction(session: Session, options: SqliteOptions, tell: Tell) -> SqliteTransaction:
    """Begin one, in turn with all other writes of this process."""
    if options.path is None:
        raise NotTransactionalError(
            "sqlite:///:memory: has one connection for everything; give a file (sqlite:///app.db) for transaction()"
        )
    begun = SqliteTransaction(options.path, options, tell)
    try:
        await session.write(lambda _: begun.begin(), small=False)
    except BaseException:
        begun.roll_back()
        raise
    return begun


async def write_within(
    options: SqliteOptions, connection: Any, write: CreateRun | SendEvent, now: datetime
) -> Outcome:
    """Apply the write in the transaction of the user's own connection, which is begun if it is one that begins them by itself."""
    own = await driver_connection(connection)
    if not isinstance(own, sqlite3.Connection):
        raise unknown_connection(
            own, wanted="a sqlite3.Connection (or a sync Session or Connection of SQLAlchemy on one)"
        )
    try:
        _check_database(own, options.path)
        if not own.in_transaction:
            if own.isolation_level is None:
                raise InputError(
                    "connection= has no open transaction: execute BEGIN first, and COMMIT when all is written"
                )
            own.execute("BEGIN IMMEDIATE")
        with _as_we_need_it(own):
            (outcome,), _ = apply_batch(own, [write], encode_batch([write]), now)
    except sqlite3.Error as error:
        raise translate(error, str(options.path)) from error
    return outcome


def _check_database(connection: sqlite3.Connection, path: Path | None) -> None:
    with _as_we_need_it(connection):
        files = {name: file for _, name, file in connection.execute("PRAGMA database_list")}
    main = files.get("main")
    if path is None or not main or not path.samefile(main):
        raise InputError(
            f"connection= is open on {main or 'a database in memory'}, but the runs are in "
            f"{path or 'a private database in memory'}: they must be one file to be written together"
        )


@contextmanager
def _as_we_need_it(connection: sqlite3.Connection) -> Generator[None]:
    """Rows as tuples and texts as ``str``, whatever the user has set."""
    row_factory, text_factory = connection.row_factory, connection.text_factory
    connection.row_factory, connection.text_factory = None, str
    try:
        yield
    finally:
        connection.row_factory, connection.text_factory = row_factory, text_factory
