"""Transactions over a distance: read, decide here, then write under the condition that nobody wrote in between.

Every write that changes more than it appends to a journal also moves a counter, the *turn*. What was read stays true while
the turn is the same; so the first attempts read without a lock and send one conditioned batch, whose first statement fails
if the turn has moved. Appends to a journal are fenced by its primary key instead. Where others keep writing in between, the
last attempt holds the lock from its first question on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from stepflow.errors import StorageError, StorageUnavailableError
from stepflow.storage.libsql import hrana
from stepflow.storage.libsql.connection import Connection, answers, committed
from stepflow.storage.libsql.errors import CONSTRAINT, translate
from stepflow.storage.libsql.hrana import Answer, Problem, Row, Statement
from stepflow.storage.libsql.streams import Stream

READ_TURN: Final = Statement("SELECT turn FROM stepflow_turn")
# A turn of NULL is refused by the column: so the whole batch is, if another turn was expected.
_MOVE = "UPDATE stepflow_turn SET turn = CASE turn WHEN ? THEN turn + 1 END"
_BEGIN = Statement("BEGIN", wants_rows=False)
_BEGIN_WRITING = Statement("BEGIN IMMEDIATE", wants_rows=False)
_COMMIT = Statement("COMMIT", wants_rows=False)


class Moved(StorageUnavailableError):
    """Somebody wrote in between: what was read is not true any more."""

    def __init__(self, where: str) -> None:
        super().__init__(f"libSQL database {where}: others wrote at the same time; the call may be repeated")


class Glance:
    """A transaction without a lock. Each round of questions is one request, and must find the turn of the first."""

    def __init__(self, connection: Connection, stream: Stream) -> None:
        self._connection = connection
        self._stream = stream
        self.turn: int | None = None

    async def ask(self, questions: Sequence[Statement]) -> list[Sequence[Row]]:
        """The rows that each question answers, all of one moment."""
        statements = [_BEGIN, READ_TURN, *questions, _COMMIT]
        _, turn, *found, _ = await self._connection.ask_at_once(statements)
        self._check(turn)
        return [answer.rows for answer in found]

    async def commit(self, writes: Sequence[Statement]) -> None:
        """Write it all, or raise ``Moved``."""
        if self.turn is None:
            await self.ask(())
        done = await self._stream.commit([Statement(_MOVE, (self.turn,), wants_rows=False), *writes])
        if isinstance(done, Problem):
            where = self._connection.where
            raise Moved(where) if _is_conflict(done) else translate(done, where)
        assert self.turn is not None
        self.turn += 1

    async def close(self) -> None:
        """Nothing is held."""

    def _check(self, answer: Answer) -> None:
        turn = turn_of(answer, self._connection.where)
        if self.turn is not None and turn != self.turn:
            raise Moved(self._connection.where)
        self.turn = turn


class Hold:
    """A transaction that stays open between its requests, as long as the server lets it: some seconds.

    ``writing`` takes the write lock with the first question, so that nobody can write in between.
    """

    def __init__(self, stream: Stream, *, writing: bool) -> None:
        self._stream = stream
        self._begin = _BEGIN_WRITING if writing else _BEGIN
        self._begun = False
        self.turn: int | None = None

    async def ask(self, questions: Sequence[Statement]) -> list[Sequence[Row]]:
        """The rows that each question answers, all of one moment."""
        first = [] if self._begun else [self._begin, READ_TURN]
        statements = [*first, *questions]
        requests = [hrana.execute(statement) for statement in statements]
        reply = await self._stream.post(requests, whole=not self._begun)
        self._begun = True
        found = answers(reply, len(statements), self._stream.where)
        if first:
            self.turn = turn_of(found[1], self._stream.where)
        return [answer.rows for answer in found[len(first) :]]

    async def commit(self, writes: Sequence[Statement]) -> None:
        """Write it all. Nobody else could write since the first question."""
        if self.turn is None:
            await self.ask(())
        statements = [Statement(_MOVE, (self.turn,), wants_rows=False), *writes]
        reply = await self._stream.post([hrana.rest_of_transaction(statements)], whole=False)
        done = committed(hrana.read_batch(reply.results[0]), before=1)
        if isinstance(done, Problem):
            raise translate(done, self._stream.where)
        self._begun = False
        assert self.turn is not None
        self.turn += 1

    async def close(self) -> None:
        """Let the lock go, if it is held still."""
        if self._begun:
            await self._stream.close()


def turn_of(answer: Answer, where: str) -> int:
    """The turn in the answer to ``READ_TURN``."""
    turn = answer.rows[0][0] if answer.rows else None
    if not isinstance(turn, int):
        raise StorageError(
            f"libSQL database {where}: the table stepflow_turn was emptied by hand; put a row into it"
        )
    return turn


def _is_conflict(problem: Problem) -> bool:
    return (problem.code or "").startswith(CONSTRAINT)
