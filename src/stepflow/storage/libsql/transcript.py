"""Transcript: lets operations that were written for a connection work on a server that is a journey away.

An operation asks the transcript. What it knows it answers; what it does not, it notes, and ``Missing`` breaks the
operation off. The questions travel together, and the operation begins anew. What it writes is kept until the end, to
travel as one transaction; so an operation must not expect to read what it wrote.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NoReturn, TypeAlias

from stepflow.storage._sql.connection import Parameters
from stepflow.storage.libsql.hrana import Row, Statement

_Question: TypeAlias = tuple[str, Parameters]

_WRITES = ("INSERT", "UPDATE", "DELETE", "CREATE")


class Missing(BaseException):
    """An answer is not there yet. Never seen by callers of the storage, never swallowed by ``except Exception``."""


class Answers:
    """The rows of one answer, as a cursor has them."""

    __slots__ = ("_rows",)

    def __init__(self, rows: Sequence[Row]) -> None:
        self._rows = rows

    @property
    def rowcount(self) -> int:
        return -1

    def fetchone(self) -> Row | None:
        return self._rows[0] if self._rows else None

    def fetchall(self) -> list[Row]:
        return list(self._rows)

    def __iter__(self) -> Iterator[Row]:
        return iter(self._rows)


class Unknown:
    """What a write would answer: it has not been sent."""

    @property
    def rowcount(self) -> int:
        self._refuse()

    def fetchone(self) -> Row | None:
        self._refuse()

    def fetchall(self) -> list[Row]:
        self._refuse()

    def __iter__(self) -> Iterator[Row]:
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise RuntimeError("a write has no answer before it was sent")


class Transcript:
    """A ``Connection`` for operations. Answers stay true for as long as the transaction they belong to."""

    def __init__(self) -> None:
        self._answers: dict[_Question, Sequence[Row]] = {}
        self._asked: dict[_Question, Statement] = {}
        self.writes: list[Statement] = []

    def execute(self, sql: str, parameters: Parameters = (), /) -> Answers | Unknown:
        """Answer a query, or keep a write."""
        if sql.lstrip()[:6].upper() in _WRITES:
            self.writes.append(Statement(sql, parameters, wants_rows=False))
            return Unknown()
        known = self._known(sql, parameters)
        if known is None:
            raise Missing
        return Answers(known)

    def ahead(self, sql: str, parameters: Parameters = ()) -> None:
        """Note a query that will be asked later."""
        self._known(sql, parameters)

    def take_asked(self) -> list[Statement]:
        """What was asked and is not known; the operation has to begin anew, so what it wrote is forgotten."""
        asked = list(self._asked.values())
        assert asked, "what is missing was asked for"
        self.writes.clear()
        return asked

    def learn(self, answers: Sequence[Sequence[Row]]) -> None:
        """The answers to what was asked, in that order."""
        self._answers.update(zip(self._asked, answers, strict=True))
        self._asked.clear()

    def _known(self, sql: str, parameters: Parameters) -> Sequence[Row] | None:
        question = (sql, _hashable(parameters))
        known = self._answers.get(question)
        if known is None:
            self._asked[question] = Statement(sql, parameters)
        return known


def _hashable(parameters: Parameters) -> Parameters:
    if isinstance(parameters, Mapping):
        return tuple(value for _, value in sorted(parameters.items()))
    return tuple(parameters)
