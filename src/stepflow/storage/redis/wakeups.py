"""Wake-ups: hints over pub/sub, published after a write and heard by every process; missing one costs a poll."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Collection, Sequence
from typing import Any, Final

import msgspec
from redis.exceptions import RedisError

from stepflow.errors import StorageError
from stepflow.storage._wakeups import WakeupHub
from stepflow.storage.redis.calls import pack
from stepflow.storage.redis.network import Link, Network
from stepflow.storage.writes import Anything, Broadcast
from stepflow.types import RunId

_BETWEEN_TRIES: Final = 0.5
PING_EVERY = 15.0
"""Seconds after which a silent subscription is asked whether it still stands: a network may lose it without a word."""

PONG_WITHIN = 5.0
_MANY: Final = 1_000
"""A message about more than that says: look at everything."""


class _Message(msgspec.Struct, frozen=True, array_like=True):
    """Who sends it, the queues with something to claim, the runs that changed, what is broadcast; nothing of all this: look at everything."""

    sender: str
    ready: list[str]
    changed: list[RunId]
    texts: list[str] = []


_DECODER: Final = msgspec.json.Decoder(_Message)


def message(sender: str, ready: Collection[str], changed: Collection[RunId]) -> bytes:
    """Hints, as they are published."""
    if len(changed) > _MANY:
        return msgspec.json.encode(_Message(sender, [], []))
    return msgspec.json.encode(_Message(sender, sorted(ready), sorted(changed)))


def broadcast_message(sender: str, texts: Sequence[str]) -> bytes:
    """Texts for everybody, as they are published."""
    return msgspec.json.encode(_Message(sender, [], [], list(texts)))


async def listen(network: Network, channel: bytes, sender: str, hub: WakeupHub) -> None:
    """Hand on what others publish, until cancelled; a lost connection is made again."""
    again = False
    while True:
        try:
            async with _subscribed(network, channel) as link:
                if again:
                    hub.tell([Anything()])  # whatever was published meanwhile was lost
                again = True
                async with _answering(link) as heard:
                    while True:
                        said = await link.read_response(disable_decoding=True)
                        heard.set()
                        _hand_on(said, sender, hub)
        except (RedisError, StorageError, OSError):
            await asyncio.sleep(_BETWEEN_TRIES)


def _hand_on(heard: Any, sender: str, hub: WakeupHub) -> None:
    """Tell those who listen here what somebody else published."""
    if heard[0] != b"message":
        return
    try:
        hints = _DECODER.decode(heard[2])
    except msgspec.DecodeError:
        hub.tell([Anything()])  # of a newer release, perhaps: something happened
        return
    if hints.sender == sender:
        return
    if hints.texts:
        hub.tell([Broadcast(text=text) for text in hints.texts])
    elif hints.ready or hints.changed:
        hub.publish(ready=hints.ready, changed=hints.changed)
    else:
        hub.tell([Anything()])


@contextlib.asynccontextmanager
async def _answering(link: Link) -> AsyncGenerator[asyncio.Event]:
    """Drop the link when its other end is gone without a word; the reader sets the event whenever it hears something."""
    heard = asyncio.Event()

    async def ask() -> None:
        while True:
            await asyncio.sleep(PING_EVERY)
            heard.clear()
            try:
                await link.send_packed_command([pack([b"PING"])], check_health=False)
                async with asyncio.timeout(PONG_WITHIN):
                    await heard.wait()
            except (RedisError, OSError, TimeoutError):
                await link.disconnect(nowait=True)  # whoever reads from it hears of that
                return

    asking = asyncio.get_running_loop().create_task(ask())
    try:
        yield heard
    finally:
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)


@contextlib.asynccontextmanager
async def _subscribed(network: Network, channel: bytes) -> AsyncGenerator[Link]:
    link = network.nodes[0].connection()
    try:
        await link.connect()
        await link.send_packed_command([pack([b"SUBSCRIBE", channel])], check_health=False)
        await link.read_response(disable_decoding=True)
        yield link
    finally:
        await link.disconnect(nowait=True)
