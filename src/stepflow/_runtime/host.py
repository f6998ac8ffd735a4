"""Host: what a driver needs of the worker that it belongs to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

from stepflow._runtime.audience import Audience
from stepflow._runtime.bodies import Bodies
from stepflow._runtime.committer import Committer
from stepflow._runtime.timers import ProcessTimers
from stepflow.clock import Clock
from stepflow.codecs.json import Values
from stepflow.hooks import Hooks
from stepflow.model.events import Wait
from stepflow.model.failures import Failure
from stepflow.model.journal import Continued
from stepflow.storage.base import Storage
from stepflow.storage.writes import Outcome, Transition
from stepflow.types import RunId, WorkerId

D_contra = TypeVar("D_contra", contravariant=True)


class Host(Protocol[D_contra]):
    """The worker, as its drivers (``D_contra``) see it."""

    @property
    def clock(self) -> Clock: ...
    @property
    def values(self) -> Values: ...
    @property
    def committer(self) -> Committer: ...
    @property
    def storage(self) -> Storage: ...
    @property
    def timers(self) -> ProcessTimers: ...
    @property
    def bodies(self) -> Bodies: ...
    @property
    def hooks(self) -> Hooks: ...
    @property
    def audience(self) -> Audience: ...
    @property
    def worker_id(self) -> WorkerId: ...

    def record_failure(self, error: BaseException) -> Failure:
        """The exception as data."""
        ...

    def child_queue(self, workflow_id: str) -> tuple[str, str | None]:
        """The queue and version for a child of this workflow."""
        ...

    def random(self) -> float: ...

    def fetch_events(self, driver: D_contra, waits: Sequence[Wait]) -> None:
        """Read the events for these waits and hand them to ``driver.events_arrived``."""
        ...

    def lost(self, run_id: RunId) -> None:
        """The run's driver can't go on, and nothing was refused."""
        ...

    def created(self, driver: D_contra, outcome: Outcome) -> None:
        """The run that the driver was creating is durable."""
        ...

    def progressed(self, driver: D_contra) -> None:
        """A commit of the run is durable: its followers may look."""
        ...

    def left(self, driver: D_contra, how: Transition, *, again: bool) -> None:
        """The driver gave its run up; ``again``: it is claimable at once."""
        ...

    def refused(self, driver: D_contra, outcome: Outcome) -> None:
        """The storage did not take the driver's write: the run is another's, gone, or was there before."""
        ...

    def failed(self, driver: D_contra, error: Exception) -> None:
        """The storage can't take the driver's write at all."""
        ...

    def continue_as(self, driver: D_contra, entry: Continued) -> None:
        """The run goes on in a fresh journal, with a driver of its own."""
        ...
