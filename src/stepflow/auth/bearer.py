"""Bearer tokens of somebody else's making: who verifies them is the app's choice, and what their claims allow too."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from inspect import isawaitable
from typing import Any, TypeAlias, cast

from stepflow.auth.base import RUN_TOKEN_PREFIX, UNAUTHENTICATED, AuthContext, AuthResult, bearer_token
from stepflow.errors import DefinitionError

Claims: TypeAlias = Mapping[str, Any]

Verify: TypeAlias = Callable[[str, AuthContext], Claims | Awaitable[Claims | None] | None]
"""The claims of a valid token; None for any other. The time is ``context.now``. A ``ConnectionError`` is answered with 503."""

Grant: TypeAlias = Callable[[Claims], AuthResult]
"""What the holder of these claims may do."""


def granted_by_scopes(claims: Claims) -> AuthResult:
    """What the scopes of a token allow; the reading that ``bearer_auth`` starts with.

    In ``scope`` (words, RFC 8693) or ``scp``, ``scopes`` or ``permissions`` (lists): ``stepflow:trigger``, ``stepflow:notify``,
    ``stepflow:read`` (runs and streams) and ``stepflow:operate`` (those three, operations, and the options of a trigger). Lists in
    ``stepflow_workflows``, ``stepflow_events`` and ``stepflow_runs`` narrow what is triggered, sent and seen. Tracebacks are never shown.
    """
    scopes = _scopes(claims)
    operate = "stepflow:operate" in scopes
    nothing: frozenset[str] = frozenset()

    def allowed(scope: str, claim: str) -> frozenset[str] | None:
        return _listed(claims, claim) if operate or scope in scopes else nothing

    return AuthResult(
        kind="bearer",
        subject=f"{claims.get('sub')!r} of {claims.get('iss')!r}",  # quoted: two of them never read alike
        workflows=allowed("stepflow:trigger", "stepflow_workflows"),
        runs=allowed("stepflow:read", "stepflow_runs"),
        events=allowed("stepflow:notify", "stepflow_events"),
        operations=operate,
        options=operate,
    )


def _scopes(claims: Claims) -> frozenset[str]:
    found: set[str] = set()
    for name in ("scope", "scp", "scopes", "permissions"):
        value = claims.get(name)
        found |= set(value.split()) if isinstance(value, str) else _texts(value)
    return frozenset(found)


def _listed(claims: Claims, name: str) -> frozenset[str] | None:
    """None if nothing narrows it; what is no list of texts narrows it to nothing."""
    return _texts(claims[name]) if name in claims else None


def _texts(value: object) -> frozenset[str]:
    items = cast("list[object]", value) if isinstance(value, list) else []
    return frozenset(item for item in items if isinstance(item, str))


@dataclass(frozen=True, slots=True)
class _BearerAuth:
    verify: Verify
    grant: Grant

    async def __call__(self, context: AuthContext) -> AuthResult:
        token = bearer_token(context)
        if token is None or token.startswith(RUN_TOKEN_PREFIX):
            return UNAUTHENTICATED
        try:
            answer = self.verify(token, context)
            claims = await answer if isawaitable(answer) else answer
        except ConnectionError:
            return AuthResult(kind="bearer", denial="unavailable")
        return UNAUTHENTICATED if claims is None else self.grant(claims)


def bearer_auth(verify: Verify, *, grant: Grant = granted_by_scopes) -> _BearerAuth:
    """Whoever sends ``Authorization: Bearer`` with a token that ``verify`` accepts may do what ``grant`` reads from its claims.

    ``stepflow.auth.jwt`` has ready verifiers: ``hs256``, ``rs256``, ``jwks``. ``grant`` defaults to scopes, ``granted_by_scopes``.
    """
    if not callable(verify) or not callable(grant):
        raise DefinitionError("bearer_auth() needs a verifier, like bearer_auth(jwks(url, audience='…'))")
    return _BearerAuth(verify, grant)
