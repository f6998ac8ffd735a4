"""What happens to servers, connections and scripts: nothing acknowledged is lost, and the storage comes back by itself."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from stepflow import Stepflow
from stepflow.errors import (
    RunNotFoundError,
    SchemaError,
    StorageError,
    StorageFullError,
    StorageUnavailableError,
    UnknownStorageError,
)
from stepflow.model.events import Wait
from stepflow.model.states import RunStatus
from stepflow.storage.base import Storage
from stepflow.storage.opening import open_storage
from stepflow.storage.writes import Anything, Committed, Complete, Fenced, RunChanged
from stepflow.testing.storage_contract.building import (
    LONG,
    T0,
    commit,
    create,
    get,
    running,
    send,
    status_of,
    value,
    write,
)
from tests.contract.working import EXECUTED, WORKFLOWS, begin, errand, finish
from tests.servers.polling import until
from tests.servers.proxy import Cut, FaultProxy
from tests.servers.redis import (
    Cluster,
    ask,
    fresh,
    redis_binary,
    redis_cluster_url,
    redis_server,
    redis_url,
    wait_until_whole,
)
from tests.servers.running import Server, free_port

__all__ = ["redis_cluster_url", "redis_url"]


@pytest.fixture
def port() -> int:
    return free_port()


@contextlib.contextmanager
def serving(directory: Path, port: int, *options: str) -> Iterator[Server]:
    """A server for one test only, which may do to it what it likes."""
    server = redis_server(redis_binary(), directory, port, *options)
    server.start()
    try:
        yield server
    finally:
        server.kill()


async def until_it_answers(storage: Storage) -> None:
    """Ask until the server is back, as the runtime does."""
    async with asyncio.timeout(15):
        while True:
            try:
                await storage.get_run("r1")
            except StorageUnavailableError:
                await asyncio.sleep(0)
            else:
                return


# ------------------------------------------------------------------ scripts
async def test_scripts_that_the_server_forgot_are_given_again(redis_url: str) -> None:
    async with open_storage(fresh(redis_url)) as storage:
        await running(storage)
        ask(int(redis_url.rpartition(":")[2]), "SCRIPT", "FLUSH")

        outcomes = await write(storage, commit(seq=2), commit(seq=3), send("paid"))

        assert outcomes[:2] == [Committed(), Committed()]
        assert (await get(storage)).seq == 3


# ------------------------------------------------------------------ servers that go and come back
async def test_what_was_acknowledged_survives_a_killed_server(tmp_path: Path, port: int) -> None:
    with serving(tmp_path, port, "--appendonly", "yes", "--appendfsync", "always") as server:
        async with open_storage(f"redis://127.0.0.1:{port}") as storage:
            await running(storage)
            for seq in range(2, 12):
                await write(storage, commit(seq=seq))
                server.kill()
                server.start()
                await until_it_answers(storage)

                assert (await get(storage)).seq == seq


async def test_a_server_that_is_gone_is_said_to_be_and_found_again(tmp_path: Path, port: int) -> None:
    with serving(tmp_path, port, "--appendonly", "yes", "--appendfsync", "always") as server:
        async with open_storage(f"redis://127.0.0.1:{port}?timeout=1s") as storage:
            await running(storage)
            keeper = storage.lease_keeper("w1")
            server.kill()

            with pytest.raises(StorageUnavailableError, match=f"127.0.0.1:{port}"):
                await write(storage, commit())
            with pytest.raises(StorageUnavailableError):
                keeper.renew(T0, LONG)

            server.start()
            await until_it_answers(storage)
            assert await write(storage, commit()) == [Committed()]
            assert keeper.renew(T0, LONG) is False
            keeper.close()


@pytest.mark.deadline(50)
async def test_runs_of_a_server_that_was_emptied_are_gone_and_its_worker_goes_on(
    tmp_path: Path, port: int
) -> None:
    with serving(tmp_path, port):
        url = f"redis://127.0.0.1:{port}"
        async with Stepflow(url, workflows=WORKFLOWS, worker=True, lease="2s") as app:
            waiting = await app.trigger(errand, 3, id="waits")
            await until(lambda: EXECUTED["waits", "add"] == 1)
            ask(port, "FLUSHALL")

            with pytest.raises(RunNotFoundError):
                await waiting.result(timeout="20s")
            with pytest.raises(RunNotFoundError):
                await app.notify("go/waits", 3, run_id="waits")
            await finish(await begin(app, range(6), name="after"))


async def test_a_master_of_a_cluster_may_be_killed_and_come_back(tmp_path: Path) -> None:
    # Synced with every reply: else a busy disk delays what a kill then takes.
    cluster = Cluster(redis_binary(), tmp_path, "--appendfsync", "always")
    cluster.start()
    try:
        async with open_storage(f"{cluster.url}?timeout=2s") as storage:
            for n in range(12):
                await running(storage, f"r{n}")
            for server in cluster.servers:
                server.kill()
                server.start()
            wait_until_whole(cluster.ports)
            for n in range(12):
                await until_it_answers(storage)
                outcomes = [await retried(storage, f"r{n}")]
                assert outcomes == [Committed()]
    finally:
        cluster.stop()


async def retried(storage: Storage, run_id: str) -> object:
    """Complete the run; what is not known to be done is sent again, as the committer does."""
    async with asyncio.timeout(15):
        while True:
            try:
                [outcome] = await write(storage, commit(run_id, transition=Complete(output=value("1"))))
            except StorageUnavailableError:
                await asyncio.sleep(0)
            else:
                return outcome


async def test_a_slot_that_moves_is_followed(tmp_path: Path) -> None:
    cluster = Cluster(redis_binary(), tmp_path)
    cluster.start()
    try:
        async with open_storage(f"{cluster.url}?partitions=3&prefix=m:") as storage:
            for n in range(12):
                await running(storage, f"r{n}")
            move_everything(cluster.ports[0], cluster.ports[1])

            for n in range(12):
                assert await write(storage, commit(f"r{n}")) == [Committed()]
    finally:
        cluster.stop()


def move_everything(source: int, target: int) -> None:
    """Give every slot with keys in it to another master, the way an operator does."""
    from stepflow.storage.redis.keys import STORE, slot_of, tags

    ids = {port: ask(port, "CLUSTER", "MYID") for port in (source, target)}
    for slot in {slot_of(tag) for tag in (*tags(3), STORE)}:
        count = int(ask(source, "CLUSTER", "COUNTKEYSINSLOT", str(slot)).lstrip(":"))
        if not count:
            continue
        ask(target, "CLUSTER", "SETSLOT", str(slot), "IMPORTING", ids[source])
        ask(source, "CLUSTER", "SETSLOT", str(slot), "MIGRATING", ids[target])
        while True:
            keys = listed(source, "CLUSTER", "GETKEYSINSLOT", str(slot), "100")
            if not keys:
                break
            ask(source, "MIGRATE", "127.0.0.1", str(target), "", "0", "5000", "KEYS", *keys)
        for port in (target, source):
            ask(port, "CLUSTER", "SETSLOT", str(slot), "NODE", ids[target])


def listed(port: int, *words: str) -> list[str]:
    """A reply that is a list of short strings."""
    import redis

    with redis.Redis(host="127.0.0.1", port=port) as client:
        return [key.decode() for key in client.execute_command(*words)]


# ------------------------------------------------------------------ replies that never come
async def test_a_commit_whose_reply_was_lost_is_there_when_it_is_sent_again(redis_url: str) -> None:
    port = int(redis_url.rpartition(":")[2])
    async with (
        FaultProxy(port) as proxy,
        open_storage(fresh(f"redis://127.0.0.1:{proxy.port}")) as storage,
    ):
        await running(storage)
        await write(storage, commit(seq=2))
        again = commit(seq=3, write_id="once-only")
        proxy.cut(Cut.AFTER, b"once-only")

        with pytest.raises(StorageUnavailableError):
            await write(storage, again)

        assert proxy.struck == 1
        assert (await get(storage)).seq == 3
        assert await write(storage, again) == [Committed()]
        assert await write(storage, commit(seq=3, write_id="another")) == [Fenced()]


async def test_a_server_that_does_not_answer_is_given_up_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]

        with pytest.raises(StorageUnavailableError, match="can't be reached"):
            async with open_storage(f"redis://127.0.0.1:{port}?timeout=200ms"):
                pytest.fail("nobody answered")


# ------------------------------------------------------------------ memory
async def test_a_full_server_refuses_and_runs_go_on_when_it_has_room(tmp_path: Path, port: int) -> None:
    with serving(tmp_path, port, "--maxmemory", "3mb", "--maxmemory-policy", "noeviction"):
        async with open_storage(f"redis://127.0.0.1:{port}") as storage:
            await running(storage)
            ask(port, "CONFIG", "SET", "maxmemory", "1")

            with pytest.raises(StorageFullError, match="more memory"):
                await write(storage, commit())
            with pytest.raises(StorageFullError, match="more memory"):
                await write(storage, create("r2"))

            ask(port, "CONFIG", "SET", "maxmemory", "0")
            assert await write(storage, commit()) == [Committed()]


# ------------------------------------------------------------------ many at once
async def test_events_sent_by_many_at_once_reach_a_run_that_suspends_meanwhile(redis_url: str) -> None:
    from stepflow.storage.writes import Suspend

    async with open_storage(fresh(redis_url)) as storage:
        for n in range(40):
            await running(storage, f"r{n}")
            event_id = f"paid/{n}"
            waits = (Wait(event_id=event_id, after=0),)

            await asyncio.gather(
                write(storage, send(event_id)),
                write(storage, commit(f"r{n}", transition=Suspend(), waits=waits)),
                write(storage, send(event_id)),
            )

            assert await status_of(storage, f"r{n}") is RunStatus.QUEUED, "the wake-up was lost"


async def test_positions_rise_in_every_log_whoever_sends(redis_url: str) -> None:
    async with open_storage(fresh(redis_url)) as storage:
        await asyncio.gather(*(write(storage, send("paid", str(n))) for n in range(100)))

        [events] = await storage.read_events([("r1", Wait(event_id="paid", after=0))], limit=200)

        assert len({event.pos for event in events}) == 100


# ------------------------------------------------------------------ hints
async def test_a_listener_that_was_cut_off_is_told_to_look_at_everything(redis_url: str) -> None:
    url = fresh(redis_url)
    async with open_storage(url) as here, open_storage(url) as there:
        heard: list[object] = []
        news = asyncio.Event()

        async def listen() -> None:
            async for hint in here.wakeups():
                heard.append(hint)
                news.set()

        async def hears(hint: object) -> None:
            async with asyncio.timeout(10):
                while hint not in heard:
                    await news.wait()
                    news.clear()

        listener = asyncio.create_task(listen())
        await until_subscribed(redis_url, url)
        await running(there)
        await write(there, commit(transition=Complete(output=value("1"))))
        await hears(RunChanged(run_id="r1"))
        heard.clear()

        ask(int(redis_url.rpartition(":")[2]), "CLIENT", "KILL", "TYPE", "pubsub")

        await hears(Anything())
        listener.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await listener


async def until_subscribed(server: str, url: str) -> None:
    channel = f"{url.partition('prefix=')[2]}wakeups"
    async with asyncio.timeout(10):
        while not listed(int(server.rpartition(":")[2]), "PUBSUB", "CHANNELS", channel):  # noqa: ASYNC110
            await asyncio.sleep(0)  # Redis tells only who asks


# ------------------------------------------------------------------ what opening refuses
async def refusal(url: str) -> StorageError:
    with pytest.raises(StorageError) as caught:
        async with open_storage(url):
            pytest.fail("it opened")
    assert "\n" not in str(caught.value)
    return caught.value


async def test_a_wrong_password_is_said_to_be_one_and_not_shown(tmp_path: Path, port: int) -> None:
    with serving_with_password(tmp_path, port):
        for url in (
            f"redis://127.0.0.1:{port}",
            f"redis://:wr0ng@127.0.0.1:{port}",
            f"redis://u:wr0ng@127.0.0.1:{port}",
        ):
            error = await refusal(url)

            assert "refused the user or the password" in str(error)
            assert "wr0ng" not in str(error)
        async with open_storage(f"redis://:s3cret@127.0.0.1:{port}/2?prefix=p:") as storage:
            assert storage.url == f"redis://127.0.0.1:{port}/2?prefix=p:"
            assert storage.lease_keeper("w1").renew(T0, LONG) is False


@contextlib.contextmanager
def serving_with_password(directory: Path, port: int) -> Iterator[None]:
    with serving(directory, port) as server:
        ask(port, "CONFIG", "SET", "requirepass", "s3cret")
        assert server.pid
        yield


async def test_nobody_there_is_said_to_be_so(port: int) -> None:
    error = await refusal(f"redis://127.0.0.1:{port}")

    assert isinstance(error, StorageUnavailableError)
    assert f"127.0.0.1:{port} can't be reached" in str(error)


async def test_a_server_that_may_drop_keys_is_refused(tmp_path: Path, port: int) -> None:
    with serving(tmp_path, port, "--maxmemory", "20mb", "--maxmemory-policy", "allkeys-lru"):
        error = await refusal(f"redis://127.0.0.1:{port}")

        assert "maxmemory-policy allkeys-lru" in str(error)
        assert "noeviction" in str(error)


async def test_a_newer_schema_is_refused_and_left_alone(redis_url: str) -> None:
    url = fresh(redis_url)
    prefix, port = url.partition("prefix=")[2], int(redis_url.rpartition(":")[2])
    newer = '{"version":99,"partitions":1}'
    ask(port, "SET", f"{prefix}{{store}}:schema", newer)

    error = await refusal(url)

    assert isinstance(error, SchemaError)
    assert "upgrade stepflow" in str(error)
    assert ask(port, "GET", f"{prefix}{{store}}:schema") == newer


async def test_the_number_of_partitions_is_for_ever(redis_url: str) -> None:
    url = fresh(redis_url)
    async with open_storage(f"{url}&partitions=3") as storage:
        await running(storage)

    error = await refusal(f"{url}&partitions=4")
    assert "partitions=3" in str(error)
    async with open_storage(url) as storage:
        assert (await get(storage)).seq == 1


async def test_one_server_and_a_cluster_are_told_apart(redis_url: str, redis_cluster_url: str) -> None:
    one = await refusal(redis_cluster_url.replace("redis+cluster", "redis").partition(",")[0])
    many = await refusal(redis_url.replace("redis://", "redis+cluster://"))

    assert "write redis+cluster://" in str(one)
    assert "cluster" in str(many)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("redis://h?colour=red", "no option 'colour'; there are prefix, partitions, timeout"),
        ("redis://h/zero", "the number of a database, not 'zero'"),
        ("redis://h:many", "has the form redis://"),
        ("redis://a,b", "redis+cluster://"),
        ("redis+cluster://h/1", "no databases but 0"),
        ("redis://h?prefix={}", "prefix="),
        ("redis://h?partitions=0", "partitions='0' must be a number from 1 to 1024"),
        ("redis://h?timeout=soon", "timeout='soon' must be a duration"),
        ("redis://h?timeout=0s", "longer than nothing"),
        ("rediss://h?verify=maybe", "must be true or false"),
        ("redis://u:p4ss@h?colour=red", "no option 'colour'"),
    ],
)
def test_a_url_that_makes_no_sense_is_explained(url: str, says: str) -> None:
    with pytest.raises(UnknownStorageError) as caught:
        open_storage(url)

    assert says in str(caught.value)
    assert "p4ss" not in str(caught.value)


# ------------------------------------------------------------------ durability
@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--appendonly", "yes", "--appendfsync", "always"), "AOF always"),
        (("--appendonly", "yes", "--appendfsync", "everysec"), "AOF everysec"),
        (("--appendonly", "yes", "--rename-command", "CONFIG", ""), "suppose that"),
        ((), "none"),
    ],
)
async def test_the_durability_class_is_told(
    options: tuple[str, ...], says: str, tmp_path: Path, port: int
) -> None:
    with serving(tmp_path, port, *options):
        async with open_storage(f"redis://127.0.0.1:{port}") as storage:
            info = await storage.info(now=T0)

            assert says in info.durability
            assert info.backend == "redis"
            assert (info.size_bytes or 0) > 0


async def test_writes_that_no_replica_has_are_not_acknowledged(tmp_path: Path, port: int) -> None:
    with serving(tmp_path, port):
        async with open_storage(f"redis://127.0.0.1:{port}") as storage:
            await running(storage)
        with pytest.raises(StorageUnavailableError, match="0 of 1 replicas"):
            async with open_storage(f"redis://127.0.0.1:{port}?replicas=1&timeout=300ms"):
                pytest.fail("there is no replica")


# ------------------------------------------------------------------ names
@pytest.mark.parametrize(
    "event_id", ["a:b", "{x}", "a{b}c", "*", "ä", "a|b", "x/y", "'); redis.call('FLUSHALL') --"]
)
async def test_hostile_names_stay_names(event_id: str, redis_cluster_url: str) -> None:
    async with open_storage(fresh(redis_cluster_url)) as storage:
        await running(
            storage, "a:b~c@d", idempotency_key=f"k{event_id}", tags={event_id: event_id}, queue="q:|"
        )
        await write(storage, send(event_id, run_id="a:b~c@d", dedup_id=event_id), send(event_id))

        [events] = await storage.read_events([("a:b~c@d", Wait(event_id=event_id, after=0))])

        assert [event.event_id for event in events] == [event_id, event_id]
        found = await storage.find_run(f"k{event_id}")
        assert found is not None
        assert found.tags == {event_id: event_id}


async def test_nothing_that_is_kept_has_a_time_to_live(redis_url: str) -> None:
    url = fresh(redis_url)
    port, prefix = int(redis_url.rpartition(":")[2]), url.partition("prefix=")[2]
    async with open_storage(url) as storage:
        await running(storage, idempotency_key="k")
        await write(storage, send("paid"), commit(waits=(Wait(event_id="paid", after=0),)), create("r2"))

        keys = listed(port, "KEYS", f"{prefix}*")

        assert len(keys) > 10
        assert {ask(port, "TTL", key) for key in keys} == {":-1"}
