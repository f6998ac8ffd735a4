"""StepflowClient: the app's methods over HTTP, blocking. Derived from the asynchronous ones, not written twice."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar, Unpack, overload

from stepflow.client.core import Core
from stepflow.client.driving import blocking, finish
from stepflow.client.exchange import ClientOptions, Exchange, Settings
from stepflow.client.operations import Operations
from stepflow.client.runs import AsyncRemoteRun, RemoteRun
from stepflow.client.streams import EventStream
from stepflow.client.transport import BlockingTransport
from stepflow.client.workflows import Takes, TakesNothing, output_type
from stepflow.types import Duration

if TYPE_CHECKING:
    import httpx

In = TypeVar("In")
Out = TypeVar("Out")


class StepflowClient:
    """``AsyncStepflowClient``, blocking: for scripts, Flask views and Django. May be used by several threads at once."""

    def __init__(
        self,
        base_url: str,
        *,
        http_client: httpx.Client | None = None,
        sleep: Callable[[float], object] | None = None,
        **options: Unpack[ClientOptions],
    ) -> None:
        settings = Settings.of(base_url, options)
        self._core = Core(Exchange(BlockingTransport(http_client, sleep), settings))
        self._inner = Operations(self._core)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        finish(self._inner.close())

    @overload
    def trigger(
        self,
        workflow: TakesNothing[Out],
        input: None = None,
        /,
        *,
        id: str | None = None,
        idempotency_key: str | None = None,
        delay: Duration | None = None,
        tags: Mapping[str, str] | None = None,
        priority: int = 0,
        queue: str | None = None,
    ) -> RemoteRun[Out]: ...
    @overload
    def trigger(
        self,
        workflow: Takes[In, Out],
        input: In,
        /,
        *,
        id: str | None = None,
        idempotency_key: str | None = None,
        delay: Duration | None = None,
        tags: Mapping[str, str] | None = None,
        priority: int = 0,
        queue: str | None = None,
    ) -> RemoteRun[Out]: ...
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
        tags: Mapping[str, str] | None = None,
        priority: int = 0,
        queue: str | None = None,
    ) -> RemoteRun[Any]: ...
    def trigger(
        self,
        workflow: Any,
        input: Any = None,
        /,
        *,
        id: str | None = None,
        idempotency_key: str | None = None,
        **options: Any,
    ) -> RemoteRun[Any]:
        """See ``AsyncStepflowClient.trigger``."""
        started = finish(self._core.start(workflow, input, id=id, idempotency_key=idempotency_key, **options))
        return RemoteRun(AsyncRemoteRun(self._core, started.run_id, output_type(workflow), started))

    @overload
    def handle(self, run_id: str, workflow: Takes[Any, Out] | TakesNothing[Out], /) -> RemoteRun[Out]: ...
    @overload
    def handle(self, run_id: str, /) -> RemoteRun[Any]: ...
    def handle(self, run_id: str, workflow: Any = None, /) -> RemoteRun[Any]:
        """See ``AsyncStepflowClient.handle``."""
        return RemoteRun(AsyncRemoteRun(self._core, run_id, output_type(workflow)))

    def stream(self, run_id: str, /, *, after: str | None = None) -> EventStream:
        """See ``AsyncStepflowClient.stream``."""
        return EventStream(self._core.follow([run_id], several=False, after=after))

    def subscribe(self, *run_ids: str, after: str | None = None) -> EventStream:
        """See ``AsyncStepflowClient.subscribe``."""
        return EventStream(self._core.follow(run_ids, several=True, after=after))

    notify = blocking(Operations.notify)
    get_run = blocking(Operations.get_run)
    list_steps = blocking(Operations.list_steps)
    list_runs = blocking(Operations.list_runs)
    workflows = blocking(Operations.workflows)
    health = blocking(Operations.health)
    wait = blocking(Operations.wait)
    cancel = blocking(Operations.cancel)
    pause = blocking(Operations.pause)
    resume = blocking(Operations.resume)
    retry = blocking(Operations.retry)
    delete = blocking(Operations.delete)
    new_token = blocking(Operations.new_token)
    close = blocking(Operations.close)
