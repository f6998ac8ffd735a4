"""Hints between loops, threads, and listeners that do not keep up."""

from __future__ import annotations

import asyncio
import threading

from stepflow.storage._wakeups import WakeupHub
from stepflow.storage.writes import Anything, QueueReady, RunChanged, Wakeup


async def first_hint(hub: WakeupHub) -> Wakeup:
    async for hint in hub.listen():
        return hint
    raise AssertionError("the hints ended")


async def test_a_hint_is_told_once_however_often_it_is_published() -> None:
    hub = WakeupHub()
    listening = asyncio.create_task(first_hint(hub))
    await asyncio.sleep(0)

    for _ in range(3):
        hub.publish(ready=["q"], changed=["r1"])

    assert await listening == QueueReady(queue="q")


async def test_a_listener_that_lags_is_told_to_look_at_everything() -> None:
    hub = WakeupHub()
    listening = asyncio.create_task(first_hint(hub))
    await asyncio.sleep(0)

    hub.publish(changed=(f"r{n}" for n in range(10_001)))

    assert await listening == Anything()


async def test_hints_come_in_from_any_thread() -> None:
    hub = WakeupHub()
    listening = asyncio.create_task(first_hint(hub))
    await asyncio.sleep(0)

    thread = threading.Thread(target=lambda: hub.publish(changed=["r1"]))
    thread.start()

    assert await listening == RunChanged(run_id="r1")
    thread.join()


async def test_who_stops_listening_is_forgotten() -> None:
    counts: list[int] = []
    hub = WakeupHub(counts.append)
    hints = hub.listen()
    waiting = asyncio.create_task(anext(hints))  # type: ignore[arg-type]
    await asyncio.sleep(0)
    assert hub.heard

    hub.publish(ready=["q"])
    await waiting
    await hints.aclose()  # type: ignore[attr-defined]

    assert (hub.heard, counts) == (False, [1, 0])


def test_a_listener_whose_loop_is_closed_is_forgotten() -> None:
    hub = WakeupHub()
    loop = asyncio.new_event_loop()
    hints = hub.listen()
    waiting = loop.create_task(anext(hints))  # type: ignore[arg-type]
    loop.run_until_complete(asyncio.wait([waiting], timeout=0))
    assert hub.heard

    # What a crashed thread leaves behind: a loop that will never run again.
    waiting._log_destroy_pending = False  # type: ignore[attr-defined]
    loop.close()
    hub.publish(ready=["q"])

    assert not hub.heard
