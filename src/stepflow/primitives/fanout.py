"""Fan-out: many steps at a time from one call, a window of them in flight, each checkpointed on its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Generic, TypeVar

from stepflow._engine.commands import RunStep
from stepflow._engine.execution import Execution
from stepflow._engine.keys import member_key
from stepflow.errors import DuplicateKeyError, InputError
from stepflow.primitives.steps import Plan, checked_key
from stepflow.types import StepKey

DEFAULT_CONCURRENCY = 100

Item = TypeVar("Item")


class Members(Generic[Item]):
    """The members of a fan-out, made one by one from ``items``, which is read no faster than they are started."""

    def __init__(
        self,
        name: str,
        items: Iterator[Item],
        plan: Callable[[Item], tuple[Plan, tuple[Any, ...]]],
        key: Callable[[Item], Any] | None,
    ) -> None:
        self.name = name
        self._items = items
        self._plan = plan
        self._key = key
        self._count = 0
        self._keys: set[StepKey] = set()

    def next(self, base: StepKey) -> tuple[StepKey, Plan, tuple[Any, ...]] | None:
        """The next member's key, plan and arguments; None after the last."""
        try:
            item = next(self._items)
        except StopIteration:
            return None
        if self._key is None:
            key = member_key(base, str(self._count))
        else:
            key = member_key(base, checked_key(self._key(item)))
            if key in self._keys:
                raise DuplicateKeyError(key)
            self._keys.add(key)
        self._count += 1
        return key, *self._plan(item)


def checked_concurrency(concurrency: Any) -> int:
    """How many members may be in flight; ``InputError`` if that is no number from 1 on."""
    if concurrency is None:
        return DEFAULT_CONCURRENCY
    if not isinstance(concurrency, int) or isinstance(concurrency, bool) or concurrency < 1:
        raise InputError(f"concurrency={concurrency!r}: a whole number from 1 on")
    return concurrency


class FanOut:
    """A fan-out in a workflow. Members are commands with callbacks, not tasks: a waiting one costs nothing but its command."""

    def __init__(
        self, execution: Execution, base: StepKey, members: Members[Any], concurrency: int, collect: bool
    ) -> None:
        self._execution = execution
        self._base = base
        self._members = members
        self._concurrency = concurrency
        self._collect = collect
        self._in_flight: dict[int, RunStep] = {}
        self._results: list[Any] = []
        self._failure: BaseException | None = None
        self._more = True
        self._waiter: asyncio.Future[None] | None = None

    async def run(self) -> list[Any]:
        """The results in order. The first failure withdraws all other members and is raised itself."""
        try:
            while True:
                self._fill()
                if not self._in_flight:
                    return self._results
                self._waiter = asyncio.get_running_loop().create_future()
                await self._waiter
                if self._failure is not None:
                    raise self._failure
        finally:
            self._withdraw_all()

    def _fill(self) -> None:
        while self._more and len(self._in_flight) < self._concurrency:
            member = self._members.next(self._base)
            if member is None:
                self._more = False
                return
            key, plan, args = member
            index = len(self._results)
            command = plan.command(key, self._members.name, args, {})
            self._results.append(None)
            future = self._execution.ask(command)
            self._in_flight[index] = command
            future.add_done_callback(partial(self._ended, index))

    def _ended(self, index: int, future: asyncio.Future[Any]) -> None:
        if self._in_flight.pop(index, None) is None or future.cancelled():
            return
        error = future.exception()
        if error is None:
            self._results[index] = future.result()
        elif self._collect and isinstance(error, Exception):
            self._results[index] = error
        else:
            # The only one: this fan-out wakes, and raises it, before another entry is delivered.
            self._failure = error
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _withdraw_all(self) -> None:
        left, self._in_flight = self._in_flight, {}
        for command in left.values():
            self._execution.withdraw(command)
            assert command.future is not None, "it was asked for"
            command.future.cancel()


async def run_plain(members: Members[Any], concurrency: int, collect: bool) -> list[Any]:
    """The same outside of a workflow, where each member is a plain call."""
    results: list[Any] = []
    running: dict[asyncio.Task[Any], int] = {}
    more = True
    try:
        while True:
            while more and len(running) < concurrency:
                member = members.next(members.name)
                if member is None:
                    more = False
                    break
                _, plan, args = member
                running[asyncio.create_task(plan.call_plain(members.name, args, {}))] = len(results)
                results.append(None)
            if not running:
                return results
            done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for task in sorted(done, key=running.__getitem__):
                index = running.pop(task)
                error = None if task.cancelled() else task.exception()
                results[index] = error if collect and isinstance(error, Exception) else task.result()
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
