"""Cargo: what the next write of a run carries, and what may be performed once it is durable."""

from __future__ import annotations

from stepflow._engine.commands import RunStep
from stepflow._engine.execution import Advance, LogLine
from stepflow.model.journal import Entry
from stepflow.types import RunId


class Cargo:
    """Collects until it is taken. ``riders`` are entries that ask for no write of their own.

    What is held back until the write is durable: steps to start (``starts``) and to stop (``stops``), lines to log (``logs``).
    """

    __slots__ = ("attempt", "cancels", "entries", "logs", "riders", "starts", "stops")

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.starts: list[RunStep] = []
        self.riders: tuple[Entry, ...] = ()
        self.stops: tuple[RunStep, ...] = ()
        self.logs: tuple[LogLine, ...] = ()
        self.cancels: tuple[RunId, ...] = ()
        self.attempt: int | None = None

    def load(self, report: Advance) -> None:
        """Take over what an advance stopped, logged and cancelled, which most do not."""
        self.cancels += tuple(report.cancels)
        self.logs += tuple(report.logs)
        self.stops += tuple(command for command in report.withdrawn if isinstance(command, RunStep))

    @property
    def urgent(self) -> bool:
        """Whether it must be written now."""
        return bool(self.entries or self.cancels)

    @property
    def has_orders(self) -> bool:
        """Whether the write has more to do for it than to record entries."""
        return self.attempt is not None or bool(self.cancels)

    def take_held(self) -> Cargo:
        """What was held back, without the rest, which stays; from now on it is the taker's."""
        held = Cargo()
        held.starts, held.stops, held.logs = self.starts, self.stops, self.logs
        self.starts, self.stops, self.logs = [], (), ()
        return held
