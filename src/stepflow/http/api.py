"""Api: one object that answers every request, whatever framework it came through."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from inspect import isawaitable
from typing import Any, Final, Literal

from stepflow.auth.base import Auth, AuthContext, AuthResult, checked_auth, decide
from stepflow.auth.tokens import RunTokens, kept_run_tokens
from stepflow.durations import parse_duration
from stepflow.errors import DefinitionError, RunNotFoundError, StorageError, UnknownWorkflowError
from stepflow.hooks import Fact
from stepflow.http.call import Call
from stepflow.http.cors import Cors, is_preflight, same_origin
from stepflow.http.endpoints import events, health, runs, streams, workflows
from stepflow.http.hosting import App, observe, service_of
from stepflow.http.inputs import Query, Refused, read_body, read_query, read_rest
from stepflow.http.limiting import Limiter, caller_of, parse_rate
from stepflow.http.lookout import Lookout
from stepflow.http.messages import Answer, ClientGone, Request, Response, StreamingResponse, problem_response
from stepflow.http.router import Matched, Router, WrongMethod
from stepflow.service import Service
from stepflow.types import Duration
from stepflow.wire import routes
from stepflow.wire.problems import Problem, problem, problem_of
from stepflow.wire.routes import VERSION, VERSION_HEADER, Endpoint, Route, enabled_endpoints

_log = logging.getLogger("stepflow.http")

MAX_BODY = 4 * 1024 * 1024
MAX_STREAMS = 10_000
_LONGEST_LOGGED = 500
_SAFE = ("GET", "HEAD")
_CUT_OFF = (408, 413)
"""Answers to a body that there is no reason to wait for."""
_PATIENCE = 5.0
"""Seconds to wait for a body that is not needed."""
_HARDENING = (
    (VERSION_HEADER, VERSION),
    ("Referrer-Policy", "no-referrer"),
    ("X-Content-Type-Options", "nosniff"),
)
_NEVER_STORED = ("Cache-Control", "no-store")
_STREAM_NEVER_STORED = ("Cache-Control", "no-store, no-transform")

_ENDPOINTS: Final[Mapping[str, Callable[[Call], Awaitable[Response]]]] = {
    routes.TRIGGER.name: runs.trigger,
    routes.GET_RUN.name: runs.get_run,
    routes.LIST_STEPS.name: runs.list_steps,
    routes.LIST_RUNS.name: runs.list_runs,
    routes.CANCEL.name: runs.operate,
    routes.PAUSE.name: runs.operate,
    routes.RESUME.name: runs.operate,
    routes.RETRY.name: runs.operate,
    routes.DELETE.name: runs.operate,
    routes.ISSUE_TOKEN.name: runs.issue_token,
    routes.NOTIFY.name: events.notify,
    routes.NOTIFY_ANY.name: events.notify_any,
    routes.HEALTH.name: health.health,
    routes.LIST_WORKFLOWS.name: workflows.list_workflows,
    routes.OPENAPI.name: workflows.describe,
}
_READS_BODY = {
    routes.TRIGGER.name,
    routes.NOTIFY.name,
    routes.NOTIFY_ANY.name,
    routes.ISSUE_TOKEN.name,
}

OnAuthFailure = Callable[[AuthContext, AuthResult], object]


class Api:
    """Answers requests about an app's runs. ``DefinitionError`` without ``auth``: ``allow_all()`` has to be said.

    ``auth`` is a handler, or a mapping of ``"global"`` and endpoints to handlers. ``endpoints`` is a preset (all, public, private, internal,
    none) or a mapping of switches. ``cors`` are exact origins. ``on_auth_failure(context, result)`` hears of refusals; ``health_check()`` has
    a say in ``/health`` (both may be coroutine functions). ``run_token_view="status"`` hides inputs and results from run tokens, whose signing secret is
    ``run_token_secret``, or one that is made once and kept in the storage. A body has at most ``max_body`` bytes and takes at most
    ``body_timeout``; a stream's silence lasts at most ``heartbeat``; beyond ``max_streams`` streams at once the answer is 503. ``rate_limit``, like
    ``"100/s"`` or ``"600/m, burst 20"``, is what one credential may ask, or one address without a credential of its own, of this process: beyond it the answer is 429.
    """

    def __init__(
        self,
        app: App,
        *,
        auth: Auth | None = None,
        endpoints: str | Mapping[str, bool] = "all",
        cors: Iterable[str] = (),
        on_auth_failure: OnAuthFailure | None = None,
        health_check: Callable[[], Any] | None = None,
        run_token_view: Literal["full", "status"] = "full",  # noqa: S107 - what is shown, no credential
        run_token_secret: str | bytes | Sequence[str | bytes] | None = None,
        max_body: int = MAX_BODY,
        body_timeout: Duration = "30s",
        heartbeat: Duration = "15s",
        max_streams: int = MAX_STREAMS,
        rate_limit: str | None = None,
    ) -> None:
        if run_token_view not in ("full", "status"):
            raise DefinitionError(f"run_token_view={run_token_view!r}: 'full' or 'status'")
        if max_body < 1 or max_streams < 0:
            raise DefinitionError("max_body= is at least 1, max_streams= at least 0")
        self.max_body = max_body
        self.app = app
        self._auth = checked_auth(auth)
        self._router = Router(enabled_endpoints(endpoints))
        self._cors = Cors(cors)
        self._on_auth_failure = on_auth_failure
        self._health_check = health_check
        self._shows_values = run_token_view == "full"  # noqa: S105 - no credential
        self._tokens = None if run_token_secret is None else RunTokens(run_token_secret)
        self._body_timeout = parse_duration(body_timeout).total_seconds()
        self._heartbeat = _positive("heartbeat", heartbeat)
        self._max_streams = max_streams
        self._limiter = None if rate_limit is None else Limiter(parse_rate(rate_limit))
        self._streams = 0
        self._kept: tuple[Service, RunTokens] | None = None
        self._lookout: Lookout | None = None
        self._closing = asyncio.Event()
        observe(app, self._tell)

    # ================================================================ life
    @property
    def open_streams(self) -> int:
        return self._streams

    def open(self) -> None:
        """Answer again after ``close()``, in the event loop that runs now. A new ``Api`` need not be opened."""
        if self._closing.is_set():
            self._closing = asyncio.Event()
            self._lookout = None

    def close(self) -> None:
        """End every stream and long-poll, so that the server can stop: clients go on elsewhere, from where they were.

        To be called in the event loop that the requests are handled in. Later requests are answered with 503.
        """
        self._closing.set()
        if self._lookout is not None:
            self._lookout.close()

    def _tell(self, fact: Fact) -> None:
        """What is not in the journal goes to the readers of this process."""
        if self._lookout is not None:
            self._lookout.tell(fact)

    def _lookout_of(self, service: Service) -> Lookout:
        """One for as long as the app is open; another one when it is opened again."""
        if self._lookout is None or self._lookout.service is not service:
            if self._lookout is not None:
                self._lookout.close()
            self._lookout = Lookout(service)
        return self._lookout

    # ================================================================ requests
    async def handle(self, request: Request) -> Answer:
        """The answer; raises no ``Exception`` but ``ClientGone``. A ``StreamingResponse`` has to be closed by whoever writes it."""
        try:
            answer = await self._handle(request)
        except ClientGone:
            raise
        except Refused as refusal:
            answer = problem_response(refusal.problem)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is logged here and answered
            answer = self._failure(request, error)
        if request.method not in _SAFE and answer.status not in _CUT_OFF:
            await read_rest(request, within=min(_PATIENCE, self._body_timeout))
        streams = isinstance(answer, StreamingResponse)
        answer = answer.with_headers(
            *_HARDENING,
            _STREAM_NEVER_STORED if streams else _NEVER_STORED,
            *(() if _is_cors_answer(answer) else self._cors.headers(request.headers)),
        )
        if request.method != "HEAD":
            return answer
        if isinstance(answer, StreamingResponse):
            await answer.frames.aclose()
            return Response(status=answer.status, headers=answer.headers)
        return replace(answer, body=b"")

    def _failure(self, request: Request, error: Exception) -> Response:
        found = problem_of(error)
        if found.status >= 500:
            # The path holds no credential, as the query may; but it may hold lines that look like the log's own.
            asked = ascii(f"{request.method} {request.path}")[:_LONGEST_LOGGED]
            if found.status == 500:
                _log.error("%s failed", asked, exc_info=error)
            else:
                _log.warning("%s: %s", asked, error)
        return problem_response(found)

    async def _handle(self, request: Request) -> Answer:
        if is_preflight(request.method, request.headers):
            return self._cors.preflight(request.headers)
        matched = self._router.match(request.method, request.path)
        if matched is None:
            return problem_response(problem("not-found"))
        if isinstance(matched, WrongMethod):
            return problem_response(problem("method-not-allowed"), ("Allow", ", ".join(matched.allowed)))
        if matched.route is routes.LIVE:
            return health.live()
        if self._closing.is_set():
            raise Refused(problem("closing"))
        call = await self._admit(request, matched)
        if isinstance(call, Response):
            return call
        return await self._answer(call)

    # ================================================================ who asks
    async def _admit(self, request: Request, matched: Matched) -> Call | Response:
        service = service_of(self.app)
        route, parameters = matched.route, matched.parameters
        query = read_query(request.query)
        tokens = await self._run_tokens(service, route)
        context = AuthContext(
            route=route.endpoint.value,
            operation=route.name,
            method=route.method,
            now=service.clock.now(),
            headers=request.headers,
            query=query,
            run_id=parameters.get("runId"),
            workflow_id=parameters.get("workflowId"),
            event_id=parameters.get("eventId"),
            extra=request.extra,
            run_tokens=tokens,
        )
        who = await decide(self._auth, context)
        self._count(request, who, service)
        if who.denial is not None:
            return await self._refuse(context, who, query)
        if who.ambient and request.method not in _SAFE and not self._knows_origin(request):
            return await self._refuse(context, replace(who, denial="forbidden"), query)
        if who.kind == "run_token" and not self._shows_values:
            who = replace(who, values=False)
        body = b""
        if route.name in _READS_BODY:
            body = await read_body(request, most=self.max_body, within=self._body_timeout)
        return Call(
            request=request,
            route=route,
            parameters=parameters,
            query=query,
            who=who,
            service=service,
            body=body,
            tokens=tokens,
            lookout=self._lookout_of(service),
            is_healthy=self._health_check,
        )

    def _count(self, request: Request, who: AuthResult, service: Service) -> None:
        """``Refused`` if whoever asks has asked too much. Refused credentials count, too, for where they come from."""
        if self._limiter is None:
            return
        wait = self._limiter.count(caller_of(who, request.client), service.clock.monotonic())
        if wait:
            detail = f"at most {self._limiter.limit.text} are answered; try again in {math.ceil(wait)} s"
            raise Refused(problem("too-many-requests", detail, retryAfter=math.ceil(wait)))

    async def _run_tokens(self, service: Service, route: Route) -> RunTokens | None:
        if self._tokens is not None:
            return self._tokens
        if self._kept is None or self._kept[0] is not service:
            try:
                self._kept = (service, await kept_run_tokens(service.storage))
            except StorageError:
                if route.endpoint is Endpoint.HEALTH:
                    return None  # that the storage is away is what the answer is about
                raise
        return self._kept[1]

    def _knows_origin(self, request: Request) -> bool:
        return same_origin(request.scheme, request.headers) or self._cors.lists(request.headers.get("origin"))

    def admits_websocket(self, request: Request) -> bool:
        """Whether the page that opens it may: browsers send cookies with WebSockets from anywhere, and ask nobody first."""
        return "origin" not in request.headers or self._knows_origin(request)

    async def _refuse(self, context: AuthContext, who: AuthResult, query: Query) -> Response:
        if self._on_auth_failure is not None:
            heard = self._on_auth_failure(context, who)
            if isawaitable(heard):
                await heard
        match who.denial:
            case "unauthenticated":
                return problem_response(problem("unauthenticated"), ("WWW-Authenticate", "Bearer"))
            case "unavailable":
                return problem_response(problem("unavailable"))
            case "hidden":
                return problem_response(_unseen(context, who, query))
            case _:
                return problem_response(problem("forbidden"))

    # ================================================================ answering
    async def _answer(self, call: Call) -> Answer:
        if call.route.endpoint is Endpoint.RUNS_STREAM:
            return await self._stream(call)
        endpoint = _ENDPOINTS[call.route.name]
        if call.route is routes.GET_RUN and "wait" in call.query:
            return await self._unless_closing(endpoint(call))
        return await endpoint(call)

    async def _stream(self, call: Call) -> Answer:
        if self._streams >= self._max_streams:
            raise Refused(problem("too-many-streams", retryAfter=5))
        begin = streams.stream_run if call.route is routes.STREAM_RUN else streams.stream_runs
        return await begin(call, self._heartbeat, self._counted())

    @contextmanager
    def _counted(self) -> Generator[None]:
        """A stream counts from its first byte: one that is never written need not be given back."""
        self._streams += 1
        try:
            yield
        finally:
            self._streams -= 1

    async def _unless_closing(self, work: Awaitable[Response]) -> Response:
        """Wait for the answer, but not longer than this process serves."""
        waiting = asyncio.ensure_future(work)
        closing = asyncio.ensure_future(self._closing.wait())
        try:
            await asyncio.wait([waiting, closing], return_when=asyncio.FIRST_COMPLETED)
            if not waiting.done():
                raise Refused(problem("closing"))
            return waiting.result()
        finally:
            closing.cancel()
            waiting.cancel()
            await asyncio.gather(waiting, closing, return_exceptions=True)


def _is_cors_answer(answer: Answer) -> bool:
    return any(name in ("Access-Control-Allow-Origin", "Vary") for name, _ in answer.headers)


def _unseen(context: AuthContext, who: AuthResult, query: Query) -> Problem:
    """What is said of a run or workflow that does not exist."""
    if context.workflow_id is not None:
        return problem_of(UnknownWorkflowError(context.workflow_id))
    asked = [context.run_id] if context.run_id is not None else list(query.get("runId", ()))
    unseen = next((run_id for run_id in asked if not _sees(who, run_id)), "")
    return problem_of(RunNotFoundError(unseen))


def _sees(who: AuthResult, run_id: str) -> bool:
    """As if it were allowed otherwise: which of the runs asked for is the one that is refused."""
    return replace(who, denial=None).sees(run_id) and who.notify_run in (None, run_id)


def _positive(name: str, value: Duration) -> timedelta:
    found = parse_duration(value)
    if not found:
        raise DefinitionError(f"{name}={value!r}: longer than nothing")
    return found
