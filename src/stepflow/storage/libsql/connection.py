"""Connections to a libSQL server: requests go out over HTTP, answers come back or an error of ours does."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus

import msgspec

from stepflow.errors import StorageError, StorageUnavailableError
from stepflow.storage.libsql import hrana
from stepflow.storage.libsql.errors import TOO_LARGE, refused, translate, unreachable, unreadable
from stepflow.storage.libsql.hrana import CLOSE, Answer, BatchAnswer, Json, Problem, Reply, Statement
from stepflow.storage.libsql.options import LibsqlOptions
from stepflow.storage.libsql.wire import Response, Wire, open_wire


class StreamGone(StorageUnavailableError):
    """The server does not know the stream any more: it was restarted, or the stream stood idle for too long."""

    def __init__(self, where: str) -> None:
        super().__init__(f"libSQL server {where} has ended the stream; the call may be repeated")


class Connection:
    """Posts pipelines over a few connections that are kept open. Belongs to one event loop."""

    def __init__(self, options: LibsqlOptions) -> None:
        self._options = options
        self._opening = True
        self._wires: dict[str, Wire] = {}

    @property
    def where(self) -> str:
        """The server, as errors name it."""
        return self._options.place

    def opened(self) -> None:
        """The server was seen to be there and to let us in: from now on refusals are its trouble, not ours."""
        self._opening = False

    async def close(self) -> None:
        while self._wires:
            _, wire = self._wires.popitem()
            await wire.close()

    async def post(
        self,
        requests: Sequence[Json],
        *,
        baton: str | None = None,
        base_url: str | None = None,
        again: bool = True,
    ) -> Reply:
        """Have the requests carried out in order, on a stream of their own or on that of the baton.

        ``StorageUnavailableError`` means that it is unknown which of them were; only ``StreamGone``, that none was.
        """
        wire = self._wire(base_url or self._options.address)
        try:
            response = await wire.post(hrana.PATH, hrana.body(requests, baton), again=again)
        except TimeoutError as error:
            late = TimeoutError(f"no answer within {self._options.timeout:g} s")
            raise unreachable(self.where, late) from error
        except OSError as error:
            raise unreachable(self.where, error) from error
        if baton is not None and response.status == HTTPStatus.BAD_REQUEST:
            raise StreamGone(self.where)
        return read(response, len(requests), self.where, opening=self._opening)

    def _wire(self, address: str) -> Wire:
        """The way to the server, or to that one of several on which a stream was begun."""
        wire = self._wires.get(address)
        if wire is None:
            options = self._options
            wire = self._wires[address] = open_wire(
                address.rstrip("/"),
                token=options.token,
                connections=options.connections,
                timeout=options.timeout,
            )
        return wire

    async def ask(self, statements: Sequence[Statement]) -> list[Answer]:
        """The answers to statements that need no transaction around them."""
        requests = [hrana.execute(statement) for statement in statements]
        reply = await self.post([*requests, CLOSE])
        return answers(reply, len(statements), self.where)

    async def ask_at_once(self, statements: Sequence[Statement]) -> list[Answer]:
        """The same, for statements that belong together. Answers that are too large as one come as several."""
        reply = await self.post([hrana.batch(statements), CLOSE])
        done = hrana.read_batch(reply.results[0])
        if isinstance(done, Problem):
            if (done.code or "").startswith(TOO_LARGE):
                return await self.ask(statements)
            raise translate(done, self.where)
        return whole(done, self.where)

    async def commit(self, statements: Sequence[Statement]) -> list[Answer] | Problem:
        """Do them all in one transaction of one request, or nothing."""
        reply = await self.post([hrana.transaction(statements), CLOSE])
        return committed(hrana.read_batch(reply.results[0]), before=1)


def read(response: Response, requests: int, where: str, *, opening: bool) -> Reply:
    """The reply in a response; an error of ours if it holds none."""
    if response.status != HTTPStatus.OK:
        raise refused(where, response.status, response.body.decode(errors="replace"), opening=opening)
    try:
        reply = hrana.read_reply(response.body)
    except msgspec.DecodeError as error:
        raise _not_hrana(where, opening=opening) from error
    if len(reply.results) != requests:
        raise _not_hrana(where, opening=opening)
    return reply


def answers(reply: Reply, count: int, where: str) -> list[Answer]:
    """What the first ``count`` requests of a pipeline answered; the first problem is raised."""
    found: list[Answer] = []
    for result in reply.results[:count]:
        answer = hrana.read_execute(result)
        if isinstance(answer, Problem):
            raise translate(answer, where)
        found.append(answer)
    return found


def whole(batch: BatchAnswer, where: str) -> list[Answer]:
    """What every step of a batch answered; the first problem is raised."""
    for problem in batch.problems:
        if problem is not None:
            raise translate(problem, where)
    return [answer for answer in batch.answers if answer is not None]


def committed(batch: BatchAnswer | Problem, *, before: int) -> list[Answer] | Problem:
    """What a transaction's steps answered, without the ``before`` first ones; or why nothing of it was kept."""
    if isinstance(batch, Problem):
        return batch
    *steps, commit, _ = batch.answers
    if commit is not None:
        return [step for step in steps[before:] if step is not None]
    return next(
        (problem for problem in batch.problems if problem is not None), Problem("it was not committed")
    )


def _not_hrana(where: str, *, opening: bool) -> StorageError:
    error = unreadable(where)
    return StorageError(str(error)) if opening else error
