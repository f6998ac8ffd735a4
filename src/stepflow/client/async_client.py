"""AsyncStepflowClient: the app's methods over HTTP, for programs with an event loop."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar, Unpack, overload

from stepflow.client.core import Core
from stepflow.client.exchange import ClientOptions, Exchange, Settings
from stepflow.client.operations import Operations
from stepflow.client.runs import AsyncRemoteRun
from stepflow.client.streams import AsyncEventStream
from stepflow.client.transport import AsyncTransport
from stepflow.client.workflows import Takes, TakesNothing, output_type
from stepflow.types import Duration

if TYPE_CHECKING:
    import httpx

In = TypeVar("In")
Out = TypeVar("Out")


class AsyncStepflowClient(Operations):
    """A Stepflow app on a server: trigger, watch and steer its runs from anywhere.

    ``base_url`` is where the API is served, with any path. ``options`` are those of ``ClientOptions``: a credential, and how patient it is.
    ``http_client`` is a client of httpx's with settings of your own (proxies, certificates), which you close yourself. ``sleep`` is for tests.

    A call that is safe to repeat is repeated when no answer comes or the server is too busy (429, 502, 503, 504): everything that only reads, ``trigger``
    (it always has an id or a key) and ``notify``. Errors are those that the app raises in process, and ``UnauthenticatedError``,
    ``ForbiddenError``, ``ServerUnavailableError`` and ``RemoteError``.
    """

    def __init__(
        self,
        base_url: str,
        *,
        http_client: httpx.AsyncClient | None = None,
        sleep: Callable[[float], Awaitable[object]] | None = None,
        **options: Unpack[ClientOptions],
    ) -> None:
        settings = Settings.of(base_url, options)
        super().__init__(Core(Exchange(AsyncTransport(http_client, sleep), settings)))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        await self.close()

    @overload
    async def trigger(
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
    ) -> AsyncRemoteRun[Out]: ...
    @overload
    async def trigger(
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
    ) -> AsyncRemoteRun[Out]: ...
    @overload
    async def trigger(
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
    ) -> AsyncRemoteRun[Any]: ...
    async def trigger(
        self,
        workflow: Any,
        input: Any = None,
        /,
        *,
        id: str | None = None,
        idempotency_key: str | None = None,
        delay: Duration | None = None,
        tags: Mapping[str, str] | None = None,
        priority: int = 0,
        queue: str | None = None,
    ) -> AsyncRemoteRun[Any]:
        """Start a run; returns once it is durable. With a ``Workflow`` its result is typed, with an id it is ``Any``.

        The same ``id`` or ``idempotency_key`` again gives the same run; ``RunConflictError`` if it belongs to another workflow or input,
        ``UnknownWorkflowError``, ``InputError`` (with ``path``) if the input does not fit. Without either, a random key makes sure that
        one call starts one run, however often it has to be sent.
        """
        started = await self._core.start(
            workflow,
            input,
            id=id,
            idempotency_key=idempotency_key,
            delay=delay,
            tags=tags,
            priority=priority,
            queue=queue,
        )
        return AsyncRemoteRun(self._core, started.run_id, output_type(workflow), started)

    @overload
    def handle(
        self, run_id: str, workflow: Takes[Any, Out] | TakesNothing[Out], /
    ) -> AsyncRemoteRun[Out]: ...
    @overload
    def handle(self, run_id: str, /) -> AsyncRemoteRun[Any]: ...
    def handle(self, run_id: str, workflow: Any = None, /) -> AsyncRemoteRun[Any]:
        """A handle for a run that was started anywhere; no I/O."""
        return AsyncRemoteRun(self._core, run_id, output_type(workflow))

    def stream(self, run_id: str, /, *, after: str | None = None) -> AsyncEventStream:
        """What happens in a run, as it happens, until it has ended.

        It begins with a ``RunSnapshot``, how the run is now; with ``after``, the ``cursor`` of a former stream, it goes on from there, and ``"0"``
        is the run's beginning.
        """
        return self._core.follow([run_id], several=False, after=after)

    def subscribe(self, *run_ids: str, after: str | None = None) -> AsyncEventStream:
        """The same of several runs (at most 100) on one connection; ``event.run_id`` says which. A cursor belongs to these runs."""
        return self._core.follow(run_ids, several=True, after=after)
