"""Power loss: the files as they are at some instant, opened elsewhere, lack nothing that was acknowledged by then.

The writer is stopped for the moment of the copy, so each copy is one instant. A disk may hold less: what was written since the last
sync, a transaction that nobody was told of, may be torn. In half of the copies that end of the log is overwritten at random.
"""

from __future__ import annotations

import random
import shutil
import signal
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from stepflow.clock import SystemClock
from stepflow.storage.opening import open_storage
from stepflow.storage.sqlite.connection import connect
from stepflow.storage.sqlite.options import read_url
from tests.crash.conftest import Scene
from tests.crash.forking import Child
from tests.crash.invariants import check_finished, check_standing, opened
from tests.crash.pipes import News
from tests.crash.workers import read_acknowledged

COPIES = 12
_LOG_HEADER, _FRAME_HEADER = 32, 24


@pytest.fixture
def news(scene: Scene) -> Iterator[News]:
    with closing(News(scene.directory / "news")) as news:
        yield news


def take_picture(scene: Scene, writer: Child, number: int) -> tuple[Scene, set[str]]:
    """Copy the files as they are right now; and what the writer had been told by then."""
    writer.send(signal.SIGSTOP)
    writer.wait_until_stopped()
    copy = scene.elsewhere(f"copy-{number}")
    for suffix in ("", "-wal"):
        shutil.copy(f"{scene.database}{suffix}", f"{copy.database}{suffix}")
    shutil.copytree(f"{scene.database}-workers", f"{copy.database}-workers")
    told = read_acknowledged(scene.directory / "told")
    writer.send(signal.SIGCONT)
    return copy, told


def committed_length(log: bytes) -> int:
    """Where the last whole transaction of a write-ahead log ends (https://sqlite.org/fileformat2.html#walformat)."""
    page = int.from_bytes(log[8:12], "big")
    salts = log[16:24]
    end = place = _LOG_HEADER
    while place + _FRAME_HEADER + page <= len(log) and log[place + 8 : place + 16] == salts:
        closes = int.from_bytes(log[place + 4 : place + 8], "big") > 0
        place += _FRAME_HEADER + page
        if closes:
            end = place
    return end


def tear(log: Path, chance: random.Random) -> None:
    """Overwrite what lies behind the last whole transaction, and some more, at random."""
    data = log.read_bytes()
    kept = committed_length(data)
    log.write_bytes(data[:kept] + chance.randbytes(max(len(data) - kept, chance.randint(1, 20_000))))


def check_kept(copy: Path, told: set[str]) -> None:
    """Everything acknowledged is in the copy."""
    with opened(copy) as connection:
        runs = dict(connection.execute("SELECT id, status FROM stepflow_runs").fetchall())
        events = {event_id for (event_id,) in connection.execute("SELECT event_id FROM stepflow_events")}
    ended = {f"{run_id}:ended" for run_id, status in runs.items() if status == "completed"}
    assert told <= runs.keys() | events | ended, "acknowledged, and lost"


def test_copies_of_the_files_at_any_instant_hold_all_that_was_acknowledged(scene: Scene, news: News) -> None:
    chance = random.Random(20)
    scene.durable = True
    writer = scene.start(
        "workers:write_on", phase="writer", told=str(scene.directory / "told"), news=str(news.path)
    )
    copies: list[tuple[Scene, set[str]]] = []
    for number in range(COPIES):
        for _ in range(chance.randint(10, 110)):
            news.next()
        copies.append(take_picture(scene, writer, number))
    writer.kill()
    writer.wait()

    for number, (copy, told) in enumerate(copies):
        if number % 2:
            tear(copy.database.with_name("crash.db-wal"), chance)
        check_standing(copy.database)
        check_kept(copy.database, told)
    assert len(copies[-1][1]) > 100
    last, told = copies[-1]
    finisher = last.start("workers:finish_errands", phase="finisher", known=sorted(told))
    finisher.must_succeed()
    check_finished(last.database)


async def test_every_write_is_synced_unless_the_url_says_otherwise(scene: Scene) -> None:
    scene.durable = True
    options = read_url(scene.url)
    with closing(connect(options.path, synchronous=options.synchronous, patience=1.0)) as connection:
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,)

    async with open_storage(scene.url) as storage:
        from_storage = (await storage.info(now=SystemClock().now())).durability

    assert from_storage == "synchronous=full: every acknowledged write survives a power loss"
