"""Keys: what a command is called, by the scope it was asked in, its name and its ordinal there.

A key is one string, ``scope/name:2`` or ``scope/name[member]``. Idempotency keys and the ids of child runs are derived from
it, so its form is part of the contract with every journal that exists.
"""

from __future__ import annotations

from collections.abc import Callable

from stepflow.model.names import END, escape
from stepflow.types import StepKey

CALLBACK_SCOPE = "@cb"
TIMER = "@timer"


def member_key(key: StepKey, member: str) -> StepKey:
    """The key of one member of a fan-out: ``convert[42]``."""
    return f"{key}[{escape(member)}]"


def end_key(key: StepKey) -> StepKey:
    """The key under which the end of the child started at ``key`` is recorded."""
    return key + END


def scope_of(key: StepKey) -> str:
    """The path of the scope that ``key`` was asked in; empty for main itself."""
    path, separator, _ = key.rpartition("/")
    return path + separator


class Scope:
    """The place a command is asked from: a path of tasks, counting what is asked in it by name.

    ``known`` are the paths of all scopes below main that this run has had so far.
    """

    __slots__ = ("_counts", "known", "path")

    def __init__(self, path: str = "", known: set[str] | None = None) -> None:
        self.path = path
        self.known: set[str] = set() if known is None else known
        self._counts: dict[str, int] = {}

    def key(self, name: str) -> StepKey:
        """The next key under ``name`` in this scope."""
        count = self._counts.get(name, 0) + 1
        self._counts[name] = count
        segment = escape(name)
        return f"{self.path}{segment}" if count == 1 else f"{self.path}{segment}:{count}"

    def child(self, name: str) -> tuple[Scope, Callable[[], None]]:
        """The scope of the next task under ``name``, and what takes that number back.

        Taking back is for asyncio before 3.13, which names a task just after it created it.
        """
        counted = f"{name}/"  # tasks and commands are counted apart
        count = self._counts.get(counted, 0) + 1
        self._counts[counted] = count
        segment = escape(name)
        path = f"{self.path}{segment}/" if count == 1 else f"{self.path}{segment}:{count}/"

        self.known.add(path)

        def take_back() -> None:
            if self._counts.get(counted) == count:
                self._counts[counted] = count - 1
                self.known.discard(path)

        return Scope(path, self.known), take_back
