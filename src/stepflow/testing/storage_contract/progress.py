"""Progress: how far many runs are, asked in one look."""

from __future__ import annotations

from stepflow.model.runs import Progress
from stepflow.model.states import RunStatus
from stepflow.storage.base import Storage
from stepflow.storage.writes import Action, Continue, Suspend
from stepflow.testing.storage_contract.building import (
    arrive_at,
    commit,
    control,
    create,
    ended,
    get,
    running,
    value,
    write,
)
from stepflow.testing.storage_contract.running import Contract

_MANY = 1_000


class ProgressContract(Contract):
    """Looking at many runs."""

    async def test_the_progress_of_a_run_is_what_its_record_says_in_every_status(
        self, storage: Storage
    ) -> None:
        for status in RunStatus:
            await arrive_at(storage, status, f"run-{status}")

        found = await storage.read_progress([f"run-{status}" for status in RunStatus])

        records = [await get(storage, f"run-{status}") for status in RunStatus]
        assert found == {record.id: Progress(record.seq, record.status) for record in records}

    async def test_every_commit_moves_the_progress(self, storage: Storage) -> None:
        await running(storage)
        before = await storage.read_progress(["r1"])
        await write(storage, commit())
        between = await storage.read_progress(["r1"])
        await write(storage, commit(seq=3, transition=Suspend()))
        after = await storage.read_progress(["r1"])

        assert (before["r1"].seq, between["r1"].seq, after["r1"].seq) == (1, 2, 3)
        assert after["r1"].status is RunStatus.SUSPENDED

    async def test_a_run_that_goes_on_as_a_fresh_one_goes_on_in_its_progress(self, storage: Storage) -> None:
        await running(storage)
        await write(storage, commit(transition=Continue(input=value("2"))))

        assert await storage.read_progress(["r1"]) == {"r1": Progress(2, RunStatus.RUNNING)}

    async def test_runs_that_do_not_exist_are_left_out(self, storage: Storage) -> None:
        await ended(storage)
        await write(storage, create("r2"), control("r1", Action.DELETE))

        assert await storage.read_progress(["r1", "r2", "r3"]) == {"r2": Progress(0, RunStatus.QUEUED)}
        assert await storage.read_progress([]) == {}

    async def test_a_thousand_runs_are_looked_at_at_once(self, storage: Storage) -> None:
        await write(storage, *(create(f"r{number}") for number in range(_MANY)))

        found = await storage.read_progress([f"r{number}" for number in range(_MANY)])

        assert len(found) == _MANY
