"""Broadcasting: texts for whoever listens, in this process and in others; for storages that offer it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence

from stepflow.storage.base import Storage
from stepflow.storage.broadcasting import LONGEST, BroadcastingStorage
from stepflow.storage.reopening import ReopenableStorage
from stepflow.storage.writes import Broadcast
from stepflow.testing.storage_contract.building import create, write
from stepflow.testing.storage_contract.running import Contract

_PROBE, _LAST = "does anybody hear this?", "that is all"
_PATIENCE = 0.05
Heard = Callable[[], Awaitable[list[str]]]


@contextlib.asynccontextmanager
async def hearing(storage: Storage, sender: Storage) -> AsyncGenerator[Heard]:
    """Collects what comes after the listener has begun to hear the sender; the function given waits for the end of it."""
    heard: list[str] = []
    begun, ended = asyncio.Event(), asyncio.Event()

    async def listen() -> None:
        async for hint in storage.wakeups():
            if not isinstance(hint, Broadcast):
                continue
            if hint.text == _PROBE:
                begun.set()
            elif hint.text == _LAST:
                ended.set()
            else:
                heard.append(hint.text)

    async def all_heard() -> list[str]:
        await ended.wait()
        return heard

    listener = asyncio.create_task(listen())
    try:
        while not begun.is_set():  # how long it takes until hints come is nobody's promise
            await broadcast(sender, _PROBE)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_PATIENCE):
                    await begun.wait()
        yield all_heard
    finally:
        listener.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await listener


@contextlib.asynccontextmanager
async def another(storage: Storage) -> AsyncGenerator[Storage]:
    """The same store as another process has it; one that lives in this process only is its own neighbour."""
    if storage.durable and isinstance(storage, ReopenableStorage):
        async with storage.reopened() as other:
            yield other
    else:
        yield storage


async def broadcast(storage: Storage, *texts: str) -> None:
    assert isinstance(storage, BroadcastingStorage)
    await storage.broadcast(texts)


ODD: Sequence[str] = (
    "",
    '{"quoted": "\\u0000"}',
    "two\nlines\r\n",
    "ü 🎈 \u2028",
    "'; --",
    "!bang",
    "[[],[]]",
    "null",
)


class BroadcastingContract(Contract):
    """Texts that go beside the hints."""

    async def test_a_text_is_heard_in_this_process_and_in_another(self, storage: Storage) -> None:
        async with (
            another(storage) as other,
            hearing(storage, storage) as here,
            hearing(other, storage) as there,
        ):
            await broadcast(storage, "hello", _LAST)

            assert await here() == ["hello"]
            assert await there() == ["hello"]

    async def test_texts_come_once_and_in_their_order_between_other_hints(self, storage: Storage) -> None:
        texts = [str(number) for number in range(300)]
        async with another(storage) as other, hearing(other, storage) as heard:
            await broadcast(storage, *texts[:100])
            await write(storage, create())
            await broadcast(storage, *texts[100:])
            await broadcast(storage)
            await broadcast(storage, _LAST)

            assert await heard() == texts

    async def test_a_text_of_any_characters_arrives_as_it_is(self, storage: Storage) -> None:
        async with another(storage) as other, hearing(other, storage) as heard:
            await broadcast(storage, *ODD, _LAST)

            assert await heard() == list(ODD)

    async def test_a_text_as_long_as_may_be_arrives_whole(self, storage: Storage) -> None:
        long = ['"' * LONGEST, "ü" * (LONGEST // 2), "x" * LONGEST]
        async with another(storage) as other, hearing(other, storage) as heard:
            await broadcast(storage, *long, _LAST)

            assert await heard() == long

    async def test_whoever_begins_to_listen_hears_nothing_of_before(self, storage: Storage) -> None:
        await broadcast(storage, "too early")
        async with another(storage) as other, hearing(other, storage) as heard:
            await broadcast(storage, "in time", _LAST)

            assert await heard() == ["in time"]
