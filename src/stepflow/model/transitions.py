"""The states of a run as one table: what each operation from outside does to a run in each status.

The store looks the answer up and performs it in the transaction that looked. What a run's *owner* does to it
is ``OWNER_MOVES``; it needs no decision, so it is here for the diagram in the docs only.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final, TypeAlias

import msgspec

from stepflow.model.states import PauseReason, RunStatus


class Action(StrEnum):
    """What may be asked of a run from outside."""

    CANCEL = "cancel"
    FORCE_CANCEL = "force-cancel"
    PAUSE = "pause"
    RESUME = "resume"
    RETRY = "retry"
    DELETE = "delete"


class Already(msgspec.Struct, frozen=True):
    """The run is as the action wants it; nothing is written."""


class AskCancel(msgspec.Struct, frozen=True):
    """The request is noted for the run's owner, who turns it into a ``CancelRequested`` entry."""


class AskPause(msgspec.Struct, frozen=True):
    """The request is noted for the run's owner, who pauses when its steps in flight are recorded."""


class TakeBackPause(msgspec.Struct, frozen=True):
    """A pause that was asked for, but not performed yet, is not wanted any more."""


class QueueForCancel(msgspec.Struct, frozen=True):
    """The run is queued, due at once, with the cancel noted: its next owner lets it clean up.

    ``resumed``: it was paused, so the journal gets a ``Resumed`` entry.
    """

    resumed: bool = False


class EndCancelled(msgspec.Struct, frozen=True):
    """The run ends as cancelled in the store, with an ``Ended`` entry; its code does not run again."""


class StandStill(msgspec.Struct, frozen=True):
    """The run is paused, with a ``Paused`` entry."""


class GoOn(msgspec.Struct, frozen=True):
    """The paused run is queued, with a ``Resumed`` entry."""


class TryAgain(msgspec.Struct, frozen=True):
    """The run is queued for its next attempt, with an ``AttemptStarted`` entry."""


class Erase(msgspec.Struct, frozen=True):
    """The run goes, with all that is its own. One that had not ended ends as cancelled first."""


class Refuse(msgspec.Struct, frozen=True):
    """The status does not allow the action; ``reason`` says what would."""

    reason: str


Decision: TypeAlias = (
    Already
    | AskCancel
    | AskPause
    | TakeBackPause
    | QueueForCancel
    | EndCancelled
    | StandStill
    | GoOn
    | TryAgain
    | Erase
    | Refuse
)

_S = RunStatus
_A = Action
_ENDED = Refuse("it has ended; retry a failed or cancelled run to run it again")
_ONLY_ENDED_RETRY = Refuse("only a failed or cancelled run can be retried")
_ONLY_STILL_DELETE = Refuse("cancel or pause it first")

TABLE: Final[Mapping[tuple[RunStatus, Action], Decision]] = {
    (_S.QUEUED, _A.CANCEL): QueueForCancel(),
    (_S.QUEUED, _A.FORCE_CANCEL): EndCancelled(),
    (_S.QUEUED, _A.PAUSE): StandStill(),
    (_S.QUEUED, _A.RESUME): TakeBackPause(),
    (_S.QUEUED, _A.RETRY): _ONLY_ENDED_RETRY,
    (_S.QUEUED, _A.DELETE): _ONLY_STILL_DELETE,
    (_S.RUNNING, _A.CANCEL): AskCancel(),
    (_S.RUNNING, _A.FORCE_CANCEL): EndCancelled(),
    (_S.RUNNING, _A.PAUSE): AskPause(),
    (_S.RUNNING, _A.RESUME): TakeBackPause(),
    (_S.RUNNING, _A.RETRY): _ONLY_ENDED_RETRY,
    (_S.RUNNING, _A.DELETE): _ONLY_STILL_DELETE,
    (_S.SUSPENDED, _A.CANCEL): QueueForCancel(),
    (_S.SUSPENDED, _A.FORCE_CANCEL): EndCancelled(),
    (_S.SUSPENDED, _A.PAUSE): StandStill(),
    (_S.SUSPENDED, _A.RESUME): Already(),
    (_S.SUSPENDED, _A.RETRY): _ONLY_ENDED_RETRY,
    (_S.SUSPENDED, _A.DELETE): _ONLY_STILL_DELETE,
    (_S.PAUSED, _A.CANCEL): QueueForCancel(resumed=True),
    (_S.PAUSED, _A.FORCE_CANCEL): EndCancelled(),
    (_S.PAUSED, _A.PAUSE): Already(),
    (_S.PAUSED, _A.RESUME): GoOn(),
    (_S.PAUSED, _A.RETRY): Refuse("resume it instead"),
    (_S.PAUSED, _A.DELETE): Erase(),
    (_S.COMPLETED, _A.CANCEL): Refuse("it has completed"),
    (_S.COMPLETED, _A.FORCE_CANCEL): Refuse("it has completed"),
    (_S.COMPLETED, _A.PAUSE): Refuse("it has completed"),
    (_S.COMPLETED, _A.RESUME): Refuse("it has completed"),
    (_S.COMPLETED, _A.RETRY): Refuse("it has completed; trigger a new run"),
    (_S.COMPLETED, _A.DELETE): Erase(),
    (_S.FAILED, _A.CANCEL): _ENDED,
    (_S.FAILED, _A.FORCE_CANCEL): _ENDED,
    (_S.FAILED, _A.PAUSE): _ENDED,
    (_S.FAILED, _A.RESUME): _ENDED,
    (_S.FAILED, _A.RETRY): TryAgain(),
    (_S.FAILED, _A.DELETE): Erase(),
    (_S.CANCELLED, _A.CANCEL): Already(),
    (_S.CANCELLED, _A.FORCE_CANCEL): Already(),
    (_S.CANCELLED, _A.PAUSE): _ENDED,
    (_S.CANCELLED, _A.RESUME): _ENDED,
    (_S.CANCELLED, _A.RETRY): TryAgain(),
    (_S.CANCELLED, _A.DELETE): Erase(),
}
"""Every status times every action, before the run's history has its say (see ``decide``)."""

OWNER_MOVES: Final[tuple[tuple[RunStatus, str, RunStatus], ...]] = (
    (_S.QUEUED, "claim", _S.RUNNING),
    (_S.SUSPENDED, "claim when due", _S.RUNNING),
    (_S.SUSPENDED, "event", _S.QUEUED),
    (_S.RUNNING, "claim after the owner was lost", _S.RUNNING),
    (_S.RUNNING, "release", _S.QUEUED),
    (_S.RUNNING, "suspend", _S.SUSPENDED),
    (_S.RUNNING, "pause", _S.PAUSED),
    (_S.RUNNING, "complete", _S.COMPLETED),
    (_S.RUNNING, "fail", _S.FAILED),
    (_S.RUNNING, "cancel", _S.CANCELLED),
)
"""What happens to a run by its owners: from, on, to."""


def decide(
    status: RunStatus,
    action: Action,
    *,
    started: bool,
    pause_reason: PauseReason | None = None,
) -> Decision:
    """The table's answer, mended by two facts that a status does not show.

    A run that never started has nothing to clean up, and one that is paused because its code can't go on could
    not: a cancel ends both at once. A started run gets the chance to run its ``finally`` blocks.
    """
    decision = TABLE[status, action]
    if isinstance(decision, QueueForCancel):
        can_go_on = pause_reason in (None, PauseReason.REQUESTED, PauseReason.STUCK)
        if not (started and can_go_on):
            return EndCancelled()
    return decision
