"""Steps: the step commands of one run, from "to be started" to the entry that records how each ended."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable
from datetime import datetime
from typing import Any, Protocol

from stepflow._engine.commands import RunStep
from stepflow._engine.execution import Execution
from stepflow._runtime.bodies import Body
from stepflow._runtime.host import Host
from stepflow._runtime.telling import Teller
from stepflow._runtime.timers import Alarm
from stepflow._runtime.transactional import NotCommitted, StepTransaction
from stepflow.errors import StepflowError
from stepflow.failpoints import failpoint
from stepflow.model.journal import AttemptFailed, Entry, StepCompleted, StepFailed
from stepflow.types import RunId, StepKey

PER_RUN = 100
"""Bodies of one run that execute at once: a 10,000-wide gather must not take the whole process."""


class StepOwner(Protocol):
    """The driver, as its steps see it."""

    @property
    def execution(self) -> Execution: ...
    @property
    def run_id(self) -> RunId: ...
    @property
    def teller(self) -> Teller | None: ...
    @property
    def dropped(self) -> bool: ...

    def at(self) -> datetime: ...
    def begin_transaction(self) -> StepTransaction: ...
    def grow(self, size: int) -> None: ...
    def pump(self) -> None: ...
    def deliver(self, entry: Entry) -> None: ...
    def deliver_quietly(self, entry: Entry) -> None: ...
    def cut_off(self, command: RunStep) -> None: ...


class Steps:
    """Starts bodies within the run's limit, retries them, and hands the driver an entry for each outcome."""

    __slots__ = ("_driver", "_host", "_queue", "_resting", "running")

    def __init__(self, driver: StepOwner, host: Host[Any]) -> None:
        self._driver = driver
        self._host = host
        self._queue: deque[RunStep] | None = None
        self.running: dict[StepKey, Body] = {}
        """The bodies that run, or wait for a slot of the process."""
        self._resting: dict[StepKey, tuple[datetime, Alarm | None, RunStep]] = {}

    # -------------------------------------------------------------- state
    @property
    def idle(self) -> bool:
        """No body runs, and none waits for a slot."""
        return not self.running

    @property
    def quiet(self) -> bool:
        """Nothing runs, and nothing waits for its turn: what is left are retries, the next one at ``retry_at``."""
        return not self.running and not self._queue

    @property
    def retry_at(self) -> datetime | None:
        """When the next retry is due."""
        return min((at for at, _, _ in self._resting.values()), default=None)

    # -------------------------------------------------------------- starting and stopping
    def start(self, command: RunStep) -> None:
        """Begin with the command: now, when the run's limit allows, or when its retry is due."""
        retry_at = command.retry_at
        if retry_at is not None and retry_at > self._host.clock.now():
            self._rest(command, retry_at)
        elif len(self.running) >= PER_RUN:
            if self._queue is None:
                self._queue = deque()
            self._queue.append(command)
        else:
            self._begin(command)

    def stop(self, commands: Iterable[RunStep]) -> None:
        """The workflow gave these up: whatever they were doing has no effect any more."""
        bodies: list[Body] = []
        for command in commands:
            rest = self._resting.pop(command.key, None)
            if rest is not None and rest[1] is not None:
                rest[1].cancel()
            body = self.running.pop(command.key, None)
            if body is not None:
                bodies.append(body)
        for body in bodies:
            self._host.bodies.withdraw(body)
        if bodies:
            self._fill()  # only now: those that are given up with them are not to begin

    def abandon_all(self) -> None:
        """End every body; whatever they were doing has no effect any more."""
        for body in self.running.values():
            self._host.bodies.withdraw(body)
        for _, alarm, _ in self._resting.values():
            if alarm is not None:
                alarm.cancel()
        self.running.clear()
        self._resting.clear()
        self._queue = None

    def close(self) -> None:
        """The run is not ours any more, or over. Without its driver, both are freed at once, and not by the collector."""
        self.abandon_all()
        del self._driver

    def hush(self) -> None:
        """The run is about to leave memory: no retry begins until ``wake``."""
        for at, alarm, command in self._resting.values():
            if alarm is not None:
                alarm.cancel()
            self._resting[command.key] = (at, None, command)

    def wake(self) -> None:
        """The run was claimed again: its retries begin when they are due, save those that others had meanwhile."""
        resting = list(self._resting.values())
        self._resting.clear()
        is_pending = self._driver.execution.lookup.is_pending
        for _, _, command in resting:
            if is_pending(command):
                self.start(command)

    # -------------------------------------------------------------- bodies
    def _begin(self, command: RunStep) -> None:
        driver = self._driver
        bodies = self._host.bodies
        body = Body(bodies, driver.execution, command, self)
        self.running[command.key] = body  # before it begins: it may have ended when `admit` returns
        bodies.admit(body)

    def ended(self, body: Body, value: Any, error: BaseException | None) -> None:
        """An attempt ended: record its result, its failure, or that another attempt follows."""
        command = body.command
        self.running.pop(command.key, None)
        if error is None:
            if body.transaction is None:
                try:
                    entry = self.completed(body, value)
                except StepflowError as refused:
                    error = refused
                else:
                    self._driver.deliver(entry)
            else:
                self._driver.pump()  # its result is written already
        if error is not None:
            if isinstance(error, NotCommitted):
                self.start(command)
            else:
                self._failed(body, error)
        if self._queue:
            self._fill()

    def cut_off(self, body: Body) -> None:
        """The body's task was cancelled by somebody else: nothing is recorded of it."""
        self.running.pop(body.command.key, None)
        self._driver.cut_off(body.command)

    def completed(self, body: Body, value: Any) -> StepCompleted:
        """The entry for a body that returned ``value``; raises if that can't be stored."""
        driver, command = self._driver, body.command
        payload = self._host.values.encode(value, what=f"the result of step {command.name!r}")
        driver.grow(payload.size)
        return StepCompleted(
            key=command.key,
            function=command.function,
            at=driver.at(),
            value=payload,
            attempts=body.attempt,
            started_at=body.started_at,
        )

    def begin_transaction(self) -> StepTransaction:
        """For a body: the transaction that its result is going to be written in."""
        return self._driver.begin_transaction()

    def _failed(self, body: Body, error: BaseException) -> None:
        driver, command = self._driver, body.command
        if not driver.execution.lookup.is_pending(command):
            driver.pump()  # the workflow gave it up, in a commit that is still on its way: there is nothing to retry
            return
        at = driver.at()
        failure = self._host.record_failure(error)
        delay = None
        if not command.options.at_most_once and not isinstance(error, asyncio.CancelledError):
            delay = command.options.retry.next_delay(body.attempt, error, random=self._host.random)
        if delay is None:
            driver.deliver(
                StepFailed(
                    key=command.key,
                    function=command.function,
                    at=at,
                    failure=failure,
                    attempts=body.attempt,
                    started_at=body.started_at,
                )
            )
            return
        failpoint("retry.before_schedule")
        retried = AttemptFailed(
            key=command.key,
            function=command.function,
            at=at,
            attempt=body.attempt,
            failure=failure,
            retry_at=at + delay,
        )
        if driver.teller is not None:
            driver.teller.step_retried(retried, body.started_at)
        self._rest(command, retried.retry_at)
        driver.deliver_quietly(retried)

    def _rest(self, command: RunStep, retry_at: datetime) -> None:
        # Also if the run may be suspended before: what else it does may keep it in memory until then.
        alarm = self._host.timers.at(retry_at, lambda: self._rested(command))
        self._resting[command.key] = (retry_at, alarm, command)

    def _rested(self, command: RunStep) -> None:
        self._resting.pop(command.key, None)
        if self._driver.execution.lookup.is_pending(command):
            self.start(command)

    def _fill(self) -> None:
        while self._queue and len(self.running) < PER_RUN:
            command = self._queue.popleft()
            if self._driver.execution.lookup.is_pending(command):  # else it was given up while it waited
                self._begin(command)
