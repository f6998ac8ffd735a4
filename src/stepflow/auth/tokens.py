"""Run tokens ``pat_…``: for some hours, the right to watch one run and to send it the events that the token lists."""

from __future__ import annotations

import hmac
import secrets as random_secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Annotated, Literal, Protocol

import msgspec

from stepflow.auth.base import (
    RUN_TOKEN_PREFIX,
    UNAUTHENTICATED,
    AuthContext,
    AuthResult,
    RunTokenClaims,
    bearer_token,
    query_token,
)
from stepflow.durations import parse_duration
from stepflow.errors import DefinitionError, InputError
from stepflow.model.ids import check_event_id, check_id
from stepflow.types import Duration, EventId, RunId

LIFETIME = timedelta(hours=24)
_LONGEST_LIFETIME = timedelta(days=7)
_LONGEST = 4096
"""Characters of a token; more does not travel in a header everywhere."""

_SHORTEST_SECRET = 32
_SETTING = "run_token_secret"
_PURPOSE = b"stepflow run token 1\0"  # nothing else that is signed with the same secret can pass for a token


class _Body(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    run_id: RunId
    expires_at: Annotated[datetime, msgspec.Meta(tz=True)]
    events: tuple[EventId, ...]


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_Body).decode


class RunTokens:
    """Issues and verifies run tokens: signed with HMAC-SHA256 (RFC 2104), readable, not encrypted.

    The first secret signs, all of them verify. To rotate, put a new one in front, and take the old one away once its tokens have
    expired; taking it away at once ends them. ``DefinitionError`` for a secret under 32 bytes.
    """

    __slots__ = ("_secrets",)

    def __init__(self, secrets: str | bytes | Sequence[str | bytes]) -> None:
        each = [secrets] if isinstance(secrets, str | bytes) else list(secrets)
        encoded = [secret.encode() if isinstance(secret, str) else secret for secret in each]
        if not encoded or any(len(secret) < _SHORTEST_SECRET for secret in encoded):
            raise DefinitionError(
                f"run tokens need a secret of at least {_SHORTEST_SECRET} bytes; `stepflow keys create` makes one"
            )
        self._secrets = tuple(encoded)

    def issue(
        self, run_id: RunId, now: datetime, events: Iterable[EventId] = (), lifetime: timedelta = LIFETIME
    ) -> tuple[str, datetime]:
        """A token for this run and these events, and when it expires (to the millisecond).

        ``InvalidIdError`` for malformed ids, ``InputError`` for more events than a header can carry.
        """
        expires_at = now + lifetime
        expires_at = expires_at.replace(microsecond=expires_at.microsecond // 1000 * 1000)
        listed = tuple(sorted({check_event_id(event) for event in events}))
        body = _Body(run_id=check_id("run id", run_id), expires_at=expires_at, events=listed)
        text = _to_text(_encode(body))
        token = f"{RUN_TOKEN_PREFIX}{text}.{_signature(self._secrets[0], text)}"
        if len(token) > _LONGEST:
            raise InputError(f"a run token can't list {len(listed)} events of this length; list fewer")
        return token, expires_at

    def verify(self, token: str, now: datetime) -> RunTokenClaims | None:
        """What the token says, if a secret signed exactly this text and it has not expired; never raises."""
        if not token.startswith(RUN_TOKEN_PREFIX) or len(token) > _LONGEST or not token.isascii():
            return None
        text, _, signature = token.removeprefix(RUN_TOKEN_PREFIX).partition(".")
        genuine = False
        for secret in self._secrets:
            genuine |= hmac.compare_digest(_signature(secret, text), signature)
        if not genuine:
            return None
        body = _read(text)
        if body is None or now >= body.expires_at:
            return None
        return RunTokenClaims(run_id=body.run_id, events=frozenset(body.events), expires_at=body.expires_at)


def checked_lifetime(name: str, value: Duration) -> timedelta:
    """How long a token is to be valid; ``InputError`` for nothing, and for more than a week."""
    lifetime = parse_duration(value)
    if not timedelta(0) < lifetime <= _LONGEST_LIFETIME:
        raise InputError(f"{name}={value!r:.60}: more than nothing, at most 7 days", path=f"$.{name}")
    return lifetime


class KeepsSettings(Protocol):
    """The part of a storage that is needed here."""

    async def setting(self, name: str, default: bytes) -> bytes:
        """The stored value; the first writer's default wins."""
        ...


async def kept_run_tokens(storage: KeepsSettings) -> RunTokens:
    """Run tokens signed with a secret that is made once and kept in the storage, so that every process on it agrees."""
    return RunTokens(await storage.setting(_SETTING, random_secrets.token_bytes(_SHORTEST_SECRET)))


# ------------------------------------------------------------------ the handler
@dataclass(frozen=True, slots=True)
class _RunTokenAuth:
    values: bool

    def __call__(self, context: AuthContext) -> AuthResult:
        token = bearer_token(context) or query_token(context)
        if token is None or context.run_tokens is None:
            return UNAUTHENTICATED
        claims = context.run_tokens.verify(token, context.now)
        if claims is None:
            return UNAUTHENTICATED
        return AuthResult(
            kind="run_token",
            subject=claims.run_id,
            runs=frozenset([claims.run_id]),
            events=claims.events,
            notify_run=claims.run_id,
            values=self.values,
            expires_at=claims.expires_at,
        )


def run_token_auth(*, view: Literal["full", "status"] = "full") -> _RunTokenAuth:
    """Whoever sends a run token may watch its run, and send that run the events that the token lists.

    ``view="status"`` hides the run's input and results. The server that issues the tokens verifies them (``AuthContext.run_tokens``).
    """
    if view not in ("full", "status"):
        raise DefinitionError(f"run_token_auth(view={view!r}): 'full' or 'status'")
    return _RunTokenAuth(view == "full")


# ------------------------------------------------------------------ text
def _signature(secret: bytes, text: str) -> str:
    return _to_text(hmac.new(secret, _PURPOSE + text.encode(), sha256).digest())


def _read(text: str) -> _Body | None:
    try:
        return _decode(urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except ValueError:  # a signed text of another release
        return None


def _to_text(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()
