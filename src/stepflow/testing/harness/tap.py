"""Tap: the storage of one process, as the process sees it. A test may look at what is written, and let the process die there."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import NoReturn

from stepflow.model.journal import Entry
from stepflow.storage import writes
from stepflow.storage.base import Storage
from stepflow.storage.writes import Claim, CommitRun, CreateRun, Outcome, Write
from stepflow.testing.faults import FaultyStorage
from stepflow.types import RunId, WorkerId


class Tap(FaultyStorage):
    """Passes everything on until the process is dead. From then on nothing gets through, and nothing is answered."""

    def __init__(
        self,
        storage: Storage,
        *,
        before: Callable[[Sequence[Write]], Awaitable[None]],
        after: Callable[[Sequence[Write]], Awaitable[None]],
        claimed: Callable[[Sequence[Claim]], Awaitable[None]],
    ) -> None:
        super().__init__(storage)
        self._claimed = claimed
        self._before = before
        self._after = after
        self.dead = False

    def die(self) -> None:
        """The process is gone: what it still asks for is never done."""
        self.dead = True
        self.freeze()

    async def write(self, batch: Sequence[Write], *, now: datetime) -> Sequence[Outcome]:
        await self._before(batch)
        outcomes = await super().write(batch, now=now)
        await self._after(batch)
        return outcomes

    async def claim_runs(
        self,
        worker: WorkerId,
        *,
        queues: Mapping[str, int],
        known: Mapping[RunId, int],
        limit: int,
        now: datetime,
        workflows: Collection[str] | None = None,
    ) -> Sequence[Claim]:
        claims = await super().claim_runs(
            worker, queues=queues, known=known, limit=limit, now=now, workflows=workflows
        )
        await self._claimed(claims)
        return claims

    async def release_worker(self, worker: WorkerId, *, now: datetime) -> Sequence[RunId]:
        """A dead process signs off nowhere."""
        return [] if self.dead else await super().release_worker(worker, now=now)


async def never() -> NoReturn:
    """Wait until cancelled: there is nobody left to go on."""
    await asyncio.get_running_loop().create_future()
    raise AssertionError("a dead process goes on")


def runs_of(batch: Sequence[Write]) -> list[tuple[RunId, str]]:
    """The commits in a batch: whose they are, and in a word or two what they write."""
    found: list[tuple[RunId, str]] = []
    for write in batch:
        commit = write.commit if isinstance(write, CreateRun) else write
        if isinstance(commit, CommitRun):
            found.append((commit.run_id, _said(commit)))
    return found


def _said(commit: CommitRun) -> str:
    parts = [_entry(entry) for entry in commit.entries]
    if commit.transition is not None and not isinstance(commit.transition, writes.Continue):
        parts.append(type(commit.transition).__name__.lower())
    return ", ".join(dict.fromkeys(parts)) or "nothing"


def _entry(entry: Entry) -> str:
    key = getattr(entry, "key", None)
    kind = type(entry).__name__
    return f"{kind} {key}" if key else kind
