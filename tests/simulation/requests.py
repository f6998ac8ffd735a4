"""Requests: what was asked of each run and acknowledged. Its owner has to heed it, and nothing else may come of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stepflow.model.states import PauseReason, RunStatus
from stepflow.storage.writes import Action
from tests.simulation.virtual import MICROSECONDS

if TYPE_CHECKING:
    from stepflow.model.runs import RunRecord
    from stepflow.storage.writes import Claim
    from tests.simulation.world import World

HEARD_WITHIN = int(3.5 * MICROSECONDS)
"""A poll and its way there and back, with the slowest line; hints are quicker. An owner in trouble has as long after it."""


@dataclass(slots=True)
class _Cancel:
    """A cancel that is noted for the owner of a running run."""

    owner: str
    since: int


class Requests:
    """Complaints are about runs whose every operation was seen; after a failover nobody knows what was asked."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._pauses: set[str] = set()
        self._erased: set[str] = set()
        self._cancels: dict[str, _Cancel] = {}
        self._untold: dict[str, int] = {}
        """Runs whose owner was not told that it has them, with the row of the claim: it finds out in its own time."""
        self._blind = False

    def forget(self) -> None:
        """The store fell back to an older state: some of this was never asked."""
        self._blind = True

    def done(self, run_id: str, action: Action) -> None:
        """An operation was acknowledged, whatever else its batch did."""
        if action is Action.PAUSE:
            self._pauses.add(run_id)
        elif action is Action.RESUME:
            self._pauses.discard(run_id)
        elif action is Action.DELETE:
            self._pauses.discard(run_id)
            self._erased.add(run_id)

    def claimed_untold(self, claims: Iterable[Claim]) -> None:
        """These runs were claimed, and the answer was lost."""
        self._untold.update((claim.run.id, claim.run.seq) for claim in claims)

    def gone(self, run_id: str) -> str | None:
        """The run is not there, or is another one of its id: what is wrong with that."""
        self._cancels.pop(run_id, None)
        if run_id in self._erased:
            self._erased.discard(run_id)
            return None
        return None if self._blind else "it is not there any more, and nobody deleted it"

    def look(self, record: RunRecord) -> str | None:
        """What is wrong with how the run stands, after all that was asked of it."""
        if record.status.ended:
            self._pauses.discard(record.id)
        if self._blind:
            return None
        if record.pause_reason is PauseReason.REQUESTED and record.id not in self._pauses:
            return "it is paused, and the pause was taken back"
        return self._unheard(record)

    def _unheard(self, record: RunRecord) -> str | None:
        """Whether the owner of a run has gone on for too long without reading that it is to cancel it."""
        now, noted = self._world.now, self._cancels.pop(record.id, None)
        if (claimed := self._untold.get(record.id)) is not None:
            if record.seq == claimed:
                return None  # nobody drives it
            noted = None
            del self._untold[record.id]
        waits = record.status is RunStatus.RUNNING and record.cancel_requested and record.worker is not None
        if waits and (noted is None or noted.owner != record.worker):
            self._cancels[record.id] = _Cancel(str(record.worker), now)
        elif noted is not None and now > noted.since + HEARD_WITHIN and self._is_well(noted):
            return f"its cancel was not heard by {noted.owner} for {(now - noted.since) / MICROSECONDS:.1f} s"
        elif waits and noted is not None:
            self._cancels[record.id] = noted
        return None

    def _is_well(self, cancel: _Cancel) -> bool:
        """Whether its owner could have heard it at once: it lives, and had no trouble since shortly before."""
        for process in self._world.processes:
            if process.worker_id == cancel.owner:
                return process.usable and process.troubled_at + HEARD_WITHIN < cancel.since
        return False
