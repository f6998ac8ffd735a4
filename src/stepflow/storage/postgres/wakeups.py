"""Wake-ups: hints to other processes by LISTEN and NOTIFY, over connections that do nothing else.

A hint is sent after the commit and apart from it: within the transaction, those who notify would commit one after the other.
What gets lost costs at most a poll.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Collection, Sequence
from typing import Final

import msgspec

from stepflow.errors import StorageUnavailableError
from stepflow.storage._wakeups import WakeupHub
from stepflow.storage.postgres.driver import ERRORS
from stepflow.storage.postgres.link import Link, open_link
from stepflow.storage.postgres.options import PostgresOptions
from stepflow.storage.writes import Anything, Broadcast, QueueReady, RunChanged, Wakeup
from stepflow.types import RunId

_log = logging.getLogger("stepflow.postgres")
_FIRST_PAUSE = 0.05
_LONGEST_PAUSE = 2.0
_MOST_BYTES = 7_900
"""A notification may have just under 8,000 bytes."""
_MOST_NAMES = 4_000
"""With more to tell than this, "look at everything" is told instead."""
_TEXT: Final = "!"
"""What a notification begins with that is a text for those who listen, and no hints."""
_CLOSING = 2.0

# A transaction that notifies is flushed to disk like any other, in the way of those that write. A hint may be lost in a crash.
_UNFLUSHED: Final = (
    "SELECT set_config(s.name, 'off', false) FROM pg_settings s WHERE s.name = 'synchronous_commit'"
)
_NOTIFY: Final = "SELECT pg_notify($1, t.text) FROM unnest($2::text[]) AS t (text)"


class _Hints(msgspec.Struct, array_like=True, gc=False):
    """What one notification says: which queues and which runs to look at; neither: at everything."""

    ready: list[str] = []
    changed: list[RunId] = []


_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(_Hints)
_EVERYTHING: Final = _ENCODER.encode(_Hints()).decode()


def notices(ready: Sequence[str], changed: Sequence[RunId]) -> list[str]:
    """The texts of as few notifications as hold these hints."""
    if len(ready) + len(changed) > _MOST_NAMES:
        return [_EVERYTHING]
    text = _ENCODER.encode(_Hints(list(ready), list(changed)))
    if len(text) <= _MOST_BYTES:
        return [text.decode()]
    if len(changed) > 1:
        half = len(changed) // 2
        return notices(ready, changed[:half]) + notices((), changed[half:])
    if len(ready) > 1:
        half = len(ready) // 2
        return notices(ready[:half], changed) + notices(ready[half:], ())
    return [_EVERYTHING]


def hints_of(text: str) -> list[Wakeup]:
    """What a notification says."""
    if text.startswith(_TEXT):
        return [Broadcast(text=text.removeprefix(_TEXT))]
    try:
        hints = _DECODER.decode(text)
    except msgspec.DecodeError:
        return [Anything()]  # another release speaks differently, but something has happened
    named: list[Wakeup] = [QueueReady(queue=queue) for queue in hints.ready]
    named += [RunChanged(run_id=run_id) for run_id in hints.changed]
    return named or [Anything()]


class Messenger:
    """Tells other processes, and hears them; keeps at it through every lost connection until it is closed."""

    def __init__(self, options: PostgresOptions, hub: WakeupHub) -> None:
        self._options = options
        self._hub = hub
        self._channel = f"stepflow_{options.schema}"[:63]
        self._ready: dict[str, None] = {}
        self._changed: dict[RunId, None] = {}
        self._texts: list[tuple[Sequence[str], asyncio.Future[None]]] = []
        self._stirred = asyncio.Event()
        self._told = asyncio.Event()
        self._told.set()
        self._task: asyncio.Task[None] | None = None
        self.hears = asyncio.Event()
        """Set while other processes are heard."""

    def start(self) -> None:
        """Begin; the connection is made in the background, opening a storage need not wait for it."""
        if self._options.direct is None:
            _log.warning(
                "hints of other processes can't be heard through a transaction pooler: they cost up to a poll (1 s); "
                "give listen=URL with a URL that reaches the server directly"
            )
        self._task = asyncio.get_running_loop().create_task(self._for_ever(), name="stepflow-hints")

    def publish(self, *, ready: Collection[str], changed: Collection[RunId]) -> None:
        """Tell this process at once and all others soon."""
        if ready or changed:
            self._hub.publish(ready=ready, changed=changed)
            self._ready.update(dict.fromkeys(ready))
            self._changed.update(dict.fromkeys(changed))
            self._told.clear()
            self._stirred.set()

    async def broadcast(self, texts: Sequence[str]) -> None:
        """Tell this process at once, and all others before this returns. ``StorageUnavailableError`` if that takes too long."""
        self._hub.tell([Broadcast(text=text) for text in texts])
        sent: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._texts.append((texts, sent))
        self._stirred.set()
        try:
            async with asyncio.timeout(self._options.statement_timeout):
                await sent
        except TimeoutError:
            raise StorageUnavailableError("PostgreSQL did not take what was to be broadcast") from None

    async def close(self) -> None:
        """End; what was not told yet is told first, if that is quickly done."""
        if self._task is None:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CLOSING):
                await self._told.wait()
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._task = None

    async def _for_ever(self) -> None:
        """Serve over a connection, and over another one when it is lost."""
        pause = _FIRST_PAUSE
        while True:
            link: Link | None = None
            try:
                # A notification bears the number of the server process that sent it, so both go over one direct connection.
                direct = self._options.direct
                link = await open_link(self._options, url=direct, pooled=direct is None)
                pause = _FIRST_PAUSE
                await self._serve(link, hear=direct is not None)
            except ERRORS as error:
                _log.debug("the connection for hints was lost (%s); connecting again", error)
            finally:
                self.hears.clear()
                if link is not None:
                    link.drop()
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def _serve(self, link: Link, *, hear: bool) -> None:
        """Tell what there is to tell until the connection is lost; while there is nothing, ask now and then whether it is there."""
        if hear:
            await self._listen(link)
        while link.usable:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._options.statement_timeout):
                    await self._stirred.wait()
            self._stirred.clear()
            ready, self._ready = self._ready, {}
            changed, self._changed = self._changed, {}
            texts = notices(list(ready), list(changed)) if ready or changed else []
            broadcasts, self._texts = [each for each in self._texts if not each[1].done()], []
            texts += [_TEXT + text for each, _ in broadcasts for text in each]
            try:
                async with asyncio.timeout(self._options.statement_timeout):
                    await link.fetch(_NOTIFY, self._channel, texts)
            except BaseException:
                for _, sent in broadcasts:
                    if not sent.done():
                        sent.set_exception(
                            StorageUnavailableError("a connection was lost, and a broadcast with it")
                        )
                raise
            for _, sent in broadcasts:
                if not sent.done():
                    sent.set_result(None)
            if not self._stirred.is_set():
                self._told.set()

    async def _listen(self, link: Link) -> None:
        await link.fetch(_UNFLUSHED)
        own: int = (await link.fetch("SELECT pg_backend_pid()"))[0][0]

        def heard(_: object, sender: int, __: str, text: object) -> None:
            if sender != own:
                self._hub.tell(hints_of(str(text)))

        def lost(_: object) -> None:
            self._stirred.set()

        link.connection.add_termination_listener(lost)
        await link.connection.add_listener(self._channel, heard)
        self.hears.set()
        self._hub.tell([Anything()])  # whatever was said while nobody listened
