"""SQLite with several processes on one file: claimed once, told of each other, taken over from the dead."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from stepflow.model.states import RunStatus
from stepflow.storage.base import Storage
from stepflow.storage.opening import open_storage
from stepflow.storage.sqlite.schema import MIGRATIONS
from stepflow.storage.writes import Anything, Committed
from stepflow.testing.storage_contract.building import (
    LEASE,
    LONG,
    SECOND,
    T0,
    a_worker,
    claim,
    claimed_ids,
    commit,
    create,
    get,
    running,
    write,
    write_one,
)

ROOT = Path(__file__).parents[2]


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/shared.db"


@asynccontextmanager
async def two_views(url: str) -> AsyncIterator[tuple[Storage, Storage]]:
    """The same file opened twice, as two processes would."""
    async with AsyncExitStack() as stack:
        yield (
            await stack.enter_async_context(open_storage(url)),
            await stack.enter_async_context(open_storage(url)),
        )


def spawn(code: str, *arguments: str) -> subprocess.Popen[str]:
    """A Python process that can import the contract's building blocks, and speaks through its output."""
    prelude = (
        "import asyncio, os, sys\n"
        "from stepflow.storage.opening import open_storage\n"
        "from stepflow.testing.storage_contract.building import *\n"
    )
    return subprocess.Popen(
        [sys.executable, "-c", prelude + code, *arguments],
        stdout=subprocess.PIPE,
        stdin=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
    )


CLAIM_ALL = """
async def main(url, worker):
    async with open_storage(url) as storage:
        await storage.register_worker(a_worker(worker, lease_until=T0 + LONG))
        print("ready", flush=True)
        sys.stdin.readline()
        while taken := await claim(storage, worker, limit=3):
            print(*(claimed.run.id for claimed in taken), flush=True)
            done = [
                commit(claimed.run.id, claimed.run.seq + 1, worker=worker, transition=Complete(output=value("1")))
                for claimed in taken
            ]
            assert all(isinstance(outcome, Committed) for outcome in await storage.write(done, now=T0))

asyncio.run(main(*sys.argv[1:]))
"""


async def test_four_processes_claim_each_run_once(url: str) -> None:
    async with open_storage(url) as storage:
        await write(storage, *(create(f"r{n:03}") for n in range(200)))
    processes = [spawn(CLAIM_ALL, url, f"w{n}") for n in range(4)]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"

    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    claimed = [process.communicate()[0].split() for process in processes]

    assert sorted(run_id for mine in claimed for run_id in mine) == [f"r{n:03}" for n in range(200)]
    assert [process.returncode for process in processes] == [0, 0, 0, 0]
    async with open_storage(url) as storage:
        assert (await storage.info(now=T0)).runs == {"completed": 200}


WRITE_ON = """
async def main(url):
    async with open_storage(url) as storage:
        await storage.register_worker(a_worker("doomed", lease_until=T0 + LONG))
        await running(storage, "r1", "doomed")
        seq = (await get(storage)).seq
        while True:
            batch = [commit("r1", seq + n, worker="doomed") for n in range(1, 6)]
            assert all(isinstance(outcome, Committed) for outcome in await storage.write(batch, now=T0))
            seq += 5
            print(seq, flush=True)

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.parametrize("round_", range(3))
async def test_what_was_acknowledged_is_there_after_a_kill(url: str, round_: int) -> None:
    process = spawn(WRITE_ON, url)
    assert process.stdout is not None
    acknowledged = [int(process.stdout.readline()) for _ in range(5 + 20 * round_)][-1]
    process.kill()
    acknowledged = max([acknowledged, *map(int, process.communicate()[0].split())])

    async with open_storage(url) as storage:
        rows = await storage.read_journal("r1")
        assert [row.seq for row in rows] == list(range(1, len(rows) + 1))
        assert acknowledged <= len(rows) <= acknowledged + 5

        # Its lock went with it: nobody waits for the lease.
        await storage.register_worker(a_worker("heir"))
        (taken,) = await claim(storage, "heir")
        assert (taken.takeover, taken.run.seq) == (True, len(rows) + 1)
        assert [worker.id for worker in await storage.list_workers(now=T0)] == ["heir"]


async def test_a_living_process_keeps_its_runs(url: str) -> None:
    process = spawn(WRITE_ON, url)
    assert process.stdout is not None
    process.stdout.readline()

    async with open_storage(url) as storage:
        await storage.register_worker(a_worker("heir"))
        assert await claimed_ids(storage, "heir") == []
        process.kill()
        process.communicate()

        assert await claimed_ids(storage, "heir", now=T0 + timedelta(milliseconds=999)) == []
        assert await claimed_ids(storage, "heir", now=T0 + SECOND) == ["r1"]


async def test_a_storage_that_closed_without_a_release_counts_as_dead(url: str) -> None:
    async with open_storage(url) as other:
        async with open_storage(url) as storage:
            await storage.register_worker(a_worker("w1", lease_until=T0 + LONG))
            await running(storage)
        await other.register_worker(a_worker("w2"))

        assert await claimed_ids(other, "w2") == ["r1"]


async def test_a_worker_of_another_storage_of_this_process_is_not_mistaken_for_dead(url: str) -> None:
    async with two_views(url) as (here, there):
        await here.register_worker(a_worker("w1", lease_until=T0 + LONG))
        await there.register_worker(a_worker("w2"))
        await running(here)

        assert await claimed_ids(there, "w2") == []
        assert await claimed_ids(there, "w2", now=T0 + LEASE) == []
        await here.release_worker("w1", now=T0)
        assert await claimed_ids(there, "w2") == ["r1"]


async def test_no_lock_file_is_left_behind(url: str, tmp_path: Path) -> None:
    process = spawn(WRITE_ON, url)
    assert process.stdout is not None
    process.stdout.readline()
    files = tmp_path / "shared.db-workers"
    assert [path.name for path in files.iterdir()] == ["doomed.lock"]
    process.kill()
    process.communicate()

    async with open_storage(url) as storage:
        await storage.register_worker(a_worker("heir"))
        await claim(storage, "heir")
        assert [path.name for path in files.iterdir()] == ["heir.lock"]
        await storage.release_worker("heir", now=T0)

    assert list(files.iterdir()) == []


async def test_another_process_s_write_is_noticed(url: str) -> None:
    async with two_views(url) as (here, there):
        hints = here.wakeups()
        first = asyncio.ensure_future(anext(hints))
        await asyncio.sleep(0)

        # Written until noticed: the poller may begin to look after the first write.
        count = 0
        while not first.done():
            await write(there, create(f"r{count}"))
            await asyncio.sleep(0)  # a lone write runs here and now, without giving others a turn
            count += 1

        assert await first == Anything()
        await hints.aclose()  # type: ignore[attr-defined]


async def test_own_writes_are_not_mistaken_for_those_of_others(url: str) -> None:
    async with open_storage(url) as storage:
        heard: list[object] = []

        async def listen() -> None:
            async for hint in storage.wakeups():
                heard.append(hint)

        listener = asyncio.create_task(listen())
        for n in range(100):
            await write(storage, create(f"r{n}"))
            await asyncio.to_thread(storage.lease_keeper("w").close)
        listener.cancel()

        assert heard
        assert Anything() not in heard


async def test_two_processes_may_open_a_new_file_at_once(url: str) -> None:
    opening = "async def main(url):\n    async with open_storage(url) as s: print((await s.info(now=T0)).schema_version)\nasyncio.run(main(sys.argv[1]))"
    processes = [spawn(opening, url) for _ in range(4)]

    assert [process.communicate()[0] for process in processes] == [f"{len(MIGRATIONS)}\n"] * 4


async def test_writes_of_two_views_take_turns(url: str) -> None:
    async with two_views(url) as (here, there):
        await running(here, "r1")
        await running(there, "r2")

        async def commits(storage: Storage, run_id: str) -> None:
            for seq in range(2, 60):
                await write_one(storage, commit(run_id, seq), Committed)

        async with asyncio.TaskGroup() as group:
            group.create_task(commits(here, "r1"))
            group.create_task(commits(there, "r2"))

        assert (await get(here, "r2")).seq == (await get(there, "r1")).seq == 59
        assert (await get(here, "r2")).status is RunStatus.RUNNING
