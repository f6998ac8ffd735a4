"""Transactions: a step's own writes to the database and the step's result, together or not at all."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Any, TypeVar, overload

from stepflow._engine.current import current_step
from stepflow.errors import NotInStepError

T = TypeVar("T")


@overload
def transaction() -> AbstractAsyncContextManager[Any]: ...
@overload
def transaction(kind: type[T], /) -> AbstractAsyncContextManager[T]: ...
def transaction(kind: type[Any] | None = None, /) -> AbstractAsyncContextManager[Any]:
    """In the body of an ``async def`` step: the transaction that the step's result is recorded in, as the storage's own connection.

    What is written with it becomes durable together with the step's result, or not at all: exactly once, whatever crashes. It is committed
    when the step returns (so make it short, and the last thing a step does), rolled back when the step fails, times out or is
    given up, and at once when an exception leaves the block. Don't commit or roll back yourself; savepoints are fine.

    ``kind`` is what it is handed out as: ``sqlite3.Connection`` on SQLite; ``asyncpg.Connection``, SQLAlchemy's ``AsyncSession`` or
    ``AsyncConnection`` on PostgreSQL. Raises ``NotInStepError`` outside a step of a run, ``NotTransactionalError`` on other storages.
    """
    step = current_step()
    if step is None:
        raise NotInStepError(
            "transaction() is for the body of a step: what it writes is recorded with the step's result"
        )
    if step.transaction is None:
        raise NotInStepError(
            "transaction() was called in a step outside of any run, so there is no storage; test it by running its workflow"
        )
    return step.transaction(kind)
