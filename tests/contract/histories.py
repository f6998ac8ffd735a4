"""Random histories of a store: any call that the port has, mostly such as make sense, on few ids so that they meet."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import datetime, timedelta
from random import Random
from typing import Any

from msgspec.structs import replace

from stepflow.model.events import NewEvent, Wait
from stepflow.model.journal import CancelRequested, Entry
from stepflow.model.payloads import Payload
from stepflow.model.runs import NewRun, ParentLink, RunFilter
from stepflow.model.states import PauseReason, RunStatus
from stepflow.storage.base import Storage
from stepflow.storage.writes import (
    Action,
    Cancel,
    CommitRun,
    Complete,
    Continue,
    ControlRun,
    CreateRun,
    Fail,
    Pause,
    Release,
    SendEvent,
    Suspend,
    Transition,
    Write,
)
from stepflow.testing.storage_contract.building import (
    FAILURE,
    LEASE,
    SECOND,
    T0,
    a_step,
    a_worker,
    start,
    value,
)

RUNS = [f"r{n}" for n in range(6)]
WORKERS = ["w0", "w1", "w2"]
EVENTS = ["paid", "shipped", "run/r1", "run/r2"]
QUEUES = ["default", "slow"]
WRITES = ["commit"] * 6 + ["send", "send", "control", "create", "start", "start", "again", "astray"]
DELAYS = [timedelta(0), timedelta(0), SECOND, -SECOND, timedelta(hours=1)]


class Dice:
    """Makes random values; the same ``Random`` makes the same ones."""

    def __init__(self, random: Random) -> None:
        self.random = random

    def pick(self, choices: Any) -> Any:
        return choices[self.random.randrange(len(choices))]

    def chance(self, one_in: int) -> bool:
        return self.random.randrange(one_in) == 0

    def value(self) -> Payload:
        return value(self.pick(["null", "1", '"two"', "[3 ]"]))

    def instant(self) -> datetime:
        return T0 + self.pick(DELAYS)

    def event(self) -> NewEvent:
        return NewEvent(
            event_id=self.pick(EVENTS),
            payload=self.value(),
            run_id=self.pick([None, None, *RUNS]),
            dedup_id=self.pick([None, None, "d", "e"]),
            once=self.chance(4),
        )

    def wait(self) -> Wait:
        return Wait(event_id=self.pick(EVENTS), after=self.random.randrange(12), name=self.pick(["", "n"]))

    def run(self, run_id: str | None = None) -> NewRun:
        parent = None
        if self.chance(2):
            parent = ParentLink(run_id=self.pick(RUNS), key="k", detached=self.chance(4))
        return NewRun(
            id=run_id or self.pick(RUNS),
            workflow_id=self.pick(["checkout"] * 4 + ["refund"]),
            input=value("1") if self.chance(2) else self.value(),
            created_at=self.instant(),
            due_at=self.instant(),
            queue=self.pick(QUEUES),
            priority=self.pick([-1, 0, 1]),
            tags=self.pick([{}, {"tier": "gold"}]),
            idempotency_key=self.pick([None, None, None, "k", "l"]),
            parent=parent,
        )

    def transition(self) -> Transition | None:
        moves: list[Transition | None] = [
            None,
            Release(),
            Cancel(),
            Fail(failure=FAILURE),
            Suspend(),
            Suspend(),
            Suspend(wake_at=self.instant()),
            Complete(output=self.value()),
            Pause(reason=self.pick(list(PauseReason))),
            Continue(input=self.value()),
        ]
        return self.pick(moves)  # type: ignore[no-any-return]

    def some(self, make: Any) -> tuple[Any, ...]:
        return tuple(make() for _ in range(self.pick([0, 0, 0, 1, 2])))

    def commit(self, run_id: str, seq: int, worker: str) -> CommitRun:
        entries: list[Entry] = [a_step(f"step-{seq}")]
        if self.chance(10):
            entries.append(CancelRequested(at=T0))
        rest: dict[str, Any] = {}
        if not self.chance(3):
            rest = {
                "transition": self.transition(),
                "creates": self.some(self.run),
                "sends": self.some(self.event),
                "waits": self.some(self.wait),
                "unwaits": self.some(lambda: self.pick(EVENTS)),
                "cancels": self.some(lambda: self.pick(RUNS)),
                "attempt": self.pick([None, None, None, 1, 2, 3]),
            }
        return CommitRun(
            run_id=run_id,
            seq=seq,
            writer=worker,
            write_id=f"{worker}-{self.random.randrange(2)}",
            entries=tuple(entries),
            **rest,
        )

    def start(self, run_id: str, worker: str) -> CreateRun:
        run = self.run(run_id)
        first = self.commit(run_id, 1, worker)
        claimed = start(run, worker).commit
        assert claimed is not None
        entries = (*claimed.entries, *first.entries)
        return CreateRun(run=run, commit=replace(first, entries=entries))


class History:
    """Plays one random call after the other on two storages, which must answer alike."""

    def __init__(self, random: Random, first: Storage, second: Storage) -> None:
        self.dice = Dice(random)
        self.first, self.second = first, second
        self.now = T0
        self.sent: list[Write] = [SendEvent(event=self.dice.event())]

    async def begin(self) -> None:
        """Some runs that are under way: from nothing, chance would rarely get that far."""
        for worker in WORKERS:
            await self.same("register_worker", a_worker(worker))
        await self.write([self.dice.start(run_id, self.dice.pick(WORKERS)) for run_id in RUNS[:4]])

    async def step(self) -> None:
        """One random call."""
        dice = self.dice
        worker = dice.pick(WORKERS)
        match dice.random.randrange(20):
            case 0:
                self.now += dice.pick([SECOND, LEASE, timedelta(hours=1)])
            case 1:
                name = dice.pick([None, "pod"])
                lease_until = self.now + LEASE
                await self.same(
                    "register_worker",
                    replace(a_worker(worker, name=name), started_at=self.now, lease_until=lease_until),
                )
            case 2:
                await self.same("release_worker", worker, now=self.now)
            case 3:
                assert self.renew(self.first, worker) == self.renew(self.second, worker)
            case 4:
                await self.prune()
            case 5 | 6 | 7 | 8:
                await self.claim(worker)
            case _:
                await self.write(await self.batch())

    @property
    def both(self) -> tuple[Storage, Storage]:
        return self.first, self.second

    def renew(self, storage: Storage, worker: str) -> bool:
        keeper = storage.lease_keeper(worker)
        try:
            return keeper.renew(self.now, LEASE)
        finally:
            keeper.close()

    async def same(self, method: str, *arguments: Any, **options: Any) -> Any:
        expected = await getattr(self.first, method)(*arguments, **options)
        got = await getattr(self.second, method)(*arguments, **options)
        assert got == expected
        return expected

    # -------------------------------------------------------------- calls
    async def write(self, batch: list[Write]) -> None:
        self.sent = [*batch, *self.sent][:8]
        await self.same("write", batch, now=self.now)

    async def batch(self) -> list[Write]:
        batch: list[Write] = []
        for _ in range(self.dice.pick([1, 1, 2, 3, 5])):
            ahead = Counter(write.run_id for write in batch if isinstance(write, CommitRun))
            batch.append(await self.a_write(self.dice.pick(WRITES), ahead))
        return batch

    async def a_write(self, kind: str, ahead: Mapping[str, int]) -> Write:
        dice = self.dice
        run_id, worker = dice.pick(RUNS), dice.pick(WORKERS)
        match kind:
            case "create":
                return CreateRun(run=dice.run())
            case "start":
                return dice.start(run_id, worker)
            case "send":
                return SendEvent(event=dice.event())
            case "control":
                return ControlRun(run_id=run_id, action=dice.pick(list(Action)))
            case "again":
                return dice.pick(self.sent)  # type: ignore[no-any-return]
            case "commit":
                runs = [await self.first.get_run(run_id) for run_id in RUNS]
                owned = [run for run in runs if run is not None and run.worker is not None]
                if owned:
                    run = dice.pick(owned)
                    return dice.commit(run.id, run.seq + 1 + ahead.get(run.id, 0), run.worker)
        return dice.commit(run_id, dice.random.randrange(1, 9), worker)

    async def claim(self, worker: str) -> None:
        dice = self.dice
        await self.same(
            "claim_runs",
            worker,
            queues={"default": dice.pick([9, 1]), "slow": dice.pick([9, 0])},
            known={run_id: dice.random.randrange(8) for run_id in RUNS[:3]},
            limit=dice.pick([1, 2, 9]),
            now=self.now,
            workflows=dice.pick([None, None, ["checkout"], ["refund", "other"], []]),
        )

    async def prune(self) -> None:
        instants = [None, self.now, self.now - SECOND]
        await self.same(
            "prune",
            ended_before=self.dice.pick(instants),
            events_before=self.dice.pick(instants),
            limit=self.dice.pick([1, 2, 9]),
        )

    # -------------------------------------------------------------- everything that can be read
    async def compare(self) -> None:
        """Whatever can be read reads the same."""
        expected, got = await self.readable(self.first), await self.readable(self.second)
        for name, found in expected.items():
            assert got[name] == found, name

    async def readable(self, storage: Storage) -> dict[str, Any]:
        info = await storage.info(now=self.now)
        waits = [(run_id, Wait(event_id=event_id, after=2)) for run_id in RUNS for event_id in EVENTS]
        return {
            "runs": [await storage.get_run(run_id) for run_id in RUNS],
            "journals": [list(await storage.read_journal(run_id)) for run_id in RUNS],
            "keys": [await storage.find_run(key) for key in ("k", "l")],
            "events": await storage.read_events(waits),
            "listed": await storage.list_runs(RunFilter(tags={"tier": "gold"}), limit=2),
            "asleep": await storage.list_runs(RunFilter(statuses=frozenset({RunStatus.SUSPENDED}))),
            "due": [
                await storage.next_due([queue], now=self.now, workflows=workflows)
                for queue in QUEUES
                for workflows in (None, ["refund"])
            ],
            "workers": list(await storage.list_workers(now=self.now)),
            "requests": [list(await storage.read_requests(worker)) for worker in WORKERS],
            "counts": (dict(info.runs), info.journal_rows, info.events, info.events_pinned_by),
        }
