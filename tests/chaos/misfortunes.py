"""Misfortunes: what befalls workers, connections, the disk and the server, each now and then, as a seed draws it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from random import Random
from typing import Any

from tests.chaos.crew import LEASE, Crew, Member
from tests.chaos.ground import Ground, cut_one
from tests.servers.polling import for_as_long_as


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """Seconds between two of a kind, on average; 0 is never."""

    kills: float = 1.05
    stops: float = 9.0
    ends: float = 7.0
    """Workers that are told to end."""
    server_restarts: float = 10.0
    disk: float = 11.0
    cuts: float = 0.6
    """Single connections, in the middle of something."""
    partitions: float = 9.0
    """One worker, or all of them, without the store."""


class Misfortunes:
    """Lets them happen until it is told to stop. ``counts`` has how many of each kind there were."""

    def __init__(self, ground: Ground, crew: Crew, seed: int, rates: Rates) -> None:
        self.counts: Counter[str] = Counter()
        self._ground = ground
        self._crew = crew
        self._rates = rates
        self._seed = seed
        self._server = asyncio.Lock()
        """A server does not start again on a disk that is full."""

    async def go_on(self) -> None:
        """For ever; cancelled when it is enough."""
        rates = self._rates
        kinds: dict[str, tuple[float, Callable[[Random], Coroutine[Any, Any, None]]]] = {
            "kills": (rates.kills, self._kill),
            "ends": (rates.ends, self._end),
            "stops": (rates.stops, self._stop),
            "disk": (rates.disk, self._fail_disk),
        }
        if self._ground.serves:
            kinds |= {
                "cuts": (rates.cuts, self._cut),
                "partitions": (rates.partitions, self._partition),
                "server restarts": (rates.server_restarts, self._restart),
            }
        async with asyncio.TaskGroup() as group:
            for name, (every, act) in kinds.items():
                if every:
                    group.create_task(self._now_and_then(Random(f"{name}-{self._seed}"), every, act, group))

    async def _now_and_then(
        self,
        random: Random,
        every: float,
        act: Callable[[Random], Coroutine[Any, Any, None]],
        group: asyncio.TaskGroup,
    ) -> None:
        """Not one after the other: what takes long does not hold the next one up."""
        while True:
            await for_as_long_as(random.expovariate(1 / every))
            group.create_task(act(random))

    def _somebody(self, random: Random) -> Member | None:
        members = self._crew.members
        return random.choice(members) if members else None

    async def _kill(self, random: Random) -> None:
        if (member := self._somebody(random)) is not None:
            self._crew.kill(member)

    async def _end(self, random: Random) -> None:
        if (member := self._somebody(random)) is not None:
            self._crew.terminate(member)

    async def _stop(self, random: Random) -> None:
        seconds = LEASE * random.choice((0.2, 1.2, 1.5, 2.5))
        with_a_lock = random.randrange(6) == 0
        member = self._somebody(random)
        if member is not None and not member.stopped:
            await self._crew.stop(member, seconds, with_a_lock=with_a_lock)

    async def _fail_disk(self, random: Random) -> None:
        async with self._server:
            self.counts[await self._ground.fail_disk(random)] += 1

    async def _restart(self, random: Random) -> None:
        async with self._server:
            await self._ground.restart(random)
            self.counts["server restarts"] += 1

    async def _cut(self, random: Random) -> None:
        self.counts[cut_one(random.choice(self._ground.proxies), random)] += 1

    async def _partition(self, random: Random) -> None:
        """Refused or met with silence; one in five times all of them at once."""
        proxies = self._ground.proxies if random.randrange(5) == 0 else [random.choice(self._ground.proxies)]
        silent = random.randrange(2) == 0
        seconds = LEASE * random.choice((0.1, 0.5, 1.5))
        self.counts["silences" if silent else "refusals"] += 1
        for proxy in proxies:
            if silent:
                proxy.go_silent()
            else:
                proxy.refuse()
        try:
            await for_as_long_as(seconds)
        finally:
            for proxy in proxies:
                proxy.heal()
