"""Looking: what a harness has beside what moves time. Fakes, runs, calls and logs; nothing here waits."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from types import ModuleType
from typing import Any, TypeVar, overload

from stepflow._engine.definition import Defined
from stepflow.app import Stepflow
from stepflow.storage.memory import MemoryStorage
from stepflow.testing.harness.fakes import _UNSET, Fake, StepCall, is_of  # pyright: ignore[reportPrivateUsage]
from stepflow.testing.harness.runs import HarnessRun
from stepflow.testing.harness.world import World
from stepflow.workflows import Workflow

Out = TypeVar("Out")


class Looking:
    """The part that ``Harness`` and ``AsyncHarness`` share."""

    _world: World

    @property
    def now(self) -> datetime:
        """What the clock shows; it moves with ``advance``, ``run_until`` and ``result`` only."""
        return self._world.clock.now()

    @property
    def storage(self) -> MemoryStorage:
        """The store that the runs are in."""
        return self._world.storage

    # -------------------------------------------------------------- fakes
    def fake(
        self,
        step: Any,
        function: Callable[..., Any] | None = None,
        /,
        *,
        returns: Any = _UNSET,
        raises: BaseException | type[BaseException] | None = None,
        hangs: bool = False,
        times: int | None = None,
    ) -> Fake:
        """From now on, stand in for a step, given by its name, its key (``"charge:2"``) or its function.

        It returns ``returns``, raises ``raises``, hangs until it is cut off by its timeout, or is what ``function`` makes of the step's arguments
        (a coroutine function, or a plain one, which is called on the event loop). Retries, timeouts, types and the journal are the real
        step's. With ``times``, the next attempts only; then what was faked before it, or the step itself, has its turn again.
        """
        fake = Fake(step, function, returns=returns, raises=raises, hangs=hangs, times=times)
        self._world.fakes.add(fake)
        return fake

    def calls(self, step: Any = None) -> list[StepCall]:
        """Every attempt of this step that was executed in any run, faked or not; of all steps, if none is given."""
        world = self._world
        if step is None:
            return list(world.calls)
        return [call for call in world.calls if is_of(call, step, world.references.get)]

    # -------------------------------------------------------------- runs
    @overload
    def get(self, run_id: str, workflow: Workflow[Any, Out], /) -> HarnessRun[Out]: ...
    @overload
    def get(self, run_id: str, /) -> HarnessRun[Any]: ...
    def get(self, run_id: str, workflow: Any = None, /) -> HarnessRun[Any]:
        """A run by its id: one that another run started, for example."""
        return HarnessRun(self._world, run_id, Any if workflow is None else workflow.definition.types.output)

    def runs(self, workflow: Workflow[Any, Any] | str | None = None) -> list[HarnessRun[Any]]:
        """All runs (of this workflow), in the order in which they were created; children are runs, too."""
        wanted = workflow.id if isinstance(workflow, Workflow) else workflow
        return [
            HarnessRun(self._world, record.id, Any)
            for record in self._world.records()
            if wanted in (None, record.workflow_id)
        ]

    @property
    def logs(self) -> list[str]:
        """What all runs and steps logged through ``current_run().log``, in order."""
        return [line.message for line in self._world.lines]

    @property
    def crashes(self) -> int:
        """How often the process that works on the runs has died so far."""
        return self._world.lives - 1


def app_of(items: Iterable[Stepflow | Defined | ModuleType]) -> Stepflow:
    """The app whose workflows are tested: one that was given, or one of these workflows."""
    given = list(items)
    if len(given) == 1 and isinstance(given[0], Stepflow):
        return given[0]
    return Stepflow("memory://", workflows=given)  # type: ignore[arg-type]
