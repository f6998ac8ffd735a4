"""Redis with TLS, users and a replica: who may come in, and what a failover takes with it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from stepflow import Stepflow
from stepflow.errors import StorageError, StorageUnavailableError
from stepflow.model.states import RunStatus
from stepflow.storage.opening import open_storage
from stepflow.storage.writes import Committed, Fenced, Suspend
from stepflow.testing.storage_contract.building import (
    LEASE,
    LONG,
    T0,
    a_worker,
    claim,
    claimed_ids,
    commit,
    create,
    get,
    running,
    write,
)
from tests.contract.cutting import persistently
from tests.contract.working import WORKFLOWS, begin, finish
from tests.servers.certificates import Certificates, TlsFront
from tests.servers.polling import until
from tests.servers.proxy import FaultProxy
from tests.servers.redis import ask, fresh, redis_binary, redis_server, redis_url, valkey_binary
from tests.servers.running import Server, free_port

__all__ = ["redis_url"]


async def refusal(url: str) -> StorageError:
    """What opening says; in one line, without the password."""
    with pytest.raises(StorageError) as caught:
        async with open_storage(url):
            pytest.fail("it opened")
    assert "\n" not in str(caught.value)
    assert "s3cret" not in str(caught.value)
    assert "wr0ng" not in str(caught.value)
    return caught.value


# ------------------------------------------------------------------ TLS
@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    return Certificates(tmp_path)


@pytest.mark.deadline(50)
async def test_runs_and_leases_go_over_tls(redis_url: str, certificates: Certificates) -> None:
    port = int(redis_url.rpartition(":")[2])
    async with TlsFront(port, certificates) as front:
        url = fresh(f"rediss://127.0.0.1:{front.port}") + f"&ca_certs={certificates.authority}"
        async with Stepflow(url, workflows=WORKFLOWS, worker=True) as app:
            await finish(await begin(app, range(6)))
        async with open_storage(url) as storage:
            await storage.register_worker(a_worker())
            assert await asyncio.to_thread(storage.lease_keeper("w1").renew, T0, LONG)


async def test_a_server_whose_certificate_nobody_vouches_for_is_refused(
    redis_url: str, certificates: Certificates
) -> None:
    async with TlsFront(int(redis_url.rpartition(":")[2]), certificates) as front:
        error = await refusal(f"rediss://:s3cret@127.0.0.1:{front.port}")
        assert "certificate" in str(error).lower()

        other = await refusal(f"rediss://127.0.0.1:{front.port}?ca_certs=/nowhere/at-all.pem")
        assert "ca_certs" in str(other) or "No such file" in str(other)

        async with open_storage(fresh(f"rediss://127.0.0.1:{front.port}") + "&verify=false") as storage:
            await running(storage)


async def test_tls_where_there_is_none_is_said_so(redis_url: str) -> None:
    error = await refusal(f"{redis_url.replace('redis://', 'rediss://')}?timeout=2s")

    assert isinstance(error, StorageUnavailableError)
    assert "rediss://" in str(error)


# ------------------------------------------------------------------ users
@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[int]:
    port = free_port()
    server = redis_server(redis_binary(), tmp_path, port)
    server.start()
    assert ask(
        port, "ACL", "SETUSER", "shop", "on", ">s3cret", "~shop:*", "resetchannels", "&shop:*", "+@all"
    ).startswith("+OK")
    assert ask(port, "ACL", "SETUSER", "reader", "on", ">s3cret", "~*", "&*", "+@read", "+ping", "+info").startswith("+OK")  # fmt: skip
    assert ask(port, "ACL", "SETUSER", "default", "off").startswith("+OK")
    yield port
    server.stop()


async def test_a_user_with_the_keys_of_its_prefix_has_all_that_is_needed(guarded: int) -> None:
    url = f"redis://shop:s3cret@127.0.0.1:{guarded}?prefix=shop:"

    async with Stepflow(url, workflows=WORKFLOWS, worker=True) as app:
        await finish(await begin(app, range(6)))


@pytest.mark.parametrize(
    ("who", "says"),
    [
        ("shop:wr0ng@", "refused the user or the password"),
        ("nobody:s3cret@", "refused the user or the password"),
        ("", "refused the user or the password"),
        ("reader:s3cret@", "give this user the commands and keys that it lacks"),
    ],
)
async def test_who_may_not_come_in_is_told_why(who: str, says: str, guarded: int) -> None:
    error = await refusal(f"redis://{who}127.0.0.1:{guarded}?prefix=shop:")

    assert not isinstance(error, StorageUnavailableError)
    assert says in str(error)


async def test_keys_of_another_prefix_are_not_for_everybody(guarded: int) -> None:
    error = await refusal(f"redis://shop:s3cret@127.0.0.1:{guarded}?prefix=other:")

    assert "keys" in str(error)


# ------------------------------------------------------------------ a replica that takes over
class Pair:
    """A master, and a replica that follows it."""

    def __init__(self, folder: Path, binary: Path) -> None:
        self.ports = [free_port(), free_port()]
        more = ("--appendonly", "yes", "--repl-diskless-sync-delay", "0")
        self.servers: list[Server] = [
            redis_server(binary, folder / str(port), port, *more) for port in self.ports
        ]

    def start(self) -> None:
        for server in self.servers:
            server.start()
        ask(self.ports[1], "REPLICAOF", "127.0.0.1", str(self.ports[0]))

    async def in_step(self) -> None:
        await until(lambda: "master_link_status:up" in ask(self.ports[1], "INFO", "replication"))

    def fail_over(self) -> None:
        """The master is gone, with what the replica has not got."""
        self.servers[0].kill()
        assert ask(self.ports[1], "REPLICAOF", "NO", "ONE").startswith("+OK")

    def stop(self) -> None:
        for server in self.servers:
            server.kill()


@pytest.fixture(params=["redis", "valkey"])
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Pair]:
    pair = Pair(tmp_path, redis_binary() if request.param == "redis" else valkey_binary())
    pair.start()
    yield pair
    pair.stop()


class Address(FaultProxy):
    """One address for a master and who comes after it, as a hosted server has."""

    def lead_to(self, port: int) -> None:
        self._target = port
        self.cut_all()


@pytest.mark.deadline(50)
async def test_a_failover_in_the_middle_of_runs_breaks_nothing(pair: Pair) -> None:
    await pair.in_step()
    async with Address(pair.ports[0]) as address:
        url = f"redis://127.0.0.1:{address.port}"
        async with Stepflow(url, workflows=WORKFLOWS, worker=True, worker_name="one", grace="1s") as app:
            await begin(app, range(30))
            await asyncio.to_thread(pair.fail_over)
            address.lead_to(pair.ports[1])
            await begin(app, range(3), name="later")

        # A worker that knows more than the store has kept is fenced. What was lost is started and done again.
        async with Stepflow(url, workflows=WORKFLOWS, worker=True, worker_name="one") as app:
            await finish(await begin(app, range(30)))
            await finish(await begin(app, range(3), name="later"))


@pytest.mark.deadline(50)
async def test_what_a_lagging_replica_lost_is_done_again_and_the_old_writer_is_fenced(pair: Pair) -> None:
    await pair.in_step()
    async with (
        Address(pair.ports[0]) as address,
        open_storage(f"redis://127.0.0.1:{address.port}") as storage,
    ):
        await storage.register_worker(a_worker("w1"))
        await storage.register_worker(a_worker("w2", lease_until=T0 + LONG))
        await running(storage, "r1", "w1")
        await until_replicated(pair)
        # From here on the replica hears nothing: what comes now is acknowledged, and will be lost.
        ask(pair.ports[1], "REPLICAOF", "127.0.0.1", "1")
        await write(storage, commit("r1", 2), commit("r1", 3), create("r2"))
        assert (await get(storage)).seq == 3

        await asyncio.to_thread(pair.fail_over)
        address.lead_to(pair.ports[1])
        taken = await persistently(lambda: claim(storage, "w2", now=T0 + LEASE))

        assert [found.run.id for found in taken] == ["r1"], "r2 was lost with its master"
        assert (await get(storage)).seq == 2
        outcomes = await write(storage, commit("r1", 4))
        assert isinstance(outcomes[0], Fenced), "an owner that remembers what the store has forgotten"
        assert await write(storage, commit("r1", 3, worker="w2")) == [Committed()]
        await write(storage, create("r2"))
        assert await claimed_ids(storage, "w2") == ["r2"]


@pytest.mark.deadline(50)
async def test_an_owner_whose_rows_a_replica_lost_finds_the_run_to_be_its_own_and_goes_on(pair: Pair) -> None:
    await pair.in_step()
    async with (
        Address(pair.ports[0]) as address,
        open_storage(f"redis://127.0.0.1:{address.port}") as storage,
    ):
        await storage.register_worker(a_worker("w1"))
        await running(storage, "r1", "w1")
        await until_replicated(pair)
        ask(pair.ports[1], "REPLICAOF", "127.0.0.1", "1")
        await write(storage, commit("r1", 2), commit("r1", 3, transition=Suspend()))

        await asyncio.to_thread(pair.fail_over)
        address.lead_to(pair.ports[1])
        owned = await persistently(lambda: storage.owned_runs("w1"))

        assert owned == ["r1"], "its suspension was lost with its master"
        found = await get(storage)
        assert (found.status, found.worker, found.seq) == (RunStatus.RUNNING, "w1", 1)
        assert [row.seq for row in await storage.read_journal("r1", after=0)] == [1]
        outcomes = await write(storage, commit("r1", 4))
        assert isinstance(outcomes[0], Fenced), "what follows a row that is lost"
        assert await write(storage, commit("r1", 2)) == [Committed()], "what follows the last that is left"


@pytest.mark.deadline(50)
async def test_what_a_replica_must_have_is_not_lost(pair: Pair) -> None:
    await pair.in_step()
    async with Address(pair.ports[0]) as address:
        url = f"redis://127.0.0.1:{address.port}?replicas=1&timeout=5s"
        async with open_storage(url) as storage:
            await running(storage)
            for seq in range(2, 30):
                await write(storage, commit(seq=seq))
        await asyncio.to_thread(pair.fail_over)

        async with open_storage(f"redis://127.0.0.1:{pair.ports[1]}") as storage:
            assert (await get(storage)).seq == 29


async def until_replicated(pair: Pair) -> None:
    """Until the replica has all that its master has."""

    def offset(port: int, name: str) -> str:
        lines = ask(port, "INFO", "replication").splitlines()
        return next(line.partition(":")[2] for line in lines if line.startswith(f"{name}:"))

    await until(
        lambda: offset(pair.ports[0], "master_repl_offset") == offset(pair.ports[1], "slave_repl_offset")
    )
