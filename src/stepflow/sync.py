"""SyncStepflow: the app's methods, blocking. Derived from the asynchronous ones, not written twice."""

from __future__ import annotations

import asyncio
import atexit
import functools
import os
import threading
from collections.abc import Callable, Coroutine, Mapping
from datetime import datetime
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, overload

from stepflow.app import Stepflow
from stepflow.errors import BlockingCallError, InputError
from stepflow.handles import RunHandle
from stepflow.primitives.waiting import EventAddress
from stepflow.types import Duration, RunId
from stepflow.workflows import Workflow

P = ParamSpec("P")
T = TypeVar("T")
In = TypeVar("In")
Out = TypeVar("Out")
Out_co = TypeVar("Out_co", covariant=True)


class _Portal:
    """One background thread with an event loop, for all apps of a process; made anew after a fork."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="stepflow-sync", daemon=True)
        self._thread.start()
        atexit.register(self.close)

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result()

    def close(self) -> None:
        if self.pid == os.getpid() and not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self.loop.stop)
            self._thread.join()
            self.loop.close()


_portal: _Portal | None = None
_portal_lock = threading.Lock()


def _current_portal() -> _Portal:
    global _portal
    with _portal_lock:
        if _portal is None or _portal.pid != os.getpid():
            _portal = _Portal()
        return _portal


def _refuse_on_a_loop(verb: str) -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise BlockingCallError(
        f"app.sync.{verb}() would block the event loop that runs here; use `await app.{verb}()` on an open app instead"
    )


def _call_here(work: Coroutine[Any, Any, T]) -> T:
    """Do it on the calling thread, which the caller's own blocking connection belongs to: then it never waits for a loop."""
    try:
        work.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    work.close()
    raise InputError(
        "app.sync takes a blocking connection= (sqlite3, psycopg.Connection, SQLAlchemy's Session); use the app itself for an asynchronous one"
    )


def _blocking(
    method: Callable[Concatenate[Stepflow, P], Coroutine[Any, Any, T]], /
) -> Callable[Concatenate[SyncStepflow, P], T]:
    @functools.wraps(method)
    def call(self: SyncStepflow, /, *args: P.args, **kwargs: P.kwargs) -> T:
        _refuse_on_a_loop(method.__name__)
        portal, app = self._ready()
        return portal.call(method(app, *args, **kwargs))

    return call


class SyncRunHandle(Generic[Out_co]):
    """``RunHandle``, blocking."""

    def __init__(self, sync: SyncStepflow, handle: RunHandle[Out_co]) -> None:
        self._sync = sync
        self._handle = handle

    @property
    def id(self) -> RunId:
        return self._handle.id

    @property
    def created(self) -> bool:
        """True if this call started the run."""
        return self._handle.created

    def result(self, *, timeout: Duration | None = None) -> Out_co:
        """See ``RunHandle.result``."""
        return self._sync.call("result", self._handle.result(timeout=timeout))

    def status(self) -> str:
        """See ``RunHandle.status``."""
        return self._sync.call("status", self._handle.status())

    def cancel(self, *, force: bool = False) -> None:
        """See ``RunHandle.cancel``."""
        self._sync.call("cancel", self._handle.cancel(force=force))

    def __repr__(self) -> str:
        return f"SyncRunHandle({self.id!r})"


class SyncStepflow:
    """``app.sync``. It opens the app's storage on a background thread of its own at the first call."""

    def __init__(self, app: Stepflow) -> None:
        self._app = app
        self._shadow: Stepflow | None = None
        self._shadow_portal: _Portal | None = None
        self._lock = threading.Lock()

    def _ready(self) -> tuple[_Portal, Stepflow]:
        """The thread to call on, and the app that is open there."""
        portal = _current_portal()
        with self._lock:
            if self._shadow is None or self._shadow_portal is not portal:
                shadow = self._app._shadow()  # pyright: ignore[reportPrivateUsage]
                portal.call(shadow._open(worker=False))  # pyright: ignore[reportPrivateUsage]
                self._shadow, self._shadow_portal = shadow, portal
            return portal, self._shadow

    def call(self, verb: str, work: Coroutine[Any, Any, T]) -> T:
        """Wait for ``work`` of an object of this app."""
        try:
            _refuse_on_a_loop(verb)
            portal, _ = self._ready()
        except BaseException:
            work.close()
            raise
        return portal.call(work)

    def close(self) -> None:
        """Disconnect; the next call connects again. At the end of the process this is not needed."""
        with self._lock:
            shadow, portal = self._shadow, self._shadow_portal
            self._shadow = self._shadow_portal = None
        if shadow is not None and portal is not None and portal.pid == os.getpid():
            portal.call(shadow._close())  # pyright: ignore[reportPrivateUsage]

    @overload
    def trigger(
        self,
        workflow: Workflow[None, Out],
        input: None = None,
        /,
        *,
        id: str | None = None,
        idempotency_key: str | None = None,
        delay: Duration | None = None,
        at: datetime | None = None,
        tags: Mapping[str, str] | None = None,
        priority: int = 0,
        queue: str | None = None,
        connection: Any = None,
    ) -> SyncRunHandle[Out]: ...
    @overload
    def trigger(
        self,
        workflow: Workflow[In, Out],
        input: In,
        /,
        *,
        id: str | None = None,
        idempotency_key: str | None = None,
        delay: Duration | None = None,
        at: datetime | None = None,
        tags: Mapping[str, str] | None = None,
        priority: int = 0,
        queue: str | None = None,
        connection: Any = None,
    ) -> SyncRunHandle[Out]: ...
    @overload
    def trigger(
        self,
        workflow: str,
        input: object = None,
        /,
        *,
        id: str | None = None,
        idempotency_key: str | None = None,
        delay: Duration | None = None,
        at: datetime | None = None,
        tags: Mapping[str, str] | None = None,
        priority: int = 0,
        queue: str | None = None,
        connection: Any = None,
    ) -> SyncRunHandle[Any]: ...
    def trigger(self, workflow: Any, input: Any = None, /, **options: Any) -> SyncRunHandle[Any]:
        """See ``Stepflow.trigger``."""
        _refuse_on_a_loop("trigger")
        portal, app = self._ready()
        work = app.trigger(workflow, input, **options)
        return SyncRunHandle(
            self, _call_here(work) if options.get("connection") is not None else portal.call(work)
        )

    @overload
    def handle(self, run_id: str, workflow: Workflow[Any, Out], /) -> SyncRunHandle[Out]: ...
    @overload
    def handle(self, run_id: str, /) -> SyncRunHandle[Any]: ...
    def handle(self, run_id: str, workflow: Any = None, /) -> SyncRunHandle[Any]:
        """See ``Stepflow.handle``."""
        _, app = self._ready()
        return SyncRunHandle(self, app.handle(run_id, workflow))

    def notify(
        self,
        event: str | EventAddress[T],
        payload: object = None,
        /,
        *,
        run_id: str | None = None,
        id: str | None = None,
        once: bool = False,
        connection: Any = None,
    ) -> int:
        """See ``Stepflow.notify``."""
        _refuse_on_a_loop("notify")
        portal, app = self._ready()
        work = app.notify(event, payload, run_id=run_id, id=id, once=once, connection=connection)
        return portal.call(work) if connection is None else _call_here(work)

    get_run = _blocking(Stepflow.get_run)
    list_runs = _blocking(Stepflow.list_runs)
    cancel = _blocking(Stepflow.cancel)
    pause = _blocking(Stepflow.pause)
    resume = _blocking(Stepflow.resume)
    retry = _blocking(Stepflow.retry)
    delete = _blocking(Stepflow.delete)
    create_run_token = _blocking(Stepflow.create_run_token)
