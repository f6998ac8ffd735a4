"""Streaming: one or several runs as an endless answer: frames, heartbeats, and every reason to end it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import AbstractContextManager, aclosing
from datetime import timedelta

from stepflow.auth.base import AuthResult
from stepflow.errors import NotOpenError, RunNotFoundError, StorageError
from stepflow.http.following import Follower, Happened, frame_of
from stepflow.http.lookout import Lookout, Watch
from stepflow.http.messages import Frame
from stepflow.types import RunId
from stepflow.wire.records import View, instant
from stepflow.wire.streams import START, Position, TokenExpired, encode_positions

_log = logging.getLogger("stepflow.http")


class Reading:
    """One reader's stream. Without ``positions`` it begins with how things are; ``several``: its ids are opaque."""

    def __init__(
        self,
        lookout: Lookout,
        run_ids: Sequence[RunId],
        positions: dict[RunId, Position] | None,
        view: View,
        who: AuthResult,
        *,
        several: bool,
        heartbeat: timedelta,
        reset: bool = False,
    ) -> None:
        known = positions or {}
        self.followers = {
            run_id: Follower(lookout, run_id, view, known.get(run_id), reset=reset) for run_id in run_ids
        }
        self._lookout = lookout
        self._who = who
        self._several = several
        self._heartbeat = heartbeat.total_seconds()
        self._clock = lookout.service.clock
        self._said = 0.0

    async def is_over(self) -> bool:
        """Whether the reader has seen the end of every run: there is nothing to stream."""
        for follower in self.followers.values():
            if not await follower.is_past_the_end():
                return False
        return True

    async def frames(self, counted: AbstractContextManager[None]) -> AsyncGenerator[Frame | None, None]:
        """The stream, until all runs have ended, the credential expires, or this process closes; ``counted`` meanwhile."""
        run_ids = list(self.followers)
        self._said = self._clock.monotonic()
        with counted:
            watch = self._lookout.watch(run_ids)
            try:
                await self._lookout.announced()
                async with aclosing(self._told(watch)) as told:
                    async for frame in told:
                        self._said = self._clock.monotonic()
                        yield frame
            finally:
                self._lookout.unwatch(run_ids, watch)

    async def _told(self, watch: Watch) -> AsyncGenerator[Frame | None, None]:
        while not self._lookout.closing:
            watch.changed.clear()
            transients = list(watch.transients)
            watch.transients.clear()
            more = False
            for follower in self.followers.values():
                if follower.gone:
                    continue
                mine = [fact for fact in transients if fact.run_id == follower.run_id]
                try:
                    happened = await follower.next(mine)
                except RunNotFoundError:
                    follower.gone = follower.ended = True
                    continue
                except StorageError as error:
                    _log.warning("a stream waits for the storage (%s)", error)
                    self._lookout.service.follower.missed(follower.run_id)
                    continue
                for each in happened:
                    yield self._frame(follower, each)
                more = more or (bool(happened) and not follower.ended)
            if self._has_expired():
                for run_id in self.followers:
                    yield frame_of(TokenExpired(run_id=run_id, at=instant(self._clock.now())), None)
                return
            if all(follower.ended for follower in self.followers.values()):
                return
            if not more and not watch.changed.is_set():
                try:
                    self._lookout.service.follower.check_open()
                except NotOpenError:
                    return
                while not await self._has_news(watch):
                    yield None

    async def _has_news(self, watch: Watch) -> bool:
        """Wait until something may have changed; False when it is time for a heartbeat instead.

        Most looks find nothing: the silence is counted from the last frame, however often somebody looked meanwhile.
        """
        seconds = self._heartbeat - (self._clock.monotonic() - self._said)
        if self._who.expires_at is not None:
            left = self._who.expires_at - self._clock.now()
            seconds = min(seconds, max(0.0, left.total_seconds()) + 0.001)
        try:
            async with asyncio.timeout(seconds):
                await watch.changed.wait()
        except TimeoutError:
            return self._has_expired()
        return True

    def _has_expired(self) -> bool:
        expires_at = self._who.expires_at
        return expires_at is not None and self._clock.now() >= expires_at

    def _frame(self, follower: Follower, happened: Happened) -> Frame:
        if happened.position is None:
            return frame_of(happened.event, None)
        if not self._several:
            return frame_of(happened.event, str(happened.position))
        positions = {run_id: each.position or START for run_id, each in self.followers.items()}
        positions[follower.run_id] = happened.position
        return frame_of(happened.event, encode_positions(positions))
