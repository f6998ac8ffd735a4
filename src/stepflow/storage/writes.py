"""Writes and their outcomes: the closed unions that travel through ``Storage.write``."""

from __future__ import annotations

from datetime import datetime
from typing import TypeAlias

import msgspec

from stepflow.model.events import Event, NewEvent, Wait
from stepflow.model.failures import Failure
from stepflow.model.journal import Entry, JournalRow
from stepflow.model.payloads import Payload
from stepflow.model.runs import NewRun, RunRecord
from stepflow.model.states import PauseReason, RunStatus
from stepflow.model.transitions import Action as Action
from stepflow.types import EventId, RunId, WorkerId


class _Record(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    pass


# ------------------------------------------------------------------ transitions of a run by its owner
class Suspend(_Record, frozen=True, kw_only=True, gc=False):
    """The owner gives the run up until ``wake_at`` (None: until an event).

    If an event is there already that one of the run's registered waits may have, or a cancel or pause was
    requested, the run becomes queued instead, due at once.
    """

    wake_at: datetime | None = None


class Release(_Record, frozen=True, kw_only=True, gc=False):
    """The owner gives the run up; it is queued and due at once."""


class Complete(_Record, frozen=True, kw_only=True, gc=False):
    output: Payload


class Fail(_Record, frozen=True, kw_only=True, gc=False):
    failure: Failure


class Cancel(_Record, frozen=True, kw_only=True, gc=False):
    """The run ends as cancelled."""


class Pause(_Record, frozen=True, kw_only=True, gc=False):
    """The run stands still until resumed. Clears a requested pause; waits are kept, but don't wake."""

    reason: PauseReason
    detail: str = ""


class Continue(_Record, frozen=True, kw_only=True, gc=False):
    """``continue_as``: this row becomes the first of a fresh journal, all rows before it are deleted.

    The run's input is replaced and ``first_seq`` becomes this row's ``seq``; the run stays with its owner.
    """

    input: Payload


Transition: TypeAlias = Suspend | Release | Complete | Fail | Cancel | Pause | Continue


# ------------------------------------------------------------------ writes
class CommitRun(_Record, frozen=True, kw_only=True, gc=False):
    """One commit of a run's owner: all of it, or nothing.

    Inserts the journal row ``(run_id, seq)``; everything else happens only if that row went in. Without a
    ``transition``, ``creates``, ``sends``, ``waits``, ``unwaits`` and ``cancels`` it touches no other row. ``attempt`` is set
    when the run's attempt number changes with this commit.
    """

    run_id: RunId
    seq: int
    writer: WorkerId
    write_id: str
    entries: tuple[Entry, ...]
    transition: Transition | None = None
    creates: tuple[NewRun, ...] = ()
    sends: tuple[NewEvent, ...] = ()
    waits: tuple[Wait, ...] = ()
    unwaits: tuple[EventId, ...] = ()
    cancels: tuple[RunId, ...] = ()
    attempt: int | None = None


class CreateRun(_Record, frozen=True, kw_only=True, gc=False):
    """A new run, queued; or, with ``commit``, claimed at once by the commit's writer.

    ``commit`` is the run's first row (seq 1, its first entry is ``Claimed``) and is applied in the same breath, only if
    the run is new. The run's ``started_at`` is then that entry's ``at``.
    """

    run: NewRun
    commit: CommitRun | None = None


class SendEvent(_Record, frozen=True, kw_only=True, gc=False):
    """An event from outside a run."""

    event: NewEvent


class ControlRun(_Record, frozen=True, kw_only=True, gc=False):
    """An operation on a run, by the table of states (``model/transitions.py``)."""

    run_id: RunId
    action: Action


Write: TypeAlias = CreateRun | CommitRun | SendEvent | ControlRun


# ------------------------------------------------------------------ outcomes
class Created(_Record, frozen=True, kw_only=True, gc=False):
    """The run is durable. ``committed`` answers the commit that rode along, if one did."""

    run_id: RunId
    created_pos: int
    committed: Committed | None = None


class Existing(_Record, frozen=True, kw_only=True, gc=False):
    """The same id or idempotency key, workflow and input were there already."""

    run: RunRecord


class Conflict(_Record, frozen=True, kw_only=True, gc=False):
    """The id or idempotency key belongs to another workflow or input."""

    run: RunRecord
    reason: str


class Committed(_Record, frozen=True, kw_only=True, gc=False):
    """The commit is durable (now, or it was already: the same ``write_id`` is there).

    ``events_ready``: an event that one of the newly registered waits may have is there already. When the
    transition was ``Suspend``, the run is queued then; and when it was a requested ``Pause`` that was taken back
    meanwhile, this is true and the run is queued, too. ``woken`` are the runs that its sends and its end concern.
    """

    events_ready: bool = False
    woken: tuple[RunId, ...] = ()


class Fenced(_Record, frozen=True, kw_only=True, gc=False):
    """Another writer has this place in the journal, or the run ended: it is not the writer's any more."""


class Gone(_Record, frozen=True, kw_only=True, gc=False):
    """The run does not exist (deleted or pruned)."""


class Sent(_Record, frozen=True, kw_only=True, gc=False):
    """The event is durable at ``pos``. ``woken``: the runs that wait for it now."""

    pos: int
    woken: tuple[RunId, ...] = ()


class Duplicate(_Record, frozen=True, kw_only=True, gc=False):
    """The event was there already: the same ``dedup_id``, or ``once`` lost. ``event`` is the first."""

    event: Event
    once_lost: bool = False


class Undeliverable(_Record, frozen=True, kw_only=True, gc=False):
    """The event was addressed to one run, which does not exist (``status`` None) or has ended."""

    run_id: RunId
    status: RunStatus | None = None


class Controlled(_Record, frozen=True, kw_only=True, gc=False):
    """Done, or asked of the run's owner: ``status`` is the run's status now. Asking twice is the same as once."""

    run_id: RunId
    status: RunStatus
    woken: tuple[RunId, ...] = ()


class Refused(_Record, frozen=True, kw_only=True, gc=False):
    """The run's status does not allow the action."""

    run_id: RunId
    status: RunStatus
    reason: str = ""


Outcome: TypeAlias = (
    Created
    | Existing
    | Conflict
    | Committed
    | Fenced
    | Gone
    | Sent
    | Duplicate
    | Undeliverable
    | Controlled
    | Refused
)


# ------------------------------------------------------------------ claims and hints
class Claim(_Record, frozen=True, kw_only=True, gc=False):
    """A run that now belongs to the worker that asked.

    ``run`` is the record after the claim (``run.seq`` is the claim's own journal row). ``rows`` are the rows after the
    seq the worker said it knew (else from ``run.first_seq``), in order, the claim's own row last; if
    ``complete`` is false there are more between, to be read with ``read_journal``. ``events`` are the eligible events of the
    run's registered waits, by ``pos``, at most 100.
    """

    run: RunRecord
    rows: tuple[JournalRow, ...]
    complete: bool
    takeover: bool
    events: tuple[Event, ...] = ()


class Request(_Record, frozen=True, kw_only=True, gc=False):
    """A cancel or a pause that somebody asked of a running run, for its owner to turn into entries."""

    run_id: RunId
    cancel: bool
    pause: bool


class QueueReady(_Record, frozen=True, kw_only=True, gc=False):
    """Hint: a run of this queue may be claimable."""

    queue: str


class RunChanged(_Record, frozen=True, kw_only=True, gc=False):
    """Hint: the run changed by more than a journal row: it ended, was suspended or paused, has an event or a request."""

    run_id: RunId


class Anything(_Record, frozen=True, kw_only=True, gc=False):
    """Hint: somebody wrote something."""


class Broadcast(_Record, frozen=True, kw_only=True, gc=False):
    """No hint, but a text that somebody broadcast (see ``storage/broadcasting.py``)."""

    text: str


Wakeup: TypeAlias = QueueReady | RunChanged | Anything | Broadcast
