"""Running: servers on a loop in a thread of its own, and both clients behind one blocking face, so that each test is written once."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import AsyncIterable, Callable, Coroutine, Iterator
from contextlib import suppress
from datetime import timedelta
from types import TracebackType
from typing import Any, Self, TypeVar

from stepflow.app import Stepflow
from stepflow.cli.listening import Listener, bind
from stepflow.client import AsyncRemoteRun, AsyncStepflowClient, StepflowClient
from stepflow.client.streams import AsyncEventStream
from stepflow.http import asgi_app
from stepflow.http.options import ApiOptions
from stepflow.testing.adapter_contract import program
from tests.servers.proxy import FaultProxy

T = TypeVar("T")
PATIENCE = 30.0


class Background:
    """An event loop in a thread, for everything that has to go on while a blocking client waits."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="servers", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(PATIENCE)

    def close(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()


class Server:
    """An app on a real server, below ``/base``. It may be stopped, and started again at the same address."""

    def __init__(
        self, background: Background, make_app: Callable[[], Stepflow], options: ApiOptions | None = None
    ) -> None:
        self._background = background
        self._make_app = make_app
        self._options = options or program.options()
        self._port = 0
        self._listener: Listener | None = None
        self._serving: asyncio.Task[None] | None = None
        self.app: Stepflow | None = None

    @property
    def port(self) -> int:
        return self._port

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}/base"

    def start(self) -> Self:
        self._background.call(self._start())
        return self

    async def _start(self) -> None:
        self.app = self._make_app()
        bound = bind("127.0.0.1", self._port)
        self._port = bound.getsockname()[1]
        application = asgi_app(self.app, base_path="/base", worker=True, **self._options)
        self._listener = Listener(application, bound, grace=timedelta(seconds=5))
        self._api = application.api
        self._serving = asyncio.create_task(self._listener.listen())
        await self._listener.ready.wait()

    def stop(self) -> None:
        self._background.call(self._stop())

    async def _stop(self) -> None:
        if self._listener is not None and self._serving is not None:
            self._api.close()
            self._listener.stop()
            await self._serving
            self._listener = None

    @property
    def open_streams(self) -> int:
        return self._api.open_streams

    def proxy(self) -> FaultProxy:
        """In front of it, open. Close it with ``Background.call``."""

        async def begin() -> FaultProxy:
            return await FaultProxy(self._port).__aenter__()

        return self._background.call(begin())


class Blocking:
    """Anything asynchronous of the client's, on a loop that runs only while it is waited for."""

    def __init__(self, inner: Any, runner: asyncio.Runner) -> None:
        self._inner = inner
        self._runner = runner

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if not callable(found):
            return found
        return lambda *args, **options: self._done(found(*args, **options))

    def _done(self, value: Any) -> Any:
        if inspect.iscoroutine(value):
            value = self._runner.run(value)
        if isinstance(value, AsyncRemoteRun | AsyncEventStream):
            return Blocking(value, self._runner)
        return value

    def __iter__(self) -> Iterator[Any]:
        events: AsyncIterable[Any] = self._inner
        with suppress(StopAsyncIteration):
            while True:
                yield self._runner.run(anext(events))  # type: ignore[call-overload]

    def __next__(self) -> Any:
        return self._runner.run(self._inner.__anext__())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._runner.run(self._inner.__aexit__(kind, error, trace))


class Clients:
    """Makes clients of one kind, and closes them."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._runner = asyncio.Runner()
        self._made: list[Any] = []

    def __call__(
        self, url: str, *, sleep: Callable[[float], object] = lambda seconds: None, **options: Any
    ) -> Any:
        """A client whose pauses are calls of ``sleep``."""
        if self.kind == "sync":
            client: Any = StepflowClient(url, sleep=sleep, **options)
        else:

            async def asleep(seconds: float) -> None:
                sleep(seconds)
                await asyncio.sleep(0)

            client = Blocking(AsyncStepflowClient(url, sleep=asleep, **options), self._runner)
        self._made.append(client)
        return client

    def close(self) -> None:
        for client in self._made:
            client.close()
        self._runner.close()
