"""Crew: the worker processes, each in a slot. Who dies is followed by another, as a supervisor would see to."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from random import Random
from typing import Final

from tests.chaos.ground import Ground
from tests.chaos.worker import NOT_NOW
from tests.crash.forking import ENDED_AT_FAILPOINT, Child, ForkServer
from tests.servers.polling import for_as_long_as

PRELOADED: Final = ("stepflow.opened", "tests.chaos.worker", "asyncpg", "redis.asyncio",
    "stepflow.storage.sqlite.storage", "stepflow.storage.postgres.storage", "stepflow.storage.redis.storage",
)  # fmt: skip
LEASE: Final = 2.0
"""Seconds: short, so that a stop of some seconds loses it."""

_BREATH: Final = 0.02
"""Seconds in which a process that was stopped in the middle of a transaction comes out of it."""

_FAILPOINTS: Final = (
    "start.before_write", "start.after_write", "claim.committed", "run.loaded", "step.before_body", "step.after_body",
    "step.before_checkpoint", "step.after", "checkpoint.before_commit", "checkpoint.after_commit", "retry.before_schedule",
    "suspend.before_write", "suspend.after_write", "timer.fired", "event.before_write", "event.after_write", "event.received",
    "child.before_create", "child.after_create", "cancel.received", "finish.before_write", "finish.after_write",
    "continue.before_write", "continue.after_write", "attempt.before_restart", "recovery.takeover", "shutdown.before_release",
    "outbox.before_apply", "outbox.after_apply",
)  # fmt: skip


@dataclass(slots=True, eq=False)
class Member:
    """One process. ``fated``: it kills itself at some place, if it gets there."""

    slot: int
    phase: str
    child: Child
    fated: bool
    ended: asyncio.Event
    stopped: bool = False
    killed: bool = False
    told_to_end: bool = False

    @property
    def going(self) -> bool:
        """Whether its end has come, or is bound to."""
        return self.killed or self.told_to_end or self.ended.is_set()


class Crew:
    """Keeps ``size`` workers going. ``counts`` has what was done to them, ``wrong`` what must not have happened."""

    def __init__(
        self,
        ground: Ground,
        server: ForkServer,
        seed: int,
        *,
        size: int,
        starts: float,
        until: float,
        mutant: str | None = None,
    ) -> None:
        """They start so many runs a second, until that time of the machine's monotonic clock. ``mutant``: each has that bug."""
        self.counts: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.size = size
        self._ground = ground
        self._server = server
        self._seed = seed
        self._starts = starts
        self._until = until
        self._mutant = mutant
        self._random = Random(f"crew-{seed}")
        self._numbers = count(1)
        self._slots: dict[int, Member] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._calm = False
        self._closing = False

    @property
    def members(self) -> list[Member]:
        """Those that are there and not yet told to end."""
        return [member for member in self._slots.values() if not member.going]

    def start(self) -> None:
        for slot in range(self.size):
            self._begin(slot)

    # -------------------------------------------------------------- what befalls them
    def kill(self, member: Member) -> None:
        """``kill -9``, also of one that is stopped."""
        member.killed = True
        self.counts["kills"] += 1
        member.child.kill()

    def terminate(self, member: Member) -> None:
        """SIGTERM: it gives back what it has, and ends."""
        member.told_to_end = True
        self.counts["worker restarts"] += 1
        member.child.terminate()

    async def stop(self, member: Member, seconds: float, *, with_a_lock: bool) -> None:
        """SIGSTOP, and SIGCONT after a while. ``with_a_lock``: even if nobody else can write meanwhile."""
        member.stopped = True
        try:
            member.child.send(signal.SIGSTOP)
            while not with_a_lock and await self._ground.blocked():
                if not self._goes_on(member):
                    return
                await for_as_long_as(_BREATH)
                if member.going:
                    return
                member.child.send(signal.SIGSTOP)
            self.counts["stops"] += 1
            await for_as_long_as(seconds)
        finally:
            self._goes_on(member)
            member.stopped = False

    @staticmethod
    def _goes_on(member: Member) -> bool:
        """SIGCONT, if it was not killed meanwhile."""
        if member.killed or member.ended.is_set():
            return False
        member.child.send(signal.SIGCONT)
        return True

    # -------------------------------------------------------------- the supervisor
    def _begin(self, slot: int) -> None:
        number = next(self._numbers)
        phase = f"worker-{number}"
        random = self._random
        fated = not self._calm and random.random() < 0.3
        child = self._server.start(
            "tests.chaos.worker:serve",
            self._ground.folder / f"{phase}.log",
            url=self._ground.url_of(slot),
            folder=str(self._ground.folder),
            phase=phase,
            number=number,
            seed=self._seed,
            lease=LEASE,
            concurrency=random.choice((30, 200, 1_000)),
            hot=random.choice((0, 0.2, 5)),
            starts=self._starts / self.size,
            until=self._until,
            mutant=self._mutant,
            # Every second one has a name that stays: its successor need not wait for a lease.
            name=f"slot-{slot}" if slot % 2 else None,
            failpoint=(random.choice(_FAILPOINTS), int(10 ** random.uniform(0, 2.7))) if fated else None,
        )
        member = Member(slot, phase, child, fated, asyncio.Event())
        self._slots[slot] = member
        self._spawn(self._look_after(member))

    def _spawn(self, work: object) -> None:
        task: asyncio.Task[None] = asyncio.ensure_future(work)  # type: ignore[arg-type]
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self.wrong.append(f"the supervisor failed: {task.exception()!r}")

    async def _look_after(self, member: Member) -> None:
        """Wait for its end, judge it, and start its successor."""
        await ends(member.child.pid)
        member.ended.set()
        code = member.child.wait()
        self._judge(member, code)
        if self._closing:
            return
        if code == NOT_NOW:
            await for_as_long_as(0.5)
        if not self._closing:
            self._begin(member.slot)

    def _judge(self, member: Member, code: int) -> None:
        if code == ENDED_AT_FAILPOINT and member.fated:
            self.counts["kills"] += not member.killed
        elif code == NOT_NOW:
            self.counts["starts that failed"] += 1
        elif not (code == -signal.SIGKILL and member.killed) and not (code == 0 and member.told_to_end):
            log = member.child.log.read_text(errors="replace")
            self.wrong.append(f"{member.phase} ended with {code}, unasked:\n{log[-3_000:]}")

    # -------------------------------------------------------------- in the end
    def heal(self) -> None:
        """Nobody dies any more: half of them are replaced by fresh ones, those that have a fate all."""
        self._calm = True
        for number, member in enumerate(self.members):
            if member.fated or number % 2:
                self.kill(member)

    async def close(self, patience: float = 30.0) -> None:
        """Tell all of them to end, which must go well."""
        self._closing = True
        for member in self.members:
            member.told_to_end = True
            member.child.terminate()
        await self._all_ended(patience, lambda member: f"{member.phase} did not end when it was told to")
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _all_ended(self, patience: float, otherwise: Callable[[Member], str]) -> None:
        try:
            async with asyncio.timeout(patience):
                for member in self._slots.values():
                    await member.ended.wait()
        except TimeoutError:
            self.wrong += [otherwise(member) for member in self._slots.values() if not member.ended.is_set()]


async def ends(pid: int) -> None:
    """Wait until a process that somebody else waits for has ended."""
    descriptor = os.pidfd_open(pid)
    over = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(descriptor, over.set)
    try:
        await over.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)
