"""Attention: which runs are watched in this process. Others are told, as long as it lasts, and what they tell is passed on."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Final

from stepflow._runtime.broadcasting import Broadcaster
from stepflow._runtime.signals import RunLogged, Told, Transient, watched
from stepflow.clock import Clock
from stepflow.types import RunId

LASTS: Final = timedelta(seconds=60)
"""After which a watcher that is not heard of any more is gone."""

RENEWED_EVERY: Final = LASTS / 3
_PATIENCE: Final = 1.0
Hear = Callable[[Transient], None]


class Attention:
    """Counts who watches which run, and says so to those who may execute it. Used on one event loop."""

    def __init__(self, broadcaster: Broadcaster, clock: Clock) -> None:
        self._broadcaster = broadcaster
        self._clock = clock
        self._readers: dict[RunId, int] = {}
        self._new: dict[RunId, None] = {}
        self._left: dict[RunId, None] = {}
        self._hears: tuple[Hear, ...] = ()
        self._unset: Callable[[], None] | None = None

    def listen(self, hear: Hear) -> Callable[[], None]:
        """Pass on what other processes tell of the runs that are watched here; what is returned ends it."""
        self._hears = (*self._hears, hear)

        def end() -> None:
            self._hears = tuple(known for known in self._hears if known is not hear)

        return end

    def watch(self, run_id: RunId) -> None:
        """One reader more; give it back with ``unwatch``. ``announced`` tells others."""
        if not self._broadcaster.is_heard:
            return
        self._readers[run_id] = self._readers.get(run_id, 0) + 1
        if self._readers[run_id] == 1:
            self._left.pop(run_id, None)
            self._new[run_id] = None
            if self._unset is None:
                self._set_renewal()

    def unwatch(self, run_id: RunId) -> None:
        readers = self._readers.pop(run_id, 0) - 1
        if readers > 0:
            self._readers[run_id] = readers
        elif run_id in self._new:
            del self._new[run_id]  # nobody has been told
        elif readers == 0:
            self._left[run_id] = None
            self._announce()

    async def announced(self) -> None:
        """Wait until others have been told of the runs that are watched now; if that takes too long, they are told later."""
        self._announce()
        await self._broadcaster.sent(within=_PATIENCE)

    # ------------------------------------------------------------------ what others say
    def sought(self) -> None:
        """Somebody begins to execute runs, and knows of nobody."""
        self._say(self._readers)

    def heard(self, signal: Told) -> None:
        """Somebody tells what happens in a run."""
        origin, here = signal.origin, self._broadcaster.origin
        if origin.process == here.process and (origin.app == here.app or isinstance(signal, RunLogged)):
            return  # hooks of the same app, and the log of the same process, have told it already
        fact: Transient = signal.fact
        if fact.run_id in self._readers:
            for hear in self._hears:
                hear(fact)

    # ------------------------------------------------------------------ saying so
    def _announce(self) -> None:
        new, self._new = self._new, {}
        left, self._left = self._left, {}
        self._say(new)
        for signal in watched(self._broadcaster.origin, left, seconds=0):
            self._broadcaster.send(signal)

    def _say(self, run_ids: Iterable[RunId]) -> None:
        for signal in watched(self._broadcaster.origin, run_ids, seconds=LASTS.total_seconds()):
            self._broadcaster.send(signal)

    def _set_renewal(self) -> None:
        self._unset = self._clock.call_at(self._clock.now() + RENEWED_EVERY, self._renew)

    def _renew(self) -> None:
        self._unset = None
        if self._readers:
            self._say(self._readers)
            self._set_renewal()

    def close(self) -> None:
        """Say nothing more."""
        if self._unset is not None:
            self._unset()
            self._unset = None
