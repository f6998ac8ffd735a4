"""Several handlers as one, and the handler that asks nothing."""

from __future__ import annotations

from dataclasses import dataclass

from stepflow.auth.base import UNAUTHENTICATED, AuthContext, AuthResult, Denial, Handler, ask
from stepflow.errors import DefinitionError

_GRAVITY: tuple[Denial, ...] = ("unauthenticated", "unavailable", "hidden", "forbidden")
"""Of several refusals, the last of these is told: the more a handler has recognised, the more its answer says."""


@dataclass(frozen=True, slots=True)
class _AnyOf:
    handlers: tuple[Handler, ...]

    async def __call__(self, context: AuthContext) -> AuthResult:
        refusal = UNAUTHENTICATED
        for handler in self.handlers:
            result = await ask(handler, context)
            if result.denial is None:
                return result
            if _GRAVITY.index(result.denial) > _GRAVITY.index(refusal.denial or "unauthenticated"):
                refusal = result
        return refusal


def any_of(*handlers: Handler) -> _AnyOf:
    """The first of these handlers that recognises the request answers it; the others are not asked any more."""
    if not handlers or not all(callable(handler) for handler in handlers):
        raise DefinitionError("any_of() needs handlers, like any_of(api_key_auth(key), run_token_auth())")
    return _AnyOf(handlers)


@dataclass(frozen=True, slots=True)
class _AllowAll:
    granted: AuthResult

    def __call__(self, context: AuthContext) -> AuthResult:
        return self.granted


def allow_all(*, details: bool = False) -> _AllowAll:
    """Everybody may do everything: for development, and behind something else that asks. ``details``: show tracebacks too."""
    granted = AuthResult(
        kind="anonymous",
        workflows=None,
        runs=None,
        events=None,
        operations=True,
        options=True,
        details=details,
    )
    return _AllowAll(granted)
