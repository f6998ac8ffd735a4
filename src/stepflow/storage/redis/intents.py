"""Intents: what a run's change still has to do in other partitions, kept with the run until it is done.

A change that reaches beyond its run's slot is made in two moves. The first is atomic, in the run's slot: it
decides (the journal row is in, or it is not) and leaves the intent. Then the intent is performed, each part of
it safe to repeat, and a last move in the run's slot removes it. Whoever meets a run with an intent that is in its
way performs it first, and a sweeper performs those whose maker did not come back. So nothing is lost, and
nothing is done by halves.
"""

from __future__ import annotations

from typing import Any, Final, Literal, TypeAlias

import msgspec

from stepflow.model.events import NewEvent, Wait
from stepflow.model.runs import NewRun
from stepflow.storage.writes import (
    Cancel,
    CommitRun,
    Complete,
    Continue,
    Fail,
    Pause,
    Release,
    Suspend,
    Transition,
)
from stepflow.types import EventId, RunId

_MOVES: Final[dict[str, Any]] = {
    move.__name__: move for move in (Suspend, Release, Complete, Fail, Cancel, Pause, Continue)
}


class CommitIntent(msgspec.Struct, frozen=True, kw_only=True, tag="commit", omit_defaults=True):
    """The rest of a commit whose row is in: what it creates, sends, waits for and cancels, then its transition.

    ``born`` is the run's ``created_pos``: with it, ``seq`` means one commit, also if the run's id is used again one day.
    """

    born: int
    seq: int
    creates: tuple[NewRun, ...] = ()
    sends: tuple[NewEvent, ...] = ()
    waits: tuple[Wait, ...] = ()
    unwaits: tuple[EventId, ...] = ()
    cancels: tuple[RunId, ...] = ()
    move: str | None = None
    moved: msgspec.Raw = msgspec.Raw(b"null")

    @property
    def transition(self) -> Transition | None:
        if self.move is None:
            return None
        transition: Transition = msgspec.json.decode(self.moved, type=_MOVES[self.move])
        return transition


class EndIntent(msgspec.Struct, frozen=True, kw_only=True, tag="end", omit_defaults=True):
    """The rest of an end: nobody need wake the run, its parent is told, its children are cancelled; then it may go."""

    seq: int
    unwaits: tuple[EventId, ...] = ()
    erase: bool = False


class RemoveIntent(msgspec.Struct, frozen=True, kw_only=True, tag="remove", omit_defaults=True):
    """The run is to go, with its idempotency key and the events addressed to it."""


class WakeIntent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Runs are to be woken by an event; kept in the partition of the event's id."""

    event_id: EventId
    pos: int
    run_id: RunId | None = None


Intent: TypeAlias = CommitIntent | EndIntent | RemoveIntent
Kind: TypeAlias = Literal["commit", "end", "remove"]

_ENCODER: Final = msgspec.json.Encoder()
_DECODER: Final = msgspec.json.Decoder(Intent)
_WAKE: Final = msgspec.json.Decoder(WakeIntent)


def intent_of(write: CommitRun, born: int) -> CommitIntent:
    """What is left of a commit once its row is in."""
    move = write.transition
    return CommitIntent(
        born=born,
        seq=write.seq,
        creates=write.creates,
        sends=write.sends,
        waits=write.waits,
        unwaits=write.unwaits,
        cancels=write.cancels,
        move=None if move is None else type(move).__name__,
        moved=msgspec.Raw(b"null" if move is None else _ENCODER.encode(move)),
    )


def write_intent(intent: Intent | WakeIntent) -> str:
    return _ENCODER.encode(intent).decode()


def read_intent(text: str) -> Intent:
    intent: Intent = _DECODER.decode(text)
    return intent


def read_wake(text: bytes | str) -> WakeIntent:
    return _WAKE.decode(text)
