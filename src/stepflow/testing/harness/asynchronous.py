"""AsyncHarness: workflows under test on the event loop that the test itself runs on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from types import ModuleType, TracebackType
from typing import Any, Self, TypeVar, overload

from stepflow._engine.definition import Defined
from stepflow.app import Stepflow
from stepflow.durations import parse_duration
from stepflow.errors import InputError
from stepflow.handles import RunHandle
from stepflow.primitives.waiting import EventAddress
from stepflow.testing.harness.looking import Looking, app_of
from stepflow.testing.harness.runs import HarnessRun
from stepflow.testing.harness.world import World
from stepflow.types import Duration
from stepflow.workflows import Workflow

In = TypeVar("In")
Out = TypeVar("Out")
T = TypeVar("T")

START = datetime(2030, 1, 1, tzinfo=UTC)


class AsyncHarness(Looking):
    """``async with AsyncHarness(checkout) as harness:`` runs workflows in memory, on the real engine, with a clock that the test moves.

    Give it the workflows (or modules of them), or the ``Stepflow`` app that has them, whose codecs, errors and queues it then uses, too. The
    clock begins at ``start``. ``replay``: forget every run that is suspended, and check each time that its code, replayed, asks for the same
    again. ``patience`` is how long steps may take in real time. Everything returns when nothing is left to be done without time passing.
    """

    def __init__(
        self,
        *workflows: Stepflow | Defined | ModuleType,
        start: datetime = START,
        replay: bool = True,
        patience: Duration = "10s",
    ) -> None:
        self._app = app_of(workflows)
        self._options = (start, replay, parse_duration(patience).total_seconds())
        self._ids = 0
        self._in_turn = False
        """Set by the crash-point enumerator, before it opens: its plays have to be the same each time."""

    async def __aenter__(self) -> Self:
        start, replay, patience = self._options
        self._world = World(self._app, start=start, replay=replay, patience=patience, in_turn=self._in_turn)
        await self._world.open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> None:
        await self._world.close()

    @property
    def app(self) -> Stepflow:
        """The app, open, for whatever else it can do. It works on no runs itself; ``settle`` after it changed something."""
        return self._world.client

    # ================================================================ starting
    @overload
    async def start(
        self,
        workflow: Workflow[None, Out],
        input: None = None,
        /,
        *,
        id: str | None = None,
        delay: Duration | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> HarnessRun[Out]: ...
    @overload
    async def start(
        self,
        workflow: Workflow[In, Out],
        input: In,
        /,
        *,
        id: str | None = None,
        delay: Duration | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> HarnessRun[Out]: ...
    async def start(
        self,
        workflow: Any,
        input: Any = None,
        /,
        *,
        id: str | None = None,
        delay: Duration | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> HarnessRun[Any]:
        """Start a run, and let it go as far as it gets without time passing. Ids are ``run-1``, ``run-2`` … if none is given."""
        if id is None:
            self._ids += 1
            id = f"run-{self._ids}"
        await self.app.trigger(workflow, input, id=id, delay=delay, tags=tags)
        await self._world.settle()
        return HarnessRun(self._world, id, workflow.definition.types.output)

    @overload
    async def run(self, workflow: Workflow[None, Out], input: None = None, /) -> Out: ...
    @overload
    async def run(self, workflow: Workflow[In, Out], input: In, /) -> Out: ...
    async def run(self, workflow: Any, input: Any = None, /) -> Any:
        """Start a run and return its result, however long it sleeps on its way to it: ``start`` and ``result`` in one."""
        return await self.result(await self.start(workflow, input))

    async def result(self, run: HarnessRun[Out], /, *, limit: Duration = "3650d") -> Out:
        """Let time pass until the run ends, and return its result.

        Raises what ``RunHandle.result`` raises: ``RunFailedError``, ``RunCancelledError``, ``RunPausedError``. ``AssertionError``, with all that
        happened, if the run waits for an event that nobody sends, or has not ended within ``limit`` of the clock's time.
        """
        await self._world.go_on_until(
            lambda: run.ended or run.status.value == "paused", limit=parse_duration(limit)
        )
        service = self.app._service  # pyright: ignore[reportPrivateUsage]
        handle: RunHandle[Out] = RunHandle(service, run.id, run.output_type)
        return await handle.result()

    # ================================================================ time
    async def settle(self) -> None:
        """Let everything happen that happens without time passing: after something was done behind the harness's back."""
        await self._world.settle()

    async def advance(self, duration: Duration, /) -> None:
        """Let time pass: whatever falls due happens in its order, each at its own instant."""
        await self._world.go_to(self.now + parse_duration(duration))

    async def run_until(
        self, condition: Callable[[], bool] | datetime, /, *, limit: Duration = "3650d"
    ) -> None:
        """Let time pass until ``condition()`` holds, looking each time that something happened; or until an instant.

        ``AssertionError``, with all that happened, if nothing is left that could make it true, or ``limit`` of the clock's time has passed.
        """
        if not isinstance(condition, datetime):
            await self._world.go_on_until(condition, limit=parse_duration(limit))
            return
        if condition.tzinfo is None:
            raise InputError(f"run_until({condition!r}): give it a time zone, e.g. datetime(…, tzinfo=UTC)")
        await self._world.go_to(condition)

    # ================================================================ events and operations
    async def notify(
        self,
        event: str | EventAddress[T],
        payload: object = None,
        /,
        *,
        run_id: str | None = None,
        id: str | None = None,
        once: bool = False,
    ) -> int:
        """Send an event, and let everything happen that it brings about. Returns how many runs waited for it."""
        woken = await self.app.notify(event, payload, run_id=run_id, id=id, once=once)
        await self._world.settle()
        return woken

    async def cancel(self, run: HarnessRun[Any], /, *, force: bool = False) -> None:
        """See ``Stepflow.cancel``."""
        await self.app.cancel(run.id, force=force)
        await self._world.settle()

    async def pause(self, run: HarnessRun[Any], /) -> None:
        """See ``Stepflow.pause``."""
        await self.app.pause(run.id)
        await self._world.settle()

    async def resume(self, run: HarnessRun[Any], /) -> None:
        """See ``Stepflow.resume``."""
        await self.app.resume(run.id)
        await self._world.settle()

    async def retry(self, run: HarnessRun[Any], /) -> None:
        """See ``Stepflow.retry``."""
        await self.app.retry(run.id)
        await self._world.settle()

    async def crash(self) -> None:
        """The process that works on the runs dies, as by ``kill -9``, and another takes its runs over."""
        await self._world.crash()
        await self._world.settle()
