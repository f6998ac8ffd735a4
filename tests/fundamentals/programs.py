"""Programs: workflows as data. A tree of small nodes, each one a way in which people use asyncio."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias


# ------------------------------------------------------------------ what touches the world
@dataclass(frozen=True, slots=True)
class Step:
    """``fate``: "ok", "flaky" (one attempt fails first) or "broken". ``once``: at most once."""

    name: str
    fate: str = "ok"
    once: bool = False


@dataclass(frozen=True, slots=True)
class Sleep:
    """A durable sleep."""

    name: str
    seconds: float


@dataclass(frozen=True, slots=True)
class PlainSleep:
    """``asyncio.sleep``."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Receive:
    """Wait for an event; without ``seconds``, for ever."""

    event_id: str
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Send:
    """Send an event."""

    event_id: str


@dataclass(frozen=True, slots=True)
class Invoke:
    """Start a child run and wait for its end."""

    workflow_id: str


@dataclass(frozen=True, slots=True)
class Handle:
    """Start a child run, wait for it a while, then (cancel it and) wait for it twice at once."""

    workflow_id: str
    patience: float
    impatient: bool = False


@dataclass(frozen=True, slots=True)
class Map:
    """``step.map`` with so many members in flight, one for each fate."""

    name: str
    fates: tuple[str, ...]
    concurrency: int
    collect_errors: bool = False


@dataclass(frozen=True, slots=True)
class Look:
    """Ask for the time and for random numbers."""


@dataclass(frozen=True, slots=True)
class Break:
    """Raise an error."""


# ------------------------------------------------------------------ what puts other nodes together
@dataclass(frozen=True, slots=True)
class Sequence:
    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Loop:
    """The same part, and so the same names, several times."""

    times: int
    body: Node


@dataclass(frozen=True, slots=True)
class Gather:
    parts: tuple[Node, ...]
    collect_errors: bool = False


@dataclass(frozen=True, slots=True)
class Backwards:
    """Call all parts first, then await them from the last to the first."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Group:
    """A ``TaskGroup``; ``names`` (repeated when there are fewer) name its tasks."""

    parts: tuple[Node, ...]
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Race:
    """``asyncio.wait``; ``rest`` says what becomes of the tasks that did not end: cancel, join or leave."""

    parts: tuple[Node, ...]
    until: str = "FIRST_COMPLETED"
    seconds: float | None = None
    rest: str = "cancel"


@dataclass(frozen=True, slots=True)
class Futures:
    """``asyncio.wait`` over plain futures, which tasks resolve."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class AsCompleted:
    parts: tuple[Node, ...]
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class WaitFor:
    part: Node
    seconds: float


@dataclass(frozen=True, slots=True)
class Timeout:
    """``asyncio.timeout``; ``then``: rescheduled to so many seconds after the first half of the body."""

    seconds: float
    body: Node
    rest: Node
    then: float | None = None


@dataclass(frozen=True, slots=True)
class Shield:
    """``wait_for(shield(task))``, and the task is awaited after all when the time is up."""

    part: Node
    seconds: float


@dataclass(frozen=True, slots=True)
class Pipe:
    """Producers put what their parts return into a ``Queue``; consumers run a step for each item."""

    producers: tuple[Node, ...]
    consumers: int
    size: int


@dataclass(frozen=True, slots=True)
class Guard:
    """Tasks that meet at a lock, semaphore, condition, event or barrier."""

    kind: str
    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Finally:
    body: Node
    cleanup: Node


@dataclass(frozen=True, slots=True)
class Catch:
    """``kind``: Exception, CancelledError (swallowed), or BaseException (raised again after the handler)."""

    kind: str
    body: Node
    handler: Node


@dataclass(frozen=True, slots=True)
class Spawn:
    """A task beside ``meanwhile``; ``later`` it is awaited, cancelled or left to the end of main."""

    part: Node
    meanwhile: Node
    later: str = "cancel"
    name: str | None = None


@dataclass(frozen=True, slots=True)
class Stream:
    """An async generator over parts, read to its end, left after one item, or closed after one item."""

    parts: tuple[Node, ...]
    cleanup: Node
    leave: str = "all"


@dataclass(frozen=True, slots=True)
class Resource:
    """``async with``, with awaits on the way in and out."""

    enter: Node
    body: Node
    leave: Node


@dataclass(frozen=True, slots=True)
class Callback:
    """A task that ``call_later`` starts, outside of any task."""

    seconds: float
    part: Node


Node: TypeAlias = (
    Step | Sleep | PlainSleep | Receive | Send | Invoke | Handle | Map | Look | Break
    | Sequence | Loop | Gather | Backwards | Group | Race | Futures | AsCompleted | WaitFor | Timeout | Shield
    | Pipe | Guard | Finally | Catch | Spawn | Stream | Resource | Callback
)  # fmt: skip


# ------------------------------------------------------------------ what happens to a program from outside
@dataclass(frozen=True, slots=True)
class Sent:
    """Somebody sends an event, so many seconds after the run's creation (before it, if negative)."""

    at: float
    event_id: str


@dataclass(frozen=True, slots=True)
class Turn:
    """Something befalls the run: "cancel", "suspend" (and a new claim), "takeover" (its worker died)."""

    at: float
    kind: str


@dataclass(frozen=True, slots=True)
class Program:
    """A workflow and the world it meets. ``seed`` decides latencies; ``timeout`` is the run's own.

    ``batched``: what happens at one instant is delivered at once, as far as the order allows.
    """

    main: Node
    seed: int = 0
    run_id: str = "run-0"
    events: tuple[Sent, ...] = ()
    turns: tuple[Turn, ...] = ()
    timeout: float | None = None
    batched: bool = False
