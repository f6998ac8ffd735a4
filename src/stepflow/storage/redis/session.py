"""Session: what is open on one event loop, the network and the task that listens for hints."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Collection, Sequence

from stepflow.errors import StorageError
from stepflow.storage._wakeups import WakeupHub
from stepflow.storage.redis.calls import on_store
from stepflow.storage.redis.keys import Keys
from stepflow.storage.redis.network import Network
from stepflow.storage.redis.opening import check, partitions
from stepflow.storage.redis.options import RedisOptions
from stepflow.storage.redis.sagas import Remembered
from stepflow.storage.redis.wakeups import broadcast_message, listen, message
from stepflow.storage.writes import Broadcast
from stepflow.types import RunId


class Session:
    """Connections of one event loop."""

    def __init__(self, options: RedisOptions, hub: WakeupHub) -> None:
        self.entered = 0
        self.network = Network(options)
        self.keys = Keys(options.prefix, 1)
        self.durability = ""
        self.owned = Remembered()
        self._options = options
        self._hub = hub
        self._loop = asyncio.get_running_loop()
        self._sender = ""
        self._listener: asyncio.Task[None] | None = None
        self._publisher: asyncio.Task[None] | None = None
        self._ready: set[str] = set()
        self._changed: set[RunId] = set()

    async def open(self) -> None:
        """Connect, and make sure that this is a store that we can keep runs in."""
        try:
            await self.network.connect()
            self.durability = await check(self.network, self._options)
            self.keys = Keys(self._options.prefix, await partitions(self.network, self._options))
            [number] = await self.network.perform([on_store("INCR", self.keys.sessions)])
            self._sender = str(number)
        except BaseException:
            await self.network.close()
            raise

    async def close(self) -> None:
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await listener
        if self._publisher is not None:
            await self._publisher
        await self.network.close()

    def follow(self, listeners: int) -> None:
        """Hear other processes while somebody here listens. Callable from any thread."""
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody listens there
            self._loop.call_soon_threadsafe(self._follow, listeners)

    def _follow(self, listeners: int) -> None:
        if listeners and self._listener is None and self.entered:
            self._listener = self._loop.create_task(
                listen(self.network, self.keys.channel, self._sender, self._hub)
            )
        elif not listeners and self._listener is not None:
            self._listener.cancel()
            self._listener = None

    def publish(self, ready: Collection[str], changed: Collection[RunId]) -> None:
        """Tell everybody: here at once, elsewhere soon and together with what is published meanwhile."""
        if not ready and not changed:
            return
        self._hub.publish(ready=ready, changed=changed)
        self._ready.update(ready)
        self._changed.update(changed)
        if self._publisher is None or self._publisher.done():
            self._publisher = self._loop.create_task(self._publish())

    async def broadcast(self, texts: Sequence[str]) -> None:
        """Tell everybody these texts: here at once, elsewhere when this returns."""
        self._hub.tell([Broadcast(text=text) for text in texts])
        told = broadcast_message(self._sender, texts)
        await self.network.perform([on_store("PUBLISH", self.keys.channel, told)], kept=False)

    async def _publish(self) -> None:
        while self._ready or self._changed:
            text = message(self._sender, self._ready, self._changed)
            self._ready.clear()
            self._changed.clear()
            # What was written is durable; a hint that is lost costs others at most a poll.
            with contextlib.suppress(StorageError):
                await self.network.perform([on_store("PUBLISH", self.keys.channel, text)], kept=False)
