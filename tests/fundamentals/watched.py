"""Watched: an execution under observation. It remembers when things were asked, and can be compared with another."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Any

import msgspec

from stepflow._engine.commands import Command
from stepflow._engine.execution import Execution, RunFacts
from stepflow.model.failures import Failure
from stepflow.model.payloads import Payload
from tests.fundamentals.interpreter import BrokenError, Interpreter
from tests.fundamentals.programs import Node, Program
from tests.fundamentals.world import CREATED_POS


def encode(value: Any, what: str = "") -> Payload:
    return Payload(msgspec.Raw(msgspec.json.encode(value)))


def decode(payload: Payload, type: Any) -> Any:
    return msgspec.json.decode(payload.data)


def rebuild(failure: Failure) -> BaseException:
    return BrokenError(failure.message)


def without_counts(data: Any) -> Any:
    """Journal or outcome as text, without the numbers that say which execution of a body a value is from."""
    return re.sub(r"#\d+", "#", data if isinstance(data, str) else repr(data))


class Watched(Execution):
    """An execution that remembers when things were asked, and what the loop complained about."""

    def __init__(self, program: Program, main: Node, attempt: int) -> None:
        timeout = None if program.timeout is None else timedelta(seconds=program.timeout)
        self.asked_at: dict[str, datetime] = {}
        self.gave_up_child: dict[str, datetime] = {}
        self.noise: list[str] = []
        self.seen: dict[str, Any] = {}
        self.player = Interpreter(self)
        super().__init__(
            RunFacts(
                run_id=program.run_id,
                workflow_id="program",
                created_pos=CREATED_POS,
                timeout=timeout,
                attempt=attempt,
            ),
            lambda payload: self.player.main(main),
            encode=encode,
            decode=decode,
            rebuild=rebuild,
        )

    def ask(self, command: Command) -> Any:
        if not self.evicting:
            self.asked_at[command.key] = self.now
        return super().ask(command)

    async def perform(self, command: Command) -> Any:
        value = await super().perform(command)
        self.seen[command.key] = value
        return value

    def start_timer(self, handle: Any) -> None:
        super().start_timer(handle)
        if handle.command is not None:
            self.asked_at[handle.command.key] = self.now

    def cancel_child(self, child_id: str) -> None:
        if not self.evicting:
            self.gave_up_child.setdefault(child_id, self.now)
        super().cancel_child(child_id)

    def log_loop_noise(self, context: dict[str, Any]) -> None:
        self.noise.append(str(context.get("message")))
        super().log_loop_noise(context)

    def fingerprint(self) -> Any:
        """Everything a rebuilt execution must agree on."""
        pending = [
            (c.key, c.order, self.asked_at[c.key], getattr(c, "attempts", 0), getattr(c, "retry_at", None))
            for c in self.pending()
        ]
        return (
            self.outcome is None and self._now,
            pending,
            self.due_at(),
            sorted(self.mailbox.cursors.items()),
            sorted(self.gave_up_child.items()),
            self._loop._numbers,
            without_counts(self.player.trace),
        )
