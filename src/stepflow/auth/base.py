"""Who asks, and what they may do: the request as a handler sees it, its answer, and the one function that decides."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from datetime import datetime
from inspect import isawaitable
from types import MappingProxyType
from typing import Any, Literal, Protocol, TypeAlias, assert_never, get_args

from stepflow.errors import DefinitionError
from stepflow.types import EventId, RunId

Route: TypeAlias = Literal["trigger", "notify", "runs", "runsStream", "health", "operations"]
"""What a handler can be given for; ``operations`` is every route that is none of the others."""

PrincipalKind: TypeAlias = Literal["secret", "public", "bearer", "run_token", "anonymous", "custom"]

Denial: TypeAlias = Literal["unauthenticated", "forbidden", "hidden", "unavailable"]
"""Why not: no valid credential (401); one whose kind may never do this (403); one that may not see this run or
workflow, which is answered like one that does not exist (404); whoever vouches for it can't be asked just now (503)."""

RUN_TOKEN_PREFIX = "pat_"  # noqa: S105 - what every run token begins with
ROUTES: tuple[Route, ...] = get_args(Route)
_EVERYWHERE = "global"
_TRIGGER_OPTIONS = ("runId", "queue", "priority", "tag", "delay")
_IN_QUERY = "token"
_CREDENTIAL_NAMES = frozenset({"access_token", "api_key", "apikey", "authorization", "x-api-key"})
_KEY = re.compile(r"sf_(?:pub_)?[A-Za-z0-9_-]{20,200}")
_EMPTY: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class RunTokenClaims:
    """What a valid run token says."""

    run_id: RunId
    events: frozenset[EventId]
    expires_at: datetime


class VerifiesRunTokens(Protocol):
    """The part of ``RunTokens`` that a handler needs."""

    def verify(self, token: str, now: datetime) -> RunTokenClaims | None:
        """The claims, or None for a token that is forged, expired or malformed; never raises."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthContext:
    """One request as a handler sees it.

    ``operation`` is the precise route (``"getRun"``); ``headers`` have lower-case names. ``extra`` is the framework's own request.
    ``now`` and ``run_tokens`` are the server's: its time, and what verifies the run tokens that it issues.
    """

    route: Route
    operation: str
    method: str
    now: datetime
    headers: Mapping[str, str] = field(default_factory=lambda: _EMPTY)
    query: Mapping[str, Sequence[str]] = field(default_factory=lambda: _EMPTY)
    run_id: RunId | None = None
    workflow_id: str | None = None
    event_id: EventId | None = None
    extra: Any = None
    run_tokens: VerifiesRunTokens | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthResult:
    """Who asks and what they may do, or why not. Nothing is allowed that is not said here.

    ``subject`` tells credentials of one kind apart and scopes their idempotency keys: keep it the same when a key is rotated. Of
    ``workflows`` (to trigger), ``runs`` (to see) and ``events`` (to send), None is all of them. ``notify_run``: events reach this run only.
    ``options``: whether a trigger may choose ``runId``, ``queue``, ``priority``, ``tag`` and ``delay``. ``values``: whether inputs and results are
    shown. ``details``: whether tracebacks and facts on the server are. ``ambient``: the browser sent the credential by itself (cookies), so
    that unsafe methods need a known ``Origin``. ``expires_at``: streams end then.
    """

    kind: PrincipalKind
    subject: str = ""
    denial: Denial | None = None
    workflows: AbstractSet[str] | None = frozenset()
    runs: AbstractSet[RunId] | None = frozenset()
    events: AbstractSet[EventId] | None = frozenset()
    notify_run: RunId | None = None
    operations: bool = False
    options: bool = False
    values: bool = True
    details: bool = False
    ambient: bool = False
    expires_at: datetime | None = None

    @property
    def allowed(self) -> bool:
        return self.denial is None

    @property
    def scope(self) -> str:
        """What idempotency keys are scoped with: never the same for two kinds of credential."""
        return f"{self.kind}:{self.subject}"

    def may_trigger(self, workflow_id: str) -> bool:
        return self.allowed and (self.workflows is None or workflow_id in self.workflows)

    def sees(self, run_id: RunId) -> bool:
        return self.allowed and (self.runs is None or run_id in self.runs)

    def may_notify(self, event_id: EventId) -> bool:
        return self.allowed and (self.events is None or event_id in self.events)


UNAUTHENTICATED = AuthResult(kind="anonymous", denial="unauthenticated")
"""The answer to a request without a credential, or with one that is not valid."""

Handler: TypeAlias = Callable[[AuthContext], AuthResult | Awaitable[AuthResult]]
Auth: TypeAlias = Handler | Mapping[str, Handler]
"""One handler, or a mapping of ``"global"`` and of routes to handlers; that of the route goes first."""


def checked_auth(auth: Auth | None) -> Mapping[str, Handler]:
    """``auth`` as a mapping; ``DefinitionError`` if it is missing or names what is no route."""
    if auth is None or not (callable(auth) or isinstance(auth, Mapping)):
        raise DefinitionError(
            "auth= is missing, or no handler: pass api_key_auth(...), any_of(...), or allow_all() if everybody may do everything"
        )
    handlers: dict[str, Handler] = {_EVERYWHERE: auth} if callable(auth) else {**auth}
    if not handlers:
        raise DefinitionError("auth= is an empty mapping; give it a handler as 'global'")
    for name, handler in handlers.items():
        if name != _EVERYWHERE and name not in ROUTES:
            raise DefinitionError(f"auth= has no route {name!r}; routes are 'global', {', '.join(ROUTES)}")
        if not callable(handler):
            raise DefinitionError(f"auth= for {name!r} has to be a handler, like api_key_auth(...)")
    return MappingProxyType(handlers)


async def decide(auth: Mapping[str, Handler], context: AuthContext) -> AuthResult:
    """Ask the route's handler (of ``checked_auth``), or the global one, and hold its answer against what is asked for.

    A route without a handler is refused. Health without any credential is answered to everybody, unless it has a handler of its own. What
    only the body tells (an event's id) is asked later: ``may_notify``.
    """
    if _credential_in_query(context):
        return UNAUTHENTICATED
    handler = auth.get(context.route)
    if handler is None:
        if context.route == "health" and not _has_credential(context):
            return AuthResult(kind="anonymous")
        handler = auth.get(_EVERYWHERE)
    if handler is None:
        return UNAUTHENTICATED
    result = await ask(handler, context)
    denial = result.denial or _denial(result, context)
    return result if denial is None else replace(result, denial=denial)


async def ask(handler: Handler, context: AuthContext) -> AuthResult:
    """The handler's own answer, before it is held against what is asked for."""
    answer = handler(context)
    result = await answer if isawaitable(answer) else answer
    if not isinstance(result, AuthResult):
        raise DefinitionError(f"an auth handler returned {type(result).__name__}, not an AuthResult")
    return result


def _denial(result: AuthResult, context: AuthContext) -> Denial | None:
    match context.route:
        case "trigger":
            return _trigger_denial(result, context)
        case "notify":
            return _notify_denial(result, context)
        case "runs" | "runsStream":
            return _runs_denial(result, context)
        case "operations":
            if not result.operations or (context.run_id is None and result.runs is not None):
                return "forbidden"  # what is listed can't be narrowed to some runs
            return None if context.run_id is None else _unseen(result, [context.run_id])
        case "health":
            return None
        case never:
            assert_never(never)


def _trigger_denial(result: AuthResult, context: AuthContext) -> Denial | None:
    if result.workflows is not None and not result.workflows:
        return "forbidden"
    if not result.options and any(name in context.query for name in _TRIGGER_OPTIONS):
        return "forbidden"
    seen = context.workflow_id is None or result.may_trigger(context.workflow_id)
    return None if seen else "hidden"


def _notify_denial(result: AuthResult, context: AuthContext) -> Denial | None:
    if result.events is not None and not result.events:
        return "forbidden"
    if context.event_id is not None and not result.may_notify(context.event_id):
        return "forbidden"
    asked = context.query.get("runId", ())
    if result.notify_run is not None and any(run_id != result.notify_run for run_id in asked):
        return "hidden"
    return _unseen(result, asked)


def _runs_denial(result: AuthResult, context: AuthContext) -> Denial | None:
    if result.runs is not None and not result.runs:
        return "forbidden"
    asked = context.query.get("runId", ()) if context.run_id is None else (context.run_id,)
    return _unseen(result, asked)


def _unseen(result: AuthResult, run_ids: Sequence[RunId]) -> Denial | None:
    return None if all(result.sees(run_id) for run_id in run_ids) else "hidden"


# ------------------------------------------------------------------ where credentials travel
def query_token(context: AuthContext) -> str | None:
    """The run token of the address, where it may travel there: ``GET`` of a run or a stream."""
    tokens = context.query.get(_IN_QUERY, ())
    if len(tokens) != 1 or context.method != "GET" or context.route not in ("runs", "runsStream"):
        return None
    return tokens[0] if tokens[0].startswith(RUN_TOKEN_PREFIX) else None


def bearer_token(context: AuthContext) -> str | None:
    """What follows ``Authorization: Bearer``, if it has the shape of a token."""
    scheme, _, token = context.headers.get("authorization", "").partition(" ")
    token = token.strip(" ")
    return token if scheme.lower() == "bearer" and token and token.isascii() and " " not in token else None


def api_key(context: AuthContext) -> str | None:
    """The ``X-API-Key`` header, if there is one."""
    return context.headers.get("x-api-key") or None


def _has_credential(context: AuthContext) -> bool:
    names = ("x-api-key", "authorization")
    return _IN_QUERY in context.query or any(name in context.headers for name in names)


def _credential_in_query(context: AuthContext) -> bool:
    """Addresses end up in logs and histories: no credential may travel there but a run token, and that for reading only."""
    for name, values in context.query.items():
        if name.lower() in _CREDENTIAL_NAMES or any(_KEY.fullmatch(value) for value in values):
            return True
        if name == _IN_QUERY and query_token(context) is None:
            return True
    return False
