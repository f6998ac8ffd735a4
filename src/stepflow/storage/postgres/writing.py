"""Writing: a batch in one transaction that locks, then looks, then decides, and writes what changed.

Locks are taken in one order by everybody: event streams by id, runs by id, then the journal by the inserts themselves. They are taken
in one statement and what they protect is read in a later one: under READ COMMITTED a statement sees what was committed when it
began, not when it got its lock.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import chain, count
from typing import Final

from stepflow.errors import StorageUnavailableError
from stepflow.failpoints import failpoint
from stepflow.storage._rules.applying import apply
from stepflow.storage._rules.records import Work
from stepflow.storage.postgres.flushing import flush
from stepflow.storage.postgres.link import Link, Rollback
from stepflow.storage.postgres.needs import Needs, load_more
from stepflow.storage.postgres.operations import events
from stepflow.storage.postgres.working_set import Loaded, NotLoaded, WorkingSet
from stepflow.storage.writes import Outcome, Write

_ATTEMPTS: Final = 20
"""So often the ground may be lost to others before the caller is told to come again."""

_FAR_AWAY: Final = 1 << 62
"""Where imagined numbers begin: after all real ones."""

Decision = tuple[list[Outcome], Work, WorkingSet]


async def write_in_transaction(
    link: Link, batch: Sequence[Write], encoded: Mapping[int, str], now: datetime
) -> tuple[list[Outcome], Work]:
    """Decide every write in order over locked runs, then write what changed."""
    needs = Needs(batch)
    for _ in range(_ATTEMPTS):
        done: tuple[list[Outcome], Work] | None = None
        async with link.transaction():
            loaded = await needs.load(link, await needs.lock(link))
            outcomes, work, records = await _decide(link, needs, loaded, batch, encoded, now)
            if not await flush(link, records):
                raise Rollback
            failpoint("checkpoint.before_commit")
            done = outcomes, work
        if done is not None:
            return done
    raise StorageUnavailableError(
        "PostgreSQL: others write the same runs all the time; the call may be repeated"
    )


async def _decide(
    link: Link,
    needs: Needs,
    loaded: Loaded,
    batch: Sequence[Write],
    encoded: Mapping[int, str],
    now: datetime,
) -> Decision:
    """Decide with imagined numbers; take as many of the sequence as that needed; decide again with those.

    So no number is taken that is not used, but for those that a rollback throws away.
    """
    taken: list[int] = []
    while True:
        imagined = count(taken[-1] + 1 if taken else _FAR_AWAY)
        try:
            decided = decide(WorkingSet(loaded, chain(taken, imagined), encoded), batch, now)
        except NotLoaded as missing:
            if missing.kind in ("run", "family"):
                # It has to be locked in its turn.
                (needs.runs if missing.kind == "run" else needs.families).add(str(missing.key))
                raise Rollback from None
            await load_more(link, loaded, missing.kind, {missing.key})
            continue
        used = decided[2].used_positions
        if used <= len(taken):
            return decided
        taken += await events.reserve(link, used - len(taken))


def decide(records: WorkingSet, batch: Sequence[Write], now: datetime) -> Decision:
    """Apply the rules to every write, in order."""
    work = Work(records, now)
    return [apply(work, write) for write in batch], work, records
