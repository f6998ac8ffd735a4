"""Wake-ups: hints for those who listen; nobody may rely on them, everybody is quicker with them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable

from stepflow.model.events import Wait
from stepflow.storage.base import Storage
from stepflow.storage.writes import Action, Anything, Cancel, QueueReady, RunChanged, Suspend, Wakeup
from stepflow.testing.storage_contract.building import (
    T0,
    a_run,
    a_worker,
    commit,
    control,
    create,
    running,
    send,
    start,
    suspended,
    write,
)
from stepflow.testing.storage_contract.running import Contract


@contextlib.asynccontextmanager
async def listening(storage: Storage) -> AsyncGenerator[Callable[[Wakeup], asyncio.Future[bool]]]:
    """Collects hints; the function given waits until a hint, or a vaguer one, has come."""
    heard: set[Wakeup] = set()
    news = asyncio.Condition()

    async def listen() -> None:
        async for hint in storage.wakeups():
            async with news:
                heard.add(hint)
                news.notify_all()

    async def hears(hint: Wakeup) -> bool:
        async with news:
            return await news.wait_for(lambda: hint in heard or Anything() in heard)

    listener = asyncio.create_task(listen())
    await asyncio.sleep(0)
    try:
        yield lambda hint: asyncio.ensure_future(hears(hint))
    finally:
        listener.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await listener


class WakeupsContract(Contract):
    """Hints."""

    async def test_a_new_run_is_hinted_to_those_who_serve_its_queue(self, storage: Storage) -> None:
        async with listening(storage) as hears:
            await write(storage, create(queue="slow"))

            assert await hears(QueueReady(queue="slow"))

    async def test_an_event_is_hinted_with_the_queue_and_the_run_that_it_wakes(
        self, storage: Storage
    ) -> None:
        await suspended(storage, waits=[Wait(event_id="paid", after=0)])

        async with listening(storage) as hears:
            await write(storage, send("paid"))

            assert await hears(QueueReady(queue="default"))
            assert await hears(RunChanged(run_id="r1"))

    async def test_a_run_that_is_created_and_claimed_in_the_same_batch_takes_nobody_s_hint_away(
        self, storage: Storage
    ) -> None:
        await suspended(storage, waits=[Wait(event_id="paid", after=0)])

        async with listening(storage) as hears:
            await storage.write([send("paid"), start(a_run("r2"))], now=T0)

            assert await hears(QueueReady(queue="default"))

    async def test_a_suspension_is_hinted_to_those_who_follow_the_run(self, storage: Storage) -> None:
        await running(storage)

        async with listening(storage) as hears:
            await write(storage, commit(transition=Suspend()))

            assert await hears(RunChanged(run_id="r1"))

    async def test_the_end_is_hinted_to_those_who_wait_for_the_result(self, storage: Storage) -> None:
        await running(storage)

        async with listening(storage) as hears:
            await write(storage, commit(transition=Cancel()))

            assert await hears(RunChanged(run_id="r1"))

    async def test_a_request_is_hinted_to_the_owner(self, storage: Storage) -> None:
        await running(storage)

        async with listening(storage) as hears:
            await write(storage, control("r1", Action.CANCEL))

            assert await hears(RunChanged(run_id="r1"))

    async def test_released_runs_are_hinted_with_their_queue(self, storage: Storage) -> None:
        await storage.register_worker(a_worker())
        await running(storage, queue="slow")

        async with listening(storage) as hears:
            await storage.release_worker("w1", now=a_worker().started_at)

            assert await hears(QueueReady(queue="slow"))

    async def test_all_listeners_hear(self, storage: Storage) -> None:
        async with listening(storage) as first, listening(storage) as second:
            await write(storage, create())

            assert await first(QueueReady(queue="default"))
            assert await second(QueueReady(queue="default"))
