"""Surroundings: what a process takes from its machine beside the time. Dice, a name of its own, a thread that keeps its lease."""

from __future__ import annotations

import asyncio
import functools
import os
import random
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol

from stepflow._runtime.bodies import AroundBody
from stepflow._runtime.leases import LeaseThread
from stepflow.clock import Clock
from stepflow.storage.base import Storage
from stepflow.types import WorkerId


class LeaseHolder(Protocol):
    """Renews one worker's lease from ``start`` to ``stop``."""

    def start(self) -> None: ...
    async def stop(self) -> None: ...


class KeepLease(Protocol):
    """Makes the holder of a worker's lease. ``lost`` is to be called on the loop when the lease is not the worker's any more."""

    def __call__(
        self,
        storage: Storage,
        worker: WorkerId,
        clock: Clock,
        lease: timedelta,
        *,
        lost: Callable[[], None],
        holding_up: Callable[[asyncio.Task[Any] | None], str | None],
    ) -> LeaseHolder: ...


def _incarnation() -> WorkerId:
    return f"w-{os.getpid()}-{secrets.token_hex(6)}"


@functools.cache
def _name_of(pid: int) -> str:
    return f"{pid}-{secrets.token_hex(6)}"


def _process_name() -> str:
    return _name_of(os.getpid())  # a forked process makes a name of its own


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """The real ones are the defaults. A simulated process brings its own, and then nothing in it is left to chance."""

    random: random.Random
    incarnation: Callable[[], WorkerId] = _incarnation
    process: Callable[[], str] = _process_name
    """What no other process is called."""
    keep_lease: KeepLease = LeaseThread
    around_body: AroundBody | None = None


def of_this_machine() -> Surroundings:
    """Those of a real process; made when an app opens, so that two processes after a fork don't roll the same dice."""
    return Surroundings(random=random.Random(secrets.randbits(64)))
