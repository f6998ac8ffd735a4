"""Hosting: what HTTP needs of an app, so that nothing here has to know how one is put together."""

# An app's own life cycle is not public; this one module reaches for it, and all others call the functions below.
# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Protocol

from stepflow._engine.registry import Registry
from stepflow.hooks import Hook, Hooks
from stepflow.service import Service


class Portal(Protocol):
    """A thread with an event loop of its own."""

    @property
    def loop(self) -> asyncio.AbstractEventLoop: ...


class Blocking(Protocol):
    """``app.sync``."""

    def _ready(self) -> tuple[Portal, App]: ...


class App(Protocol):
    """``Stepflow``, as it is seen from here."""

    async def __aenter__(self) -> Any: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None: ...

    @property
    def _opened(self) -> object | None: ...

    @property
    def _registry(self) -> Registry: ...

    @property
    def _hooks(self) -> Hooks: ...

    def _service(self, verb: str) -> Service: ...

    async def _open(self, *, worker: bool) -> None: ...

    async def _close(self) -> None: ...


class SyncApp(App, Protocol):
    """``Stepflow``, for blocking frameworks."""

    @property
    def sync(self) -> Any: ...


def is_open(app: App) -> bool:
    return app._opened is not None


def service_of(app: App) -> Service:
    """The use cases of an open app; ``NotOpenError`` if it is not."""
    return app._service("serve")


def registry_of(app: App) -> Registry:
    """The workflows of an app, open or not."""
    return app._registry


def observe(app: App, hook: Hook) -> None:
    """Tell this hook what happens from now on. A worker looks whether there are any when it starts: do it before the app is open."""
    app._hooks.add(hook)


def ready_on_a_thread(app: SyncApp) -> tuple[asyncio.AbstractEventLoop, App]:
    """The loop of the thread that blocking code calls, and the app that is open there; made anew after a fork."""
    blocking: Blocking = app.sync
    portal, opened = blocking._ready()
    return portal.loop, opened


@asynccontextmanager
async def opened_for(app: App, *, worker: bool | None) -> AsyncGenerator[None]:
    """The app, open: by this, or because it is already. ``worker`` None is as its own settings say."""
    if is_open(app):
        yield
    elif worker is None:
        async with app:
            yield
    else:
        await app._open(worker=worker)
        try:
            yield
        finally:
            await app._close()
