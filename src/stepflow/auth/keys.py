"""API keys: ``sf_…`` may do everything, ``sf_pub_…`` triggers what is listed as public. Kept as digests, compared in constant time."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256

from stepflow.auth.base import UNAUTHENTICATED, AuthContext, AuthResult, api_key
from stepflow.errors import DefinitionError

SECRET_PREFIX = "sf_"  # noqa: S105 - what a secret key begins with
PUBLIC_PREFIX = "sf_pub_"
_RANDOM_BYTES = 32
_SHORTEST = 16
_HOW = "`stepflow keys create` makes one"


def create_key(*, public: bool = False) -> str:
    """A new random key (256 bits) with its prefix. It is shown nowhere else: keep it where the secrets are."""
    return f"{PUBLIC_PREFIX if public else SECRET_PREFIX}{secrets.token_urlsafe(_RANDOM_BYTES)}"


@dataclass(frozen=True, slots=True)
class _KeyAuth:
    """A handler that knows the digests of its keys, and what their holder may do."""

    digests: tuple[bytes, ...]
    granted: AuthResult

    def __call__(self, context: AuthContext) -> AuthResult:
        given = api_key(context)
        return self.granted if given is not None and matches(given, self.digests) else UNAUTHENTICATED


def api_key_auth(secret: str | Sequence[str], *, subject: str = "") -> _KeyAuth:
    """Whoever sends this key in ``X-API-Key`` may do everything.

    Of several keys each one counts: to rotate, add the new key, change the callers, and take the old one away. Several *tenants* need
    a handler each, with a ``subject`` that tells their idempotency keys apart. ``DefinitionError`` for a key that is
    empty, short, public or can't travel in a header.
    """
    keys = _checked("api_key_auth()", secret)
    if any(key.startswith(PUBLIC_PREFIX) for key in keys):
        raise DefinitionError(
            f"api_key_auth() was given a public key ({PUBLIC_PREFIX}…), which everybody has"
        )
    granted = AuthResult(
        kind="secret",
        subject=subject,
        workflows=None,
        runs=None,
        events=None,
        operations=True,
        options=True,
        details=True,
    )
    return _KeyAuth(_digests(keys), granted)


def public_key_auth(key: str | Sequence[str], *, workflows: Iterable[str], subject: str = "") -> _KeyAuth:
    """Whoever sends this key in ``X-API-Key`` may trigger these workflows, with an input and nothing else.

    Such a key may stand in a web page. Rotation and ``subject`` are those of ``api_key_auth``. ``DefinitionError`` for a key without the
    prefix ``sf_pub_``, and without workflows.
    """
    keys = _checked("public_key_auth()", key)
    if not all(each.startswith(PUBLIC_PREFIX) for each in keys):
        raise DefinitionError(
            f"public_key_auth() wants keys that begin with {PUBLIC_PREFIX}; `stepflow keys create --public` makes one"
        )
    names = frozenset([workflows] if isinstance(workflows, str) else workflows)
    if not names:
        raise DefinitionError("public_key_auth(workflows=...) has to name the workflows that are public")
    return _KeyAuth(_digests(keys), AuthResult(kind="public", subject=subject, workflows=names))


def matches(given: str, digests: Iterable[bytes]) -> bool:
    """Whether ``given`` has one of these digests. How long it takes tells nothing of which, nor of how nearly."""
    digest = _digest(given)
    found = False
    for known in digests:
        found |= hmac.compare_digest(digest, known)
    return found


def _checked(what: str, given: str | Sequence[str]) -> list[str]:
    keys = [given] if isinstance(given, str) else list(given or ())
    if not keys:
        raise DefinitionError(f"{what} needs a key; {_HOW}. Is the environment variable set?")
    for key in keys:
        # The key itself is never told: one that is nearly right is a secret too.
        if not isinstance(key, str) or len(key) < _SHORTEST:
            raise DefinitionError(f"{what}: a key needs at least {_SHORTEST} characters; {_HOW}")
        if not key.isascii() or not key.isprintable() or " " in key:
            raise DefinitionError(f"{what}: a key is printable ASCII without spaces; {_HOW}")
    return keys


def _digests(keys: Iterable[str]) -> tuple[bytes, ...]:
    return tuple(_digest(key) for key in keys)


def _digest(key: str) -> bytes:
    return sha256(key.encode(errors="surrogatepass")).digest()
