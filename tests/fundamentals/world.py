"""World: everything outside of a run. Each of its answers follows from what was asked, and when.

A step's end is counted from the logical time at which it was asked, so a world that was left in the middle and entered
anew answers as the first one would have: only then can "the same result" be asked for.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from stepflow.model.journal import CancelRequested, ChildStarted, Claimed, Entry, EventSent
from stepflow.model.states import RunStatus
from tests.fundamentals.programs import Program

EPOCH = datetime(2030, 1, 1, tzinfo=UTC)
CREATED_POS = 10**12
SECOND = timedelta(seconds=1)
COMMIT = SECOND / 4
"""How long it takes to write something down: nothing that is asked for now is answered at this very instant."""


def draw(*parts: object) -> int:
    """A number that these parts always draw."""
    return zlib.crc32("|".join(map(str, parts)).encode())


def instant(seconds: float) -> datetime:
    return EPOCH + timedelta(seconds=seconds)


class Posted(NamedTuple):
    """An event in the log; the end of a child carries which child it was, and how it ended."""

    at: datetime
    pos: int
    child: tuple[ChildStarted, RunStatus] | None = None


class World:
    """What the program's seed makes of it."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.turns = sorted(program.turns, key=lambda turn: turn.at)

    def draw(self, *parts: object) -> int:
        return draw(self.program.seed, *parts)

    def latency(self, key: str, attempt: int) -> timedelta:
        """How long an attempt of a step takes."""
        return SECOND * (1 + self.draw(key, attempt) % 5)

    def is_deaf(self, key: str) -> bool:
        """Whether the body of this step goes on when it is cancelled."""
        return self.draw("deaf", key) % 3 == 0

    def timers_first(self, at: datetime) -> bool:
        """Whether timers come before steps at this instant."""
        return self.draw("timers first", at) % 2 == 0

    def turn(self, journal: Sequence[Entry]) -> tuple[int, str, datetime] | None:
        """The next thing that befalls the run: the how-manieth, what, and when."""
        taken = sum(isinstance(entry, (Claimed, CancelRequested)) for entry in journal) - 1
        if taken >= len(self.turns):
            return None
        turn = self.turns[taken]
        return taken, turn.kind, instant(turn.at)

    def log(self, event_id: str, journal: Sequence[Entry], gave_up: Mapping[str, datetime]) -> list[Posted]:
        """The events of this id, in order. ``gave_up``: when the workflow cancelled which child."""
        posted = [
            Posted(instant(event.at), _pos(instant(event.at), index))
            for index, event in enumerate(self.program.events)
            if event.event_id == event_id
        ]
        for index, entry in enumerate(journal):
            if isinstance(entry, EventSent) and entry.event_id == event_id:
                posted.append(Posted(entry.at, _pos(entry.at, 500 + index)))
            elif isinstance(entry, ChildStarted) and event_id == f"run/{entry.child_id}":
                at, status = self._child_end(entry, gave_up.get(entry.child_id))
                posted.append(Posted(at, _pos(at, 0), (entry, status)))
        return sorted(posted, key=lambda event: event.pos)

    def _child_end(self, entry: ChildStarted, gave_up: datetime | None) -> tuple[datetime, RunStatus]:
        number = self.draw(entry.child_id)
        at = entry.at + SECOND * (1 + number % 5)
        if gave_up is not None and gave_up + SECOND < at:
            return gave_up + SECOND, RunStatus.CANCELLED
        return at, RunStatus.FAILED if number % 7 == 0 else RunStatus.COMPLETED


def _pos(at: datetime, index: int) -> int:
    return CREATED_POS + (at - EPOCH) // timedelta(milliseconds=1) * 1_000 + index + 1
