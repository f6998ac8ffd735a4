"""Fakes: what stands in for steps in a test, and the calls that steps got, faked or not."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from stepflow._engine.callables import function_reference
from stepflow._engine.commands import RunStep
from stepflow.errors import DefinitionError
from stepflow.types import RunId, StepKey

_UNSET: Any = object()


@dataclass(frozen=True, slots=True, kw_only=True)
class StepCall:
    """One attempt of one step: what its function (or its fake) was called with, and when by the harness's clock."""

    step: str
    key: StepKey
    run_id: RunId
    attempt: int
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    at: datetime
    faked: bool


class Fake:
    """Stands in for every step that it ``matches``, for so many ``times``."""

    def __init__(
        self,
        step: Any,
        function: Callable[..., Any] | None,
        *,
        returns: Any = _UNSET,
        raises: BaseException | type[BaseException] | None = None,
        hangs: bool = False,
        times: int | None = None,
    ) -> None:
        given = [function is not None, returns is not _UNSET, raises is not None, hangs]
        if sum(given) != 1:
            raise DefinitionError("a fake is given one of: a function, returns=, raises=, hangs=True")
        if times is not None and times < 1:
            raise DefinitionError(f"times={times}: a fake is used at least once")
        self.name = step if isinstance(step, str) else None
        self._reference = None if isinstance(step, str) else function_reference(step)
        self._function = function
        self._returns = returns
        self._raises = raises
        self.hangs = hangs
        self.left = times
        self.used = 0
        """How often it stood in."""

    def matches(self, command: RunStep) -> bool:
        """Whether it stands for this step: by its name, its key or its function."""
        if self.left == 0:
            return False
        if self.name is not None:
            return self.name in (command.name, command.key)
        return command.function == self._reference

    def use(self) -> None:
        """It is going to stand in once."""
        self.used += 1
        if self.left is not None:
            self.left -= 1

    async def perform(self, command: RunStep) -> Any:
        """What the step's function would have done."""
        if self.hangs:
            return await asyncio.get_running_loop().create_future()
        if self._raises is not None:
            raise self._raises
        if self._function is None:
            return self._returns
        value = self._function(*command.args, **command.kwargs)
        return await value if inspect.isawaitable(value) else value

    @property
    def described(self) -> str:
        return repr(self.name if self.name is not None else self._reference)


class Fakes:
    """All fakes of a harness, the newest first: one that has been used up leaves the step to those before it."""

    def __init__(self) -> None:
        self._fakes: list[Fake] = []

    def add(self, fake: Fake) -> None:
        self._fakes.insert(0, fake)

    def take(self, command: RunStep) -> Fake | None:
        """The fake for this attempt of the step, used once more; None leaves it to the step's own function."""
        fake = next((each for each in self._fakes if each.matches(command)), None)
        if fake is not None:
            fake.use()
        return fake


def is_of(call: StepCall, step: Any, reference_of: Callable[[str], str | None]) -> bool:
    """Whether the call was one of ``step``, given by name, key or function."""
    if isinstance(step, str):
        return step in (call.step, call.key)
    return reference_of(call.key) == function_reference(step)
