"""A frozen owner is fenced on every kind of write: it is stopped with all of them on their way, and wakes when others have gone on."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from stepflow import RunCancelledError, RunFailedError, RunHandle, Stepflow
from stepflow.model.journal import StepCompleted
from stepflow.storage.base import Storage
from stepflow.storage.opening import open_storage
from tests.crash.conftest import Scene
from tests.crash.forking import ForkServer
from tests.crash.frozen import KINDS, WORKFLOWS, Outcomes, frozen
from tests.servers.polling import until
from tests.servers.stores import FULL, LASTING, Stores, stores

__all__ = ["stores"]

STORES = LASTING if FULL else ("postgres", "redis", "libsql")
RESULTS = {
    "checkpoint": "checkpoint", "sleep": "sleep", "wait": "went", "child": "7", "send": "send",
    "cancel-child": "cancelled it", "complete": "complete", "continue": "continued",
}  # fmt: skip


class AnyScene(Scene):
    """Processes that share whatever store there is."""

    def __init__(self, directory: Path, server: ForkServer, url: str) -> None:
        super().__init__(directory, server)
        self._url = url

    @property
    def url(self) -> str:
        return self._url


@pytest.fixture(params=STORES)
def scene(
    request: pytest.FixtureRequest, tmp_path: Path, fork_server: ForkServer, stores: Stores
) -> Iterator[AnyScene]:
    yield AnyScene(tmp_path, fork_server, stores.fresh(request.param))
    fork_server.end_children()


async def stand(app: Stepflow) -> dict[str, RunHandle[str]]:
    """All of the runs, each on its way to the place where it is frozen."""
    runs = {kind: await app.trigger(frozen, kind, id=kind) for kind in KINDS}

    async def is_suspended() -> bool:
        return (await app.get_run("cancelled")).status == "suspended"

    await until(is_suspended)
    await runs["cancelled"].cancel()
    return runs


async def outcome(run: RunHandle[str]) -> str:
    try:
        return await run.result(timeout="40s")
    except RunFailedError as error:
        return f"failed: {error.message}"
    except RunCancelledError:
        return "was cancelled"


@pytest.mark.deadline(55)
async def test_every_kind_of_write_of_a_frozen_owner_is_refused(scene: AnyScene) -> None:
    woken, told = scene.directory / "woken", scene.directory / "told"
    async with Stepflow(scene.url, workflows=WORKFLOWS, worker=False) as app:
        zombie = scene.start("frozen:serve", phase="zombie", lease="2s", woken=str(woken), told=str(told))
        runs = await stand(app)
        await asyncio.to_thread(zombie.wait_until_stopped)
        heir = scene.start("frozen:serve", phase="heir", lease="2s")
        await app.notify("go/wait", "went", run_id="wait", id="go")
        ends = dict(zip(runs, await asyncio.gather(*map(outcome, runs.values())), strict=True))
        async with open_storage(scene.url) as storage:
            before = await state(storage)

            woken.touch()
            zombie.send(signal.SIGCONT)
            await until(lambda: told.exists() and told_of(told).keys() >= set(KINDS))

            assert await state(storage) == before
            await check_journals(storage)

    zombie.end_in_peace()
    heir.end_in_peace()
    assert ends == RESULTS | {"fail": "failed: as it should", "cancelled": "was cancelled"}
    assert told_of(told) == dict.fromkeys(KINDS, "Fenced")
    # What was met in one process is met again in the other, and nothing after it was begun in the first.
    assert {effect.key for effect in scene.effects() if effect.phase == "zombie"} == {"meet"}


def told_of(told: Path) -> dict[str, str]:
    return msgspec.json.decode(told.read_bytes(), type=Outcomes).of


async def state(storage: Storage) -> list[object]:
    """Everything that there is of the runs."""
    found: list[object] = []
    for kind in KINDS:
        found += [await storage.get_run(kind), list(await storage.read_journal(kind))]
    return found


async def check_journals(storage: Storage) -> None:
    """Without a gap, and with one outcome of each step."""
    for kind in KINDS:
        rows = await storage.read_journal(kind)
        first = rows[0].seq
        assert [row.seq for row in rows] == list(range(first, first + len(rows)))
        keys = [entry.key for row in rows for entry in row.entries if isinstance(entry, StepCompleted)]
        assert len(keys) == len(set(keys))
