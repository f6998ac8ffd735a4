"""JSON Web Tokens (RFC 7519): verifiers for ``bearer_auth``, on PyJWT. Each takes one family of algorithms and no other."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from stepflow.auth.base import AuthContext
from stepflow.auth.bearer import Claims
from stepflow.auth.jwks import JwksKeys, fetch_from
from stepflow.errors import DefinitionError, MissingExtraError

_log = logging.getLogger("stepflow.auth")

_PUBLIC = frozenset(
    {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}
)
_SHORTEST_SECRET = 32
_LONGEST_TOKEN = 16_384
_TIMES_ARE_OURS = {"verify_exp": False, "verify_nbf": False, "verify_iat": False, "require": ["exp", "sub"]}


class JwtVerifier:
    """Verifies signature, ``aud``, ``iss``, ``exp``, ``nbf`` and ``iat``; ``exp`` and ``sub`` have to be there.

    The time is the context's. Only the verifier's own algorithms count: never ``none``, and never the one that the token would like.
    """

    __slots__ = ("_algorithms", "_audience", "_issuer", "_keys", "_leeway", "_library")

    def __init__(
        self,
        keys: Sequence[Any] | JwksKeys,
        *,
        algorithms: Iterable[str],
        audience: str | Sequence[str] | None,
        issuer: str | None,
        leeway: timedelta,
    ) -> None:
        self._library = _library()
        self._keys = keys
        self._algorithms = sorted(algorithms)
        self._audience = audience
        self._issuer = issuer
        self._leeway = leeway

    async def __call__(self, token: str, context: AuthContext) -> Claims | None:
        header = self._header(token)
        if header is None:
            return None
        if isinstance(self._keys, JwksKeys):
            keys = await self._keys.for_id(header.get("kid"), context.now)
        else:
            keys = self._keys
        for key in keys:
            claims = self._claims(token, key)
            if claims is not None:
                return claims if in_time(claims, context.now, self._leeway) else None
        return None

    def _header(self, token: str) -> Mapping[str, Any] | None:
        if len(token) > _LONGEST_TOKEN:
            return None
        try:
            header: dict[str, Any] = self._library.get_unverified_header(token)
        except (self._library.PyJWTError, ValueError, RecursionError):
            return None
        return header if header.get("alg") in self._algorithms else None

    def _claims(self, token: str, key: Any) -> Claims | None:
        try:
            claims: dict[str, Any] = self._library.decode(
                token,
                key,
                algorithms=self._algorithms,
                audience=self._audience,
                issuer=self._issuer,
                options=_TIMES_ARE_OURS,
            )
        except (self._library.PyJWTError, ValueError, TypeError, RecursionError) as error:
            _log.debug("a bearer token was refused: %s", type(error).__name__)
            return None
        return claims


def hs256(
    secret: str | bytes | Sequence[str | bytes],
    *,
    audience: str | Sequence[str] | None = None,
    issuer: str | None = None,
    leeway: timedelta = timedelta(0),
) -> JwtVerifier:
    """Tokens signed with a shared secret of at least 32 bytes; of several secrets each one counts, to rotate them."""
    secrets = [secret] if isinstance(secret, str | bytes) else list(secret)
    encoded = [each.encode() if isinstance(each, str) else each for each in secrets]
    if not encoded or any(len(each) < _SHORTEST_SECRET for each in encoded):
        raise DefinitionError(f"hs256() needs a secret of at least {_SHORTEST_SECRET} bytes")
    if any(b"-----BEGIN" in each or each.startswith(b"ssh-") for each in encoded):
        raise DefinitionError("hs256() was given a key of rs256(); a public key is no secret")
    return JwtVerifier(encoded, algorithms=["HS256"], audience=audience, issuer=issuer, leeway=leeway)


def rs256(
    public_key: str | Sequence[str],
    *,
    audience: str | Sequence[str],
    issuer: str | None = None,
    leeway: timedelta = timedelta(0),
) -> JwtVerifier:
    """Tokens signed with an RSA key whose public half is this PEM text; of several keys each one counts."""
    _check_audience("rs256()", audience)
    texts = [public_key] if isinstance(public_key, str) else list(public_key)
    library = _library()
    algorithm = library.get_algorithm_by_name("RS256")
    try:
        keys = [algorithm.prepare_key(each) for each in texts]
    except (library.PyJWTError, ValueError, TypeError):
        raise DefinitionError("rs256() needs an RSA public key as PEM text") from None
    if not keys or any(hasattr(key, "private_numbers") for key in keys):
        raise DefinitionError("rs256() needs the public key; the private one stays with whoever signs")
    return JwtVerifier(keys, algorithms=["RS256"], audience=audience, issuer=issuer, leeway=leeway)


def jwks(
    url: str,
    *,
    audience: str | Sequence[str],
    issuer: str | None = None,
    leeway: timedelta = timedelta(seconds=10),
    algorithms: Sequence[str] = ("RS256",),
    lifetime: timedelta = timedelta(minutes=10),
    fetch: Callable[[], bytes] | None = None,
) -> JwtVerifier:
    """Tokens of an identity provider that publishes its keys at ``url`` (a JWK set, RFC 7517).

    Keys are kept for ``lifetime`` and fetched again when a token names an unknown one, at most every 30 s; while the provider is away
    the old ones count. ``audience`` is who the tokens are for: without it, a token for any other app of the same
    provider would do. ``fetch`` replaces the HTTPS request.
    """
    if not algorithms or not set(algorithms) <= _PUBLIC:
        raise DefinitionError(f"jwks(algorithms=...): some of {', '.join(sorted(_PUBLIC))}")
    _check_audience("jwks()", audience)
    library = _library()
    only = algorithms[0] if len(algorithms) == 1 else None

    def prepare(published: Mapping[str, Any]) -> Any:
        """A key of the set, or None if it does not verify these algorithms."""
        if published.get("kty") == "oct" or published.get("use", "sig") != "sig":
            return None  # a shared secret in a public place, or a key for encryption
        try:
            key = library.PyJWK(dict(published), algorithm=only if "alg" not in published else None)
        except (library.PyJWTError, ValueError, TypeError):
            return None
        return key if key.algorithm_name in algorithms else None

    keys = JwksKeys(fetch or fetch_from(url), prepare, lifetime=lifetime)
    return JwtVerifier(keys, algorithms=algorithms, audience=audience, issuer=issuer, leeway=leeway)


def _check_audience(what: str, audience: object) -> None:
    if not audience:
        raise DefinitionError(f"{what} needs audience=, or tokens that others are meant to get would do")


def in_time(claims: Claims, now: datetime, leeway: timedelta) -> bool:
    """Whether ``exp`` is to come and ``nbf`` and ``iat``, if there, are not; numbers of seconds since 1970 (RFC 7519)."""
    at = now.timestamp()
    spare = leeway.total_seconds()
    for name, early in (("exp", False), ("nbf", True), ("iat", True)):
        value = claims.get(name)
        if value is None and early:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        # Written so that NaN, which JSON as Python reads it can hold, is never in time.
        if not (value <= at + spare if early else value > at - spare):
            return False
    return True


def _library() -> Any:
    try:
        return importlib.import_module("jwt")
    except ImportError:
        raise MissingExtraError("verifying a JWT", "jwt") from None
