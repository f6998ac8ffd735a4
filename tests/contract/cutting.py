"""Every kind of write that the port has, each in a scene of its own, so that it can be cut off anywhere and compared with memory."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from stepflow.errors import StorageUnavailableError
from stepflow.model.events import Wait
from stepflow.model.states import PauseReason
from stepflow.storage.base import Storage
from stepflow.storage.memory import MemoryStorage
from stepflow.storage.writes import (
    Action,
    Cancel,
    Complete,
    Continue,
    Fail,
    Outcome,
    Pause,
    Release,
    Suspend,
    Transition,
    Write,
)
from stepflow.testing.storage_contract.building import (
    FAILURE,
    SECOND,
    T0,
    a_child,
    a_run,
    an_event,
    commit,
    control,
    create,
    send,
    start,
    value,
    write,
)

RUNS: Final = ("run", "parent", "child", "sibling", "waiting", "asleep", "ended", "stopped", "fresh")
EVENTS: Final = ("paid", "shipped", "run/run", "run/child", "run/sibling", "run/waiting")


@dataclass(frozen=True)
class Names:
    """The scene's names with an ending that no other scene in the store has."""

    ending: str = ""

    def __call__(self, name: str) -> str:
        return f"{name}{self.ending}"

    def wait(self, event: str) -> Wait:
        return Wait(event_id=self(event), after=0)


async def arrange(storage: Storage, n: Names) -> None:
    """A family, of which every member stands elsewhere: ``run`` is a parent, and a child of ``parent``, who waits for it."""
    singles = [a_run(n("waiting")), a_run(n("asleep")), a_run(n("ended"), idempotency_key=n("key"))]
    waits = (n.wait("paid"), n.wait("shipped"))
    await write(
        storage,
        *(start(run) for run in (a_run(n("parent")), *singles, a_run(n("stopped")))),
        start(a_child(n("run"), n("parent"))),
        start(a_child(n("child"), n("run"))),
        create(n("sibling"), parent=a_child("x", n("run")).parent, due_at=T0 + SECOND),
        commit(n("parent"), transition=Suspend(), waits=(n.wait("run/run"),)),
        commit(n("waiting"), transition=Suspend(), waits=waits),
        commit(n("asleep"), transition=Suspend(wake_at=T0 + SECOND)),
        commit(n("ended"), transition=Fail(failure=FAILURE)),
        control(n("stopped"), Action.PAUSE),
        commit(n("stopped"), transition=Pause(reason=PauseReason.REQUESTED)),
    )


Make = Callable[[Names], Write]


def _move(transition: Transition | None, **fields: Any) -> Make:
    """A commit of ``run`` with this transition."""
    return lambda n: commit(
        n("run"), transition=transition, **{name: make(n) for name, make in fields.items()}
    )


def _control(name: str, action: Action) -> Make:
    return lambda n: control(n(name), action)


WRITES: Final[dict[str, Make]] = {
    "create": lambda n: create(n("fresh"), idempotency_key=n("new-key")),
    "create a child": lambda n: create(n("fresh"), parent=a_child("x", n("run")).parent),
    "start": lambda n: start(a_run(n("fresh"), idempotency_key=n("new-key"))),
    "start and suspend": lambda n: start(
        a_run(n("fresh")), transition=Suspend(), waits=(n.wait("paid"),), sends=(an_event(n("paid")),)
    ),
    "checkpoint": _move(None),
    "checkpoint of an attempt": _move(None, attempt=lambda _: 2),
    "suspend": _move(Suspend(wake_at=T0 + SECOND)),
    "wait": _move(Suspend(), waits=lambda n: (n.wait("paid"), n.wait("shipped"))),
    "wait for what is there": _move(
        Suspend(), waits=lambda n: (n.wait("paid"),), sends=lambda n: (an_event(n("paid")),)
    ),
    "wait no more": _move(None, unwaits=lambda n: (n("paid"),), waits=lambda n: (n.wait("shipped"),)),
    "release": _move(Release()),
    "complete": _move(Complete(output=value("7"))),
    "fail": _move(Fail(failure=FAILURE)),
    "cancelled": _move(Cancel()),
    "pause": _move(Pause(reason=PauseReason.POISONED, detail="why")),
    "continue": _move(Continue(input=value("8"))),
    "child": _move(None, creates=lambda n: (a_child(n("fresh"), n("run")),)),
    "send from a run": _move(
        None, sends=lambda n: (an_event(n("paid")), an_event(n("shipped"), run_id=n("waiting")))
    ),
    "cancel of children": _move(None, cancels=lambda n: (n("child"), n("sibling"))),
    "everything at once": _move(
        Suspend(),
        creates=lambda n: (a_child(n("fresh"), n("run")),),
        sends=lambda n: (an_event(n("paid")),),
        waits=lambda n: (n.wait("run/child"),),
        cancels=lambda n: (n("sibling"),),
    ),
    "event": lambda n: send(n("paid"), dedup_id="once"),
    "event to a run": lambda n: send(n("paid"), dedup_id="once", run_id=n("waiting")),
    "event that is first": lambda n: send(n("paid"), dedup_id="once", once=True),
    "cancel asked of the owner": _control("run", Action.CANCEL),
    "cancel of a sleeper": _control("asleep", Action.CANCEL),
    "forced cancel": _control("run", Action.FORCE_CANCEL),
    "pause asked of the owner": _control("run", Action.PAUSE),
    "pause of a sleeper": _control("asleep", Action.PAUSE),
    "resume": _control("stopped", Action.RESUME),
    "retry": _control("ended", Action.RETRY),
    "delete": _control("ended", Action.DELETE),
}


async def state(storage: Storage, n: Names) -> bytes:
    """All that can be read of a scene; without its ending, and without positions, of which a write cut off may use some."""
    waits = [(n(run), n.wait(event)) for run in RUNS for event in EVENTS]
    runs = [await storage.get_run(n(run)) for run in RUNS]
    found = {
        "runs": [None if run is None else replace(run, created_pos=0) for run in runs],
        "journals": [list(await storage.read_journal(n(run))) for run in RUNS],
        "events": [[replace(event, pos=0) for event in log] for log in await storage.read_events(waits)],
        "keys": [getattr(await storage.find_run(n(key)), "id", None) for key in ("key", "new-key")],
        "requests": [r for r in await storage.read_requests("w1") if r.run_id.endswith(n.ending)],
    }
    encoded = msgspec.json.encode(found, order="sorted").replace(n.ending.encode(), b"")
    return msgspec.json.format(encoded.replace(b'"codec":"json",', b""))  # left out or not, it is the default


async def expected(make: Make, times: int) -> tuple[bytes, list[type[Outcome]]]:
    """What memory, which is the reference, comes to if the write is made so many times; and its answers."""
    names = Names("-0-")
    async with MemoryStorage() as memory:
        await arrange(memory, names)
        outcomes = [type((await memory.write([make(names)], now=T0))[0]) for _ in range(times)]
        return await state(memory, names), outcomes


async def persistently(call: Callable[[], Awaitable[Any]]) -> Any:
    """Make the call until it is answered, as the engine does."""
    while True:
        try:
            return await call()
        except StorageUnavailableError:
            continue
