"""Play: misfortunes for so many minutes, then everything heals, ends and is judged."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from stepflow.clock import SystemClock
from stepflow.errors import StorageError
from stepflow.storage.base import Storage
from stepflow.storage.opening import open_storage
from tests.chaos.crew import LEASE, PRELOADED, Crew
from tests.chaos.ground import GROUNDS, Ground
from tests.chaos.judging import Verdict, judge
from tests.chaos.ledger import read_ledgers
from tests.chaos.misfortunes import Misfortunes, Rates
from tests.chaos.people import Asker, People, RealWorld
from tests.chaos.telling import NOT_FAULTS, TELL_EVERY, Telling
from tests.chaos.worker import heard_errors
from tests.chaos.workload import RUNS, take_the_stage
from tests.crash.forking import ForkServer
from tests.servers.polling import for_as_long_as

_LOOK_AFTER_EVERY: Final = 2.0
_MOST_UNANSWERED: Final = 150


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """How long, how many, how often. ``seconds`` is the time of the misfortunes; ``starts`` are runs a second."""

    store: str
    seed: int
    seconds: float
    workers: int = 4
    starts: float = 48.0
    rates: Rates = field(default_factory=Rates)
    patience: float = 180.0
    """Seconds that everything has to end when nothing goes wrong any more."""
    mutant: str | None = None
    """A bug that is planted in every worker, to see it noticed."""
    most: int = 1_000
    """Runs that have not ended, at most: users wait, as they would before a page that does not answer."""


@dataclass(slots=True)
class Result:
    """What became of it."""

    plot: Plot
    counts: Counter[str] = field(default_factory=Counter)
    verdict: Verdict = field(default_factory=Verdict)

    def figures(self) -> dict[str, Any]:
        """The last line of the command."""
        counts, verdict = self.counts, self.verdict
        restarts = counts["server restarts"] if GROUNDS[self.plot.store].serves else counts["worker restarts"]
        faults = {kind: count for kind, count in counts.items() if kind not in NOT_FAULTS}
        return {
            "store": self.plot.store,
            "seed": self.plot.seed,
            "seconds": round(self.plot.seconds),
            "runs": verdict.runs,
            "bodies": verdict.bodies,
            "kills": counts["kills"],
            "restarts": restarts,
            "stops": counts["stops"],
            "faults": sum(faults.values()),
            "by_kind": dict(sorted(counts.items())),
            "lost": len(verdict.lost),
            "second_outcomes": len(verdict.second_outcomes),
            "wrong": len(verdict.wrong),
        }


async def play(plot: Plot, tell: Callable[[str], None]) -> Result:
    """From the first start to the verdict. Leaves no process and no server, however it ends."""
    result = Result(plot)
    async with GROUNDS[plot.store](plot.workers + 1) as ground:
        try:
            with ForkServer(environment=ground.processes, preloaded=PRELOADED) as server:
                await _on(ground, server, plot, result, tell)
        except Exception:
            _keep(ground, tell)
            raise
        if not result.verdict.clean:
            _keep(ground, tell)
    return result


def _keep(ground: Ground, tell: Callable[[str], None]) -> None:
    ground.kept = True
    tell(f"the logs and ledgers of the workers are in {ground.folder}")


async def _on(
    ground: Ground, server: ForkServer, plot: Plot, result: Result, tell: Callable[[str], None]
) -> None:
    world = RealWorld(plot.seed)
    take_the_stage(plot.seed, None)
    people = People(world, plot.seed)
    until = asyncio.get_running_loop().time() + plot.seconds
    crew = Crew(
        ground, server, plot.seed, size=plot.workers, starts=plot.starts / 2, until=until, mutant=plot.mutant
    )
    misfortunes = Misfortunes(ground, crew, plot.seed, plot.rates)
    with heard_errors(ground.folder / "users.log", people.wrong.append):
        async with open_storage(ground.url) as storage, _askers(ground, plot, world, people):
            telling = Telling(storage, people, crew, misfortunes, tell)
            crew.start()
            await _for(
                plot.seconds, misfortunes.go_on(), Acting(people, plot, telling).go_on(), telling.go_on()
            )
            world.faults = misfortunes.counts + crew.counts
            world.calm = True
            await ground.mend()
            crew.heal()
            tell("nothing goes wrong any more: now everything has to end")
            await _until_all_ended(people, world, plot.patience, telling)
            people.stop()
            await crew.close()
            result.counts = misfortunes.counts + crew.counts
            tell("everything is still: judging")
            marks = await asyncio.to_thread(read_ledgers, ground.folder)
            result.verdict = await judge(storage, people, marks)
            result.verdict.wrong += [*crew.wrong, *await _registered(storage)]


@asynccontextmanager
async def _askers(ground: Ground, plot: Plot, world: RealWorld, people: People) -> AsyncGenerator[None]:
    """Two processes that users reach: one by way of a proxy, one directly."""
    for url in (ground.url, ground.url_of(plot.workers)):
        asker = Asker(url, people.wrong)
        await asker.app.__aenter__()
        world.processes.append(asker)
    try:
        yield
    finally:
        await asyncio.gather(*(asker.close() for asker in world.processes))


async def _for(seconds: float, *works: Any) -> None:
    """Do all of it side by side for so long."""
    try:
        async with asyncio.timeout(seconds) as limit, asyncio.TaskGroup() as group:
            for work in works:
                group.create_task(work)
    except TimeoutError:
        if not limit.expired():
            raise


class Acting:
    """Lets the users of one scenario after the other begin, and looks after those that wait too long."""

    def __init__(self, people: People, plot: Plot, telling: Telling) -> None:
        self._people = people
        self._plot = plot
        self._telling = telling

    async def go_on(self) -> None:
        """For ever; cancelled when it is enough."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._begin())
            group.create_task(self._look_after())

    async def _begin(self) -> None:
        number = 0
        while True:
            # A store that is slow gets no more to do for it, or it would be slower still.
            if self._telling.unended < self._plot.most and self._people.unanswered < _MOST_UNANSWERED:
                self._people.begin(number)
                number += 1
            await for_as_long_as(RUNS / (self._plot.starts / 2))

    async def _look_after(self) -> None:
        while True:
            await for_as_long_as(_LOOK_AFTER_EVERY)
            try:
                await self._people.look_after(self._people.world.processes[0], now=SystemClock().now())
            except StorageError:
                continue  # it is out of reach; the next round asks again


async def _until_all_ended(people: People, world: RealWorld, patience: float, telling: Telling) -> None:
    """Heal until nothing is left to end; what has not ended by then is lost, and the judge finds it."""
    try:
        async with asyncio.timeout(patience) as limit:
            told = time.monotonic()
            while True:
                try:
                    left = await people.look_after(world.processes[0])
                except StorageError:
                    left = None  # it is not quite there yet; the next round asks again
                if left == [] and people.content:
                    return
                if time.monotonic() - told > TELL_EVERY:
                    told = time.monotonic()
                    await telling.now()
                await for_as_long_as(0.5)
    except TimeoutError:
        if not limit.expired():
            raise


async def _registered(storage: Storage) -> list[str]:
    """Workers that are still in the store when all have ended and every lease is over."""
    await for_as_long_as(LEASE)
    workers = await storage.list_workers(now=SystemClock().now())
    return [f"{worker.id} is still registered" for worker in workers]
