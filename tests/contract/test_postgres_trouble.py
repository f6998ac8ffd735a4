"""PostgreSQL in real trouble under load: deadlocks, refused transactions, ended sessions, a full disk. Everything finishes, once."""

from __future__ import annotations

import asyncio
import errno
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from stepflow.errors import StorageUnavailableError
from stepflow.storage.opening import open_storage
from stepflow.storage.writes import Action, Controlled
from stepflow.testing.storage_contract.building import control, create, running, write
from tests.contract.cutting import persistently
from tests.contract.test_outages import done_once, is_at_work, some_steps, working
from tests.contract.working import begin, finish
from tests.servers.faulty_disk import faulty_disk
from tests.servers.postgres import (
    another_server,
    at_port,
    connected,
    emptied,
    execute_here,
    port_of,
    postgres_url,
)
from tests.servers.proxy import FaultProxy

__all__ = ["faulty_disk"]

SCHEMA = "trouble"
TERMINATE = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'stepflow'"

pytestmark = pytest.mark.deadline(50)


@pytest.fixture(autouse=True)
def url() -> str:
    return emptied(SCHEMA)


# ------------------------------------------------------------------ deadlocks and refused transactions
async def test_the_victim_of_a_deadlock_says_so_and_may_repeat_it(url: str) -> None:
    async with open_storage(url) as storage, connected(url) as other:
        await running(storage, "r1")
        await running(storage, "r2")
        # The other side locks in the opposite order, and is the more patient one: ours is the victim.
        await other.execute("SET deadlock_timeout = '30s'")
        transaction = other.transaction()
        await transaction.start()
        await other.execute(f"SELECT 1 FROM {SCHEMA}.runs WHERE id = 'r2' FOR UPDATE")
        both = [control("r1", Action.CANCEL), control("r2", Action.CANCEL)]
        writing = asyncio.create_task(write(storage, *both))
        await until_waiting(url)
        locking = asyncio.create_task(
            other.execute(f"SELECT 1 FROM {SCHEMA}.runs WHERE id = 'r1' FOR UPDATE")
        )

        with pytest.raises(StorageUnavailableError, match="deadlock"):
            await writing
        await locking
        await transaction.rollback()

        outcomes = await persistently(lambda: write(storage, *both))
        assert all(isinstance(outcome, Controlled) for outcome in outcomes)


async def until_waiting(url: str) -> None:
    """Wait until a statement on our tables waits for a lock."""
    async with connected(url) as connection:
        while not await connection.fetchval(  # noqa: ASYNC110
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE $1",
            f"%{SCHEMA}.%",
        ):
            await asyncio.sleep(0)  # the server tells only who asks


REFUSE = """
CREATE SEQUENCE IF NOT EXISTS {schema}.refusals;
CREATE OR REPLACE FUNCTION {schema}.refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF nextval('{schema}.refusals') % 3 = 0 THEN RAISE EXCEPTION 'not now' USING ERRCODE = '{code}'; END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER refuse AFTER INSERT ON {schema}.journal FOR EACH STATEMENT EXECUTE FUNCTION {schema}.refuse()
"""
ALLOW = (
    "DROP TRIGGER refuse ON {schema}.journal; DROP FUNCTION {schema}.refuse; DROP SEQUENCE {schema}.refusals"
)


@pytest.mark.parametrize("code", ["40001", "40P01", "57014", "53300"])
async def test_transactions_that_the_server_refuses_at_their_end_are_repeated(url: str, code: str) -> None:
    async with working(url) as (_, client):
        await execute_here(url, REFUSE.format(schema=SCHEMA, code=code))
        try:
            runs = await begin(client, range(30))
            await finish(runs)
        finally:
            await execute_here(url, ALLOW.format(schema=SCHEMA))

        await is_at_work(client)
        done_once()


@asynccontextmanager
async def another_database(**settings: str) -> AsyncIterator[str]:
    """A database of the session's server with settings of its own."""
    base, name = postgres_url(), "stepflow_settings"
    await execute_here(base, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
    await execute_here(base, f"CREATE DATABASE {name}")
    for setting, value in settings.items():
        await execute_here(base, f"ALTER DATABASE {name} SET {setting} = '{value}'")
    yield base.partition("?")[0].rpartition("/")[0] + f"/{name}"
    await execute_here(base, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.mark.parametrize("level", ["serializable", "repeatable read"])
async def test_a_database_whose_transactions_are_stricter_by_default_does_as_well(level: str) -> None:
    async with another_database(default_transaction_isolation=level) as url, working(url) as (_, client):
        await finish(await begin(client, range(30)))

        done_once()


async def test_a_server_that_becomes_read_only_is_waited_for() -> None:
    async with another_database() as url, working(url) as (_, client):
        setting = f"ALTER DATABASE {url.rpartition('/')[2]} SET default_transaction_read_only = "
        runs = await begin(client, range(30))
        await execute_here(postgres_url(), f"{setting} on", TERMINATE)
        async with open_storage(url) as storage:
            with pytest.raises(StorageUnavailableError, match="read-only"):
                await write(storage, create("refused"))
        await execute_here(postgres_url(), f"{setting} off", TERMINATE)

        await finish(runs)

        await is_at_work(client)
        done_once()


# ------------------------------------------------------------------ sessions
async def test_sessions_that_are_terminated_again_and_again_repeat_nothing(url: str) -> None:
    async with working(url) as (_, client), connected(url) as administrator:
        runs = await begin(client, range(90))
        finishing = asyncio.ensure_future(finish(runs))
        terminated = 0
        while not finishing.done() and terminated < 200:
            terminated += len(await administrator.fetch(TERMINATE))
            await asyncio.wait([finishing], timeout=0.2)

        await finishing

        assert terminated >= 5
        await is_at_work(client)
        done_once()


async def test_too_many_connections_are_said_to_be_and_waited_for() -> None:
    async with another_database() as url:
        await execute_here(
            url,
            "DROP ROLE IF EXISTS stepflow_few",
            "CREATE ROLE stepflow_few LOGIN CONNECTION LIMIT 1",
            f"GRANT CREATE ON DATABASE {url.rpartition('/')[2]} TO stepflow_few",
        )
        few = url.replace("postgres@", "stepflow_few@", 1)
        async with connected(few):
            with pytest.raises(StorageUnavailableError, match="max_connections"):
                async with open_storage(few):
                    pytest.fail("there is no room")


async def test_an_idle_transaction_of_somebody_else_holds_nothing_up(url: str) -> None:
    async with working(url) as (_, client), connected(url) as other:
        async with other.transaction(isolation="repeatable_read", readonly=True):
            await other.fetch(f"SELECT count(*) FROM {SCHEMA}.runs")
            await finish(await begin(client, range(60)))

        done_once()


async def test_no_connection_is_left_over(url: str) -> None:
    ours = "SELECT state FROM pg_stat_activity WHERE application_name = 'stepflow'"
    async with (
        FaultProxy(port_of(url)) as proxy,
        working(at_port(url, proxy.port) + "&pool_size=4") as (_, client),
    ):
        runs = await begin(client, range(60))
        await some_steps(10)
        proxy.cut_all()
        await finish(runs)
        open_now = await execute_here(url, ours)
        # Of each process: the pool, the hints, the leases, and what is kept for users' transactions.
        assert len(open_now) <= 2 * (4 + 2 + 4)

    async with asyncio.timeout(10):
        while await execute_here(url, ours):
            pass
    assert not await execute_here(url, f"{ours} AND state = 'idle in transaction'")


# ------------------------------------------------------------------ a full disk
@pytest.fixture
def control_file(faulty_disk: Path) -> Iterator[tuple[str, Path]]:
    """A server of its own, and the file that says that its disk is full."""
    folder = Path(tempfile.mkdtemp(prefix="stepflow-full-"))
    folder.chmod(0o755)
    control = folder / "control"
    server = another_server(
        environment={
            "LD_PRELOAD": str(faulty_disk),
            "STEPFLOW_FAULTY_DISK": str(control),
            "STEPFLOW_FAULTY_FILES": "/base/",
        }
    )
    yield server.url, control
    server.stop()


async def test_a_full_disk_is_said_to_be_and_runs_go_on_when_there_is_space(
    control_file: tuple[str, Path], caplog: pytest.LogCaptureFixture
) -> None:
    url, control = control_file
    async with working(url) as (_, client):
        await finish(await begin(client, range(10), name="before"))
        control.write_text(f"100 {errno.ENOSPC}")
        full = asyncio.Event()

        async def fill_it() -> None:
            """As many runs as it takes until the pages that there are, are full."""
            number = 0
            while not full.is_set():
                await finish(await begin(client, range(60), name=f"filling-{number}"))
                number += 1

        filling = asyncio.ensure_future(fill_it())
        while "No space left on device" not in caplog.text:
            await asyncio.wait([filling], timeout=0.02)  # a log tells nobody
        full.set()
        control.unlink()

        await filling

        assert "free some" in caplog.text or "space" in caplog.text
        await is_at_work(client)
        done_once()
