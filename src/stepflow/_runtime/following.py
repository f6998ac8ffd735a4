"""Following: waiting for runs to end, whoever executes them."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Sequence
from datetime import timedelta
from itertools import islice

from stepflow._runtime.glancing import AT_ONCE, Glances
from stepflow.clock import Clock
from stepflow.errors import NotOpenError, RunNotFoundError, StorageError
from stepflow.model.failures import Failure
from stepflow.model.payloads import Payload
from stepflow.model.states import RunStatus
from stepflow.storage import writes
from stepflow.storage.base import Storage
from stepflow.storage.writes import Transition
from stepflow.types import RunId

_log = logging.getLogger("stepflow.app")
_POLL = timedelta(seconds=1)
_REMEMBERED = 4_096
_REMEMBERED_SIZE = 16_384


class End:
    """Why a run stands still for good: ended, or paused (``detail`` says why)."""

    __slots__ = ("detail", "failure", "output", "status")

    def __init__(
        self,
        status: RunStatus,
        *,
        output: Payload | None = None,
        failure: Failure | None = None,
        detail: str = "",
    ) -> None:
        self.status = status
        self.output = output
        self.failure = failure
        self.detail = detail


class Follower:
    """Tells waiters when a run stands still: at once if it ends here, by a hint or the poll if elsewhere."""

    def __init__(self, storage: Storage, clock: Clock, *, driven_here: Callable[[RunId], bool]) -> None:
        self._storage = storage
        self._clock = clock
        self._driven_here = driven_here
        # Dictionaries, and no sets: whoever asked first is told first, the same way every time.
        self._waiters: dict[RunId, dict[asyncio.Future[End], None]] = {}
        self._completed: OrderedDict[RunId, End] = OrderedDict()
        self._watchers: dict[RunId, dict[asyncio.Event, None]] = {}
        self._glances = Glances(storage, clock, watched=self._watchers.keys, changed=self._changed)
        self._looking: asyncio.Task[None] | None = None
        self._look_at: dict[RunId, None] = {}
        self._unset: Callable[[], None] | None = None
        self._closed = False

    async def wait(self, run_id: RunId) -> End:
        """The end of the run, or its pause."""
        known = self._completed.get(run_id)
        if known is not None:
            return known
        if self._closed:
            raise _closed()
        waiter: asyncio.Future[End] = asyncio.get_running_loop().create_future()
        self._waiters.setdefault(run_id, {})[waiter] = None
        if not self._driven_here(run_id):
            self._look([run_id])
        self._set_poll()
        try:
            return await waiter
        finally:
            waiters = self._waiters.get(run_id)
            if waiters is not None:
                waiters.pop(waiter, None)
                if not waiters:
                    del self._waiters[run_id]

    def watch(self, run_id: RunId, event: asyncio.Event | None = None) -> asyncio.Event:
        """An event (this one, to watch several runs with it) that is set whenever the run may have changed; give it back with ``unwatch``."""
        self._set_poll()
        if event is None:
            event = asyncio.Event()
        self._watchers.setdefault(run_id, {})[event] = None
        return event

    def unwatch(self, run_id: RunId, event: asyncio.Event) -> None:
        events = self._watchers.get(run_id, {})
        events.pop(event, None)
        if not events:
            self._watchers.pop(run_id, None)
            self._glances.forget(run_id)

    def missed(self, run_id: RunId) -> None:
        """Whoever was told that the run may have changed could not look: it is told again, with the next poll."""
        self._glances.forget(run_id)

    def left(self, run_id: RunId, transition: Transition) -> None:
        """A run ended or was paused in this process."""
        match transition:
            case writes.Complete(output=output):
                end = End(RunStatus.COMPLETED, output=output)
                if output.size <= _REMEMBERED_SIZE:
                    self._completed[run_id] = end
                    if len(self._completed) > _REMEMBERED:
                        self._completed.popitem(last=False)
            case writes.Fail(failure=failure):
                end = End(RunStatus.FAILED, failure=failure)
            case writes.Cancel():
                end = End(RunStatus.CANCELLED)
            case writes.Pause(reason=reason, detail=detail):
                end = End(RunStatus.PAUSED, detail=detail or reason.value)
            case _:
                self._changed(run_id)
                return
        self._changed(run_id)
        self._tell(run_id, end)

    def progressed(self, run_id: RunId) -> None:
        """A run that is executed here has a new journal row."""
        if self._watchers:
            self._changed(run_id)

    def hint(self, run_id: RunId | None) -> None:
        """The run (None: any run) may have changed, somewhere."""
        if run_id is None:
            self._glances.ask()
            self._look([waited for waited in self._waiters if not self._driven_here(waited)])
        else:
            self._changed(run_id)
            if run_id in self._waiters and not self._driven_here(run_id):
                self._look([run_id])

    def check_open(self) -> None:
        """``NotOpenError`` once it is closed: nothing will be heard of any more."""
        if self._closed:
            raise _closed()

    def forget(self, run_id: RunId) -> None:
        """The run may begin anew (deleted, and its id used again)."""
        self._completed.pop(run_id, None)

    async def close(self) -> None:
        """End every wait with ``NotOpenError``."""
        self._closed = True
        if self._unset is not None:
            self._unset()
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)
        await self._glances.close()
        for run_id in list(self._waiters):
            self._fail(run_id, _closed())
        for run_id in list(self._watchers):
            self._changed(run_id)

    def _changed(self, run_id: RunId) -> None:
        for event in self._watchers.get(run_id, ()):
            event.set()

    def _tell(self, run_id: RunId, end: End) -> None:
        for waiter in self._waiters.pop(run_id, ()):
            if not waiter.done():
                waiter.set_result(end)

    def _set_poll(self) -> None:
        if self._unset is None and not self._closed:
            self._unset = self._clock.call_at(self._clock.now() + _POLL, self._poll)

    def _poll(self) -> None:
        self._unset = None
        if self._waiters or self._watchers:
            self.hint(None)
            self._set_poll()

    def _look(self, run_ids: list[RunId]) -> None:
        """Read these runs, all in one task however many hints come."""
        if not run_ids or self._closed:
            return
        self._look_at.update(dict.fromkeys(run_ids))
        if self._looking is None or self._looking.done():
            self._looking = asyncio.get_running_loop().create_task(self._look_up())

    async def _look_up(self) -> None:
        while self._look_at:
            some = list(islice(self._look_at, AT_ONCE))
            for run_id in some:
                del self._look_at[run_id]
            try:
                for run_id in await self._standing([each for each in some if each in self._waiters]):
                    await self._look_up_one(run_id)
            except StorageError as error:
                _log.warning(
                    "runs that are waited for could not be read (%s); the next poll tries again", error
                )
                return

    async def _standing(self, run_ids: Sequence[RunId]) -> Sequence[RunId]:
        """Those that have ended, are paused or are gone, which is seen at less cost than reading each."""
        if len(run_ids) < 2:
            return run_ids
        found = await self._storage.read_progress(run_ids)
        return [run_id for run_id in run_ids if run_id not in found or _stands_still(found[run_id].status)]

    async def _look_up_one(self, run_id: RunId) -> None:
        run = await self._storage.get_run(run_id)
        if run is None:
            self._fail(run_id, RunNotFoundError(run_id))
        elif _stands_still(run.status):
            detail = run.pause_detail or (run.pause_reason.value if run.pause_reason else "")
            self._tell(run_id, End(run.status, output=run.output, failure=run.failure, detail=detail))

    def _fail(self, run_id: RunId, error: Exception) -> None:
        for waiter in self._waiters.pop(run_id, ()):
            if not waiter.done():
                waiter.set_exception(error)


def _stands_still(status: RunStatus) -> bool:
    return status.ended or status is RunStatus.PAUSED


def _closed() -> NotOpenError:
    return NotOpenError("the app was closed while it was waited for the run; the run itself is not concerned")
