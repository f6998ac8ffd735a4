"""libSQL with a bad line and a busy server: answers that get lost, locks that are stolen, streams that end, restarts."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import pytest

from stepflow.errors import StorageError, StorageUnavailableError
from stepflow.storage.base import LeaseKeeper, Storage
from stepflow.storage.libsql import session as sessions
from stepflow.storage.libsql.options import read_url
from stepflow.storage.libsql.session import Session
from stepflow.storage.libsql.streams import Stream
from stepflow.storage.libsql.transactions import Hold
from stepflow.storage.libsql.transcript import Transcript
from stepflow.storage.opening import open_storage
from stepflow.storage.writes import (
    Created,
    Sent,
)
from stepflow.testing.storage_contract.building import (
    T0,
    a_worker,
    claim,
    claimed_ids,
    commit,
    create,
    get,
    running,
    send,
    write,
)
from tests.servers.proxy import Cut, FaultProxy
from tests.servers.sqld import Keys, Sqld, libsql_server, libsql_url, own_sqld, sqld_binary

__all__ = ["libsql_server", "libsql_url", "own_sqld", "sqld_binary"]

Answer = TypeVar("Answer")

A_WRITE = b"UPDATE stepflow_turn"
AN_APPEND = b"RETURNING run_id"


def port_of(url: str) -> int:
    options = read_url(url)
    if options.host != "127.0.0.1" or options.port is None:
        pytest.skip("the proxy stands before servers of this host only")
    return options.port


def through(proxy: FaultProxy, **options: object) -> Storage:
    """A storage behind the proxy."""
    more = "".join(f"&{name}={value}" for name, value in options.items())
    return open_storage(f"libsql://127.0.0.1:{proxy.port}?tls=0{more}")


async def persistently(call: Callable[[], Awaitable[Answer]]) -> Answer:
    """Make the call until the storage is there, as the engine does."""
    while True:
        try:
            return await call()
        except StorageUnavailableError:
            await asyncio.sleep(0)


# ------------------------------------------------------------------ answers that get lost
@pytest.mark.parametrize("where", list(Cut))
async def test_a_claim_whose_answer_gets_lost_is_answered_by_the_next(where: Cut, libsql_url: str) -> None:
    async with FaultProxy(port_of(libsql_url)) as proxy, through(proxy) as storage:
        await storage.register_worker(a_worker())
        await write(storage, create("r1"), create("r2"))
        proxy.cut(where, A_WRITE)

        taken = await persistently(lambda: claim(storage))

        assert proxy.struck == 1
        assert sorted(found.run.id for found in taken) == ["r1", "r2"]
        assert [row.seq for found in taken for row in found.rows] == [1, 1]
        assert {found.run.worker for found in taken} == {"w1"}
        assert await claimed_ids(storage) == []


async def test_a_claim_that_can_not_be_sent_again_at_once_is_answered_by_the_next(libsql_url: str) -> None:
    async with FaultProxy(port_of(libsql_url)) as proxy, through(proxy) as storage:
        await storage.register_worker(a_worker())
        await write(storage, create())
        proxy.cut(Cut.AFTER, A_WRITE)
        proxy.cut(Cut.BEFORE, A_WRITE)
        with pytest.raises(StorageUnavailableError):
            await claim(storage)

        (taken,) = await claim(storage)

        assert proxy.struck == 2
        assert (taken.run.id, taken.complete, [row.seq for row in taken.rows]) == ("r1", True, [1])


async def test_a_line_that_went_silent_is_given_up_after_the_timeout(libsql_url: str) -> None:
    async with FaultProxy(port_of(libsql_url)) as proxy, through(proxy, timeout=1) as storage:
        proxy.go_silent()
        with pytest.raises(StorageUnavailableError, match="within 1 s"):
            await write(storage, create())
        proxy.heal()

        (outcome,) = await persistently(lambda: write(storage, create()))

        assert isinstance(outcome, Created)


async def test_a_server_that_is_gone_is_named_without_its_token() -> None:
    with pytest.raises(StorageUnavailableError) as failed:
        async with open_storage("libsql://127.0.0.1:1?tls=0&auth_token=secret"):
            pass

    assert "127.0.0.1:1 can't be reached" in str(failed.value)
    assert "secret" not in str(failed.value)
    assert "\n" not in str(failed.value)


# ------------------------------------------------------------------ others who write
async def test_writers_that_meet_all_get_through_and_no_position_is_given_twice(libsql_url: str) -> None:
    async with open_storage(libsql_url) as first, open_storage(libsql_url) as second:
        sent = await asyncio.gather(
            *(write(first if n % 2 else second, send(f"event/{n}")) for n in range(40))
        )

        positions = [outcome.pos for (outcome,) in sent if isinstance(outcome, Sent)]
        assert sorted(positions) == list(range(1, 41))


async def test_a_write_of_others_in_between_is_noticed_before_anything_is_written(
    libsql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_storage(libsql_url) as storage, opened_session(libsql_url) as session:
        rounds = 0

        def work(transcript: Transcript) -> Any:
            nonlocal rounds
            rounds += 1
            row = transcript.execute("SELECT last_pos FROM stepflow_sequence").fetchone()
            assert row is not None
            transcript.execute("UPDATE stepflow_sequence SET last_pos = ?", (int(str(row[0])) + 1,))
            return row[0]

        send_batch = Stream.commit

        async def meddle(stream: Stream, statements: Any) -> Any:
            if stream is session._stream:
                await write(storage, send())  # just before the batch is sent, somebody else writes
            return await send_batch(stream, statements)

        monkeypatch.setattr(Stream, "commit", meddle)
        found = await session.write(work)

        assert found == 2  # both glances met another's event; the third attempt held the lock
        assert (
            await session.read(lambda t: t.execute("SELECT last_pos FROM stepflow_sequence").fetchone())
        ) == (3,)


class opened_session:  # noqa: N801 - used as a context manager
    """A session of its own, for what the port does not show."""

    def __init__(self, url: str) -> None:
        self._session = Session(read_url(url), lambda: None)
        self._session.connection.opened()

    async def __aenter__(self) -> Session:
        return self._session

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()


async def test_what_a_process_writes_goes_over_one_stream_one_request_after_the_other(
    libsql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    batons: list[str | None] = []
    at_once, most = 0, 0
    post = Stream._post

    async def counted(stream: Stream, requests: Any, baton: str | None, *, again: bool) -> Any:
        nonlocal at_once, most
        batons.append(baton)
        at_once += 1
        most = max(most, at_once)
        try:
            return await post(stream, requests, baton, again=again)
        finally:
            at_once -= 1

    async with open_storage(libsql_url) as storage:
        await storage.register_worker(a_worker())
        await running(storage)
        monkeypatch.setattr(Stream, "_post", counted)

        await asyncio.gather(
            write(storage, commit()),
            write(storage, send()),
            write(storage, create("r2")),
            claim(storage),
            storage.setting("secret", b"x"),
        )

    assert most == 1
    assert len(batons) >= 5
    assert None not in batons


async def test_a_stream_that_nobody_uses_is_ended(libsql_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = asyncio.Event()
    close = Stream.close

    async def noticed(stream: Stream) -> None:
        await close(stream)
        ended.set()

    monkeypatch.setattr(Stream, "close", noticed)
    monkeypatch.setattr(sessions, "IDLE", 0.01)
    async with open_storage(libsql_url) as storage:
        await write(storage, create())

        await ended.wait()

        assert isinstance((await write(storage, send()))[0], Sent)


async def test_a_stream_that_the_server_has_ended_is_begun_anew(own_sqld: Sqld) -> None:
    async with open_storage(own_sqld.url) as storage:
        await storage.register_worker(a_worker())
        await write(storage, create())
        keeper = storage.lease_keeper("w1")
        assert keeper.renew(T0, T0 - T0)
        await asyncio.to_thread(own_sqld.restart)

        (outcome,) = await persistently(lambda: write(storage, create("r2")))

        assert isinstance(outcome, Created)
        assert await asyncio.to_thread(renewed, keeper)
        keeper.close()


def renewed(keeper: LeaseKeeper) -> bool:
    """Renew as the thread does that has the keeper: again, if the connection was cut."""
    try:
        return keeper.renew(T0, T0 - T0)
    except StorageUnavailableError:
        return keeper.renew(T0, T0 - T0)


@pytest.mark.slow
async def test_a_lock_that_was_stolen_keeps_nothing_and_may_be_asked_for_again(libsql_url: str) -> None:
    async with open_storage(libsql_url) as storage, opened_session(libsql_url) as session:
        hold = Hold(Stream(session.connection), writing=True)
        await hold.ask(())

        await write(storage, create())  # the server waits 5 s for the lock, then takes it

        with pytest.raises(StorageUnavailableError, match="may be repeated"):
            await hold.commit(())
        await hold.close()
        assert (await get(storage)).id == "r1"


# ------------------------------------------------------------------ a server that restarts
async def test_a_stream_that_the_server_forgot_is_unavailable_and_not_a_bug(own_sqld: Sqld) -> None:
    async with open_storage(own_sqld.url), opened_session(own_sqld.url) as session:
        hold = Hold(Stream(session.connection), writing=True)
        await hold.ask(())
        await asyncio.to_thread(own_sqld.restart)

        with pytest.raises(StorageUnavailableError):
            await hold.commit(())
        await hold.close()


# ------------------------------------------------------------------ a server that asks for a token
async def test_a_server_with_a_key_lets_in_whom_it_knows(sqld_binary: Any, tmp_path: Any) -> None:
    keys = Keys(tmp_path)
    server = Sqld(sqld_binary, tmp_path, "--auth-jwt-key-file", keys.file)
    server.start()
    try:
        token = keys.token()
        async with open_storage(f"{server.url}&auth_token={token}") as storage:
            await storage.register_worker(a_worker())
            keeper = storage.lease_keeper("w1")
            assert keeper.renew(T0, T0 - T0)
            keeper.close()
            assert token not in storage.url
        for wrong in ("nonsense", keys.token(expires_in=-3600), ""):
            with pytest.raises(StorageError, match="refuses the token") as refused:
                async with open_storage(f"{server.url}&auth_token={wrong}"):
                    pass
            assert not isinstance(refused.value, StorageUnavailableError)
            assert "TURSO_AUTH_TOKEN" in str(refused.value)
            assert not wrong or wrong not in str(refused.value)
    finally:
        server.stop()
