"""The fakes that tests lean on, here and at users': a clock that stands still, and a storage that fails on request."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta, timezone

import pytest

from stepflow.clock import Clock
from stepflow.errors import StorageUnavailableError
from stepflow.model.events import NewEvent
from stepflow.model.payloads import NULL
from stepflow.storage.base import Storage, WorkerRecord
from stepflow.storage.memory import MemoryStorage
from stepflow.storage.writes import Duplicate, SendEvent, Sent
from stepflow.testing.clock import FakeClock
from stepflow.testing.faults import FaultyStorage
from tests.runtime.living import settle, until

T0 = datetime(2030, 1, 1, tzinfo=UTC)


def send(dedup_id: str = "e") -> SendEvent:
    return SendEvent(event=NewEvent(event_id="go", payload=NULL, dedup_id=dedup_id))


# ------------------------------------------------------------------ the clock
def test_time_stands_still_until_it_is_moved() -> None:
    clock: Clock = FakeClock()
    assert clock.now() == clock.now() == T0
    assert clock.monotonic() == 0


def test_both_readings_move_together() -> None:
    clock = FakeClock()
    clock.advance("1h30m")
    clock.advance(timedelta(seconds=1))
    clock.advance(0.5)

    assert clock.now() == T0 + timedelta(hours=1, minutes=30, seconds=1.5)
    assert clock.monotonic() == 5401.5


def test_callbacks_come_by_instant_then_in_order_and_see_the_new_time() -> None:
    clock = FakeClock()
    seen: list[tuple[str, datetime]] = []
    for name, seconds in (("c", 3), ("a", 1), ("b1", 2), ("b2", 2), ("late", 9)):
        clock.call_at(T0 + timedelta(seconds=seconds), lambda name=name: seen.append((name, clock.now())))
    clock.advance(3)

    assert [name for name, _ in seen] == ["a", "b1", "b2", "c"]
    assert {at for _, at in seen} == {T0 + timedelta(seconds=3)}
    assert clock.next_alarm == T0 + timedelta(seconds=9)


def test_one_that_comes_back_for_more_is_called_once_for_each_move() -> None:
    """A poll every second costs a jump over a year one call, not thirty million."""
    clock = FakeClock()
    calls: list[datetime] = []

    def poll() -> None:
        calls.append(clock.now())
        clock.call_at(clock.now() + timedelta(seconds=1), poll)

    clock.call_at(T0 + timedelta(seconds=1), poll)
    clock.advance("365d")
    assert len(calls) == 1
    clock.advance(1)
    assert len(calls) == 2


def test_a_cancelled_callback_is_not_called() -> None:
    clock = FakeClock()
    seen: list[str] = []
    cancel = clock.call_at(T0 + timedelta(seconds=1), lambda: seen.append("cancelled"))
    clock.call_at(T0 + timedelta(seconds=2), lambda: seen.append("called"))
    cancel()
    cancel()
    assert clock.next_alarm == T0 + timedelta(seconds=2)
    clock.advance(5)

    assert seen == ["called"]
    assert clock.next_alarm is None


async def test_what_is_due_already_is_called_soon_and_not_at_once() -> None:
    clock = FakeClock()
    seen: list[str] = []
    clock.call_at(T0, lambda: seen.append("due"))
    cancel = clock.call_at(T0 - timedelta(days=1), lambda: seen.append("cancelled"))
    cancel()
    assert seen == []
    await settle(2)

    assert seen == ["due"]


def test_a_clock_may_be_set_back_and_knows_other_zones() -> None:
    clock = FakeClock(datetime(2030, 1, 1, 1, tzinfo=timezone(timedelta(hours=1))))
    assert clock.now() == T0
    clock.advance(10)
    clock.set(T0)
    assert clock.now() == T0
    assert clock.monotonic() == 10
    assert clock.until(T0 + timedelta(seconds=4)) == timedelta(seconds=4)
    assert clock.until(T0 - timedelta(seconds=4)) == timedelta(0)
    with pytest.raises(ValueError, match="time zone"):
        FakeClock(datetime(2030, 1, 1))  # noqa: DTZ001


# ------------------------------------------------------------------ the storage
async def test_without_faults_it_is_the_storage_inside() -> None:
    faulty = FaultyStorage(MemoryStorage())
    storage: Storage = faulty
    async with storage:
        assert isinstance((await storage.write([send()], now=T0))[0], Sent)
    assert (storage.url, storage.durable) == ("memory://", False)
    assert faulty.calls["write"] == 1


async def test_failing_before_does_nothing_and_failing_after_does_all() -> None:
    storage = FaultyStorage(MemoryStorage())
    storage.fail_before()
    with pytest.raises(StorageUnavailableError):
        await storage.write([send("a")], now=T0)
    assert isinstance((await storage.write([send("a")], now=T0))[0], Sent)
    storage.fail_after()
    with pytest.raises(StorageUnavailableError):
        await storage.write([send("b")], now=T0)
    assert isinstance((await storage.write([send("b")], now=T0))[0], Duplicate)


async def test_a_fault_strikes_as_often_as_it_was_told_and_whom_it_was_told() -> None:
    storage = FaultyStorage(MemoryStorage())
    storage.fail_before(
        times=2, picks=lambda write: isinstance(write, SendEvent) and write.event.dedup_id == "b"
    )
    storage.fail_before("next_due", error=lambda: KeyError("odd"))
    await storage.write([send("a")], now=T0)
    for _ in range(2):
        with pytest.raises(StorageUnavailableError):
            await storage.write([send("a"), send("b")], now=T0)
    await storage.write([send("b")], now=T0)
    with pytest.raises(KeyError, match="odd"):
        await storage.next_due(["default"], now=T0)
    with pytest.raises(ValueError, match="no method"):
        storage.fail_before("write_all")


async def test_a_gate_holds_a_call_before_or_after_it_was_done() -> None:
    storage = FaultyStorage(MemoryStorage())
    for done in (False, True):
        gate = storage.hold(done=done)
        writing = asyncio.create_task(storage.write([send(f"held {done}")], now=T0))
        await gate.reached()
        assert ((await storage.info(now=T0)).events == 2) is done
        gate.open()
        await writing
        assert gate.held == 1


async def test_a_delay_passes_with_the_clock() -> None:
    storage, clock = FaultyStorage(MemoryStorage()), FakeClock()
    storage.delay("1m", clock)
    writing = asyncio.create_task(storage.write([send()], now=T0))
    await settle()
    clock.advance("59s")
    await settle()
    assert not writing.done()
    clock.advance("1s")
    await until(writing.done)


async def test_a_frozen_process_sends_nothing_and_renews_nothing_until_it_thaws() -> None:
    storage = FaultyStorage(MemoryStorage())
    await storage.register_worker(
        WorkerRecord(id="w", name=None, queues=("default",), host="h", pid=1, started_at=T0, lease_until=T0)
    )
    keeper = storage.lease_keeper("w")
    assert keeper.renew(T0, timedelta(seconds=30))
    storage.freeze()
    storage.freeze()
    writing = asyncio.create_task(storage.write([send()], now=T0))
    await settle()
    assert storage.frozen
    assert not writing.done()
    with pytest.raises(StorageUnavailableError):
        keeper.renew(T0, timedelta(seconds=30))
    storage.thaw()
    assert isinstance((await writing)[0], Sent)
    assert keeper.renew(T0, timedelta(seconds=30))
    keeper.close()


async def test_healing_forgets_faults_and_thaws() -> None:
    storage = FaultyStorage(MemoryStorage())
    storage.fail_before(times=100)
    storage.freeze()
    storage.heal()
    await storage.write([send()], now=T0)
