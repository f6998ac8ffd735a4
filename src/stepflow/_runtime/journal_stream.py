"""The journal of a run as it grows: every entry once, in order, whoever executes the run."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

from stepflow._runtime.following import Follower
from stepflow.errors import InputError
from stepflow.model.runs import RunRecord
from stepflow.model.steps import RunEvent
from stepflow.storage.base import Storage
from stepflow.types import RunId

_PAGE = 1_000
Cursor = tuple[int, int]
"""The seq of a row and the place of an entry in it."""


def parse_cursor(after: str | None) -> Cursor:
    """The cursor that the id of an event stands for; ``InputError`` if it is no such id."""
    if after is None:
        return 0, -1
    seq, _, index = after.partition(".")
    if not (seq.isascii() and seq.isdigit() and index.isascii() and index.isdigit()):
        raise InputError(f"cursor {after!r:.100} is malformed; give the id of an event, like '3.0'")
    return int(seq), int(index)


async def stream_journal(
    storage: Storage,
    follower: Follower,
    run_id: RunId,
    cursor: Cursor,
    *,
    record: Callable[[RunId], Awaitable[RunRecord]],
) -> AsyncIterator[RunEvent]:
    """The entries after the cursor, without gap, until the run has ended."""
    seq, index = cursor
    changed = follower.watch(run_id)
    try:
        while True:
            changed.clear()
            run = await record(run_id)
            while rows := await storage.read_journal(run_id, after=max(seq - 1, 0), limit=_PAGE):
                fresh = False
                for row in rows:
                    for place, entry in enumerate(row.entries):
                        if (row.seq, place) > (seq, index):
                            fresh = True
                            seq, index = row.seq, place
                            yield RunEvent(id=f"{row.seq}.{place}", run_id=run_id, entry=entry)
                if not fresh:
                    break
            if run.status.ended:
                return
            follower.check_open()
            await changed.wait()
    finally:
        follower.unwatch(run_id, changed)
