"""JWTs: signatures, times and audiences hold; no token chooses how it is verified."""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Mapping
from datetime import timedelta
from functools import cache
from typing import Any

import jwt as library
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given
from hypothesis import strategies as st

from stepflow.auth.bearer import bearer_auth
from stepflow.auth.jwt import hs256, in_time, jwks, rs256
from stepflow.errors import DefinitionError, MissingExtraError
from tests.unit.auth.requests import NOW, a_request

SECRET = "s" * 32
NEXT = "n" * 32
AT = int(NOW.timestamp())
CLAIMS = {"sub": "ada", "iss": "https://id.example", "exp": AT + 60}
VALID = library.encode(CLAIMS, SECRET, algorithm="HS256")


@cache
def rsa_key(number: int = 0) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def public_pem(number: int = 0) -> str:
    public = rsa_key(number).public_key()
    return public.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    ).decode()


def private_pem() -> str:
    return (
        rsa_key()
        .private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        .decode()
    )


def hs(secret: str = SECRET, **claims: Any) -> str:
    return library.encode({**CLAIMS, **claims}, secret, algorithm="HS256")


def rs(number: int = 0, kid: str | None = None, **claims: Any) -> str:
    headers = None if kid is None else {"kid": kid}
    return library.encode(
        {**CLAIMS, "aud": "stepflow", **claims}, rsa_key(number), algorithm="RS256", headers=headers
    )


def part(value: Mapping[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


async def claims_of(verifier: Any, token: str, now: Any = NOW) -> Any:
    return await verifier(token, a_request(now=now))


# ------------------------------------------------------------------ a shared secret
async def test_a_token_signed_with_the_secret_is_read() -> None:
    assert await claims_of(hs256(SECRET), VALID) == CLAIMS


async def test_through_the_handler_its_scopes_count() -> None:
    result = await bearer_auth(hs256(SECRET))(a_request(bearer=hs(scope="stepflow:trigger")))

    assert (result.workflows, result.operations) == (None, False)


async def test_while_secrets_are_rotated_both_count() -> None:
    both = hs256([NEXT, SECRET])

    assert await claims_of(both, VALID) and await claims_of(both, hs(NEXT))
    assert await claims_of(hs256(NEXT), VALID) is None


@pytest.mark.parametrize("secret", ["", "short", [], [SECRET, "short"]])
def test_a_secret_that_can_be_guessed_is_refused(secret: Any) -> None:
    with pytest.raises(DefinitionError, match="at least 32 bytes"):
        hs256(secret)


@given(st.integers(0, len(VALID) - 1), st.sampled_from("AZaz09-_.=é\x00"))
def test_a_changed_token_is_never_read_as_anything_else(place: int, character: str) -> None:
    forged = VALID[:place] + character + VALID[place + 1 :]

    found = _now(claims_of(hs256(SECRET), forged))

    # The last character of a signature has bits that say nothing, and RFC 7515 readers differ: the claims hold anyway.
    assert found is None or (found == CLAIMS and forged[: VALID.rindex(".")] == VALID[: VALID.rindex(".")])


@given(st.text())
def test_no_text_is_read_or_raises(text: str) -> None:
    assert _now(claims_of(hs256(SECRET), text)) is None
    assert _now(claims_of(hs256(SECRET), f"{VALID.partition('.')[0]}.{text}.x")) is None


def _now(waiting: Any) -> Any:
    """The result of a coroutine that has nothing to wait for."""
    try:
        waiting.send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("it waits")


async def test_a_token_of_absurd_length_is_not_even_parsed() -> None:
    assert await claims_of(hs256(SECRET), hs(pad="x" * 20_000)) is None


# ------------------------------------------------------------------ no token chooses its algorithm
@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "", None, "HS512", ["HS256"]])
async def test_an_unsigned_or_otherwise_signed_token_is_refused(algorithm: Any) -> None:
    header = part({"typ": "JWT", "alg": algorithm})

    for signature in ("", VALID.rpartition(".")[2]):
        assert await claims_of(hs256(SECRET), f"{header}.{part(CLAIMS)}.{signature}") is None
        assert (
            await claims_of(rs256(public_pem(), audience="stepflow"), f"{header}.{part(CLAIMS)}.{signature}")
            is None
        )


async def test_the_public_key_is_not_taken_for_a_shared_secret() -> None:
    import hmac

    unsigned = f"{part({'typ': 'JWT', 'alg': 'HS256'})}.{part({**CLAIMS, 'aud': 'stepflow'})}"
    digest = hmac.new(public_pem().encode(), unsigned.encode(), "sha256").digest()
    forged = f"{unsigned}.{base64.urlsafe_b64encode(digest).rstrip(b'=').decode()}"

    assert await claims_of(rs256(public_pem(), audience="stepflow"), forged) is None


def test_a_public_key_is_refused_as_a_shared_secret() -> None:
    with pytest.raises(DefinitionError, match="a public key is no secret"):
        hs256(public_pem())


async def test_a_token_that_demands_what_is_not_understood_is_refused() -> None:
    token = library.encode(CLAIMS, SECRET, algorithm="HS256", headers={"crit": ["future"], "future": 1})

    assert await claims_of(hs256(SECRET), token) is None


# ------------------------------------------------------------------ time, audience, issuer
@pytest.mark.parametrize(
    ("changed", "taken"),
    [
        ({"exp": AT + 1}, True),
        ({"exp": AT}, False),
        ({"exp": AT - 1}, False),
        ({"exp": AT + 0.5}, True),
        ({"exp": str(AT + 60)}, False),
        ({"exp": True}, False),
        ({"exp": 10**400}, True),
        ({"exp": float("nan")}, False),
        ({"exp": None}, False),
        ({"nbf": AT}, True),
        ({"nbf": AT + 1}, False),
        ({"nbf": float("nan")}, False),
        ({"iat": AT + 1}, False),
        ({"iat": [AT]}, False),
        ({"sub": None}, False),
        ({"sub": 7}, False),
    ],
)
async def test_a_token_counts_in_its_time_only_and_names_its_subject(
    changed: dict[str, Any], taken: bool
) -> None:
    claims = {**CLAIMS, **changed}
    unsigned = f"{part({'typ': 'JWT', 'alg': 'HS256'})}.{part(claims)}"
    signature = library.get_algorithm_by_name("HS256").sign(unsigned.encode(), SECRET.encode())
    token = f"{unsigned}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"

    assert (await claims_of(hs256(SECRET), token) is not None) is taken


async def test_a_token_without_an_end_is_refused() -> None:
    token = library.encode({"sub": "ada"}, SECRET, algorithm="HS256")

    assert await claims_of(hs256(SECRET), token) is None


async def test_a_token_of_nobody_is_refused() -> None:
    token = library.encode({"exp": AT + 60}, SECRET, algorithm="HS256")

    assert await claims_of(hs256(SECRET), token) is None


async def test_the_time_is_the_servers_and_leeway_is_given_for_clocks_that_differ() -> None:
    lenient = hs256(SECRET, leeway=timedelta(seconds=10))

    assert await claims_of(hs256(SECRET), VALID, NOW + timedelta(seconds=60)) is None
    assert await claims_of(lenient, VALID, NOW + timedelta(seconds=69)) is not None
    assert await claims_of(lenient, VALID, NOW + timedelta(seconds=70)) is None
    assert in_time({"exp": AT + 60, "nbf": AT + 10}, NOW, timedelta(seconds=10))


@pytest.mark.parametrize(
    ("audience", "of_token", "taken"),
    [
        ("stepflow", "stepflow", True),
        (["other", "stepflow"], "stepflow", True),
        ("stepflow", ["web", "stepflow"], True),
        ("stepflow", "web", False),
        ("stepflow", "stepflow2", False),
        ("stepflow", None, False),
        (None, "web", False),
        (None, None, True),
    ],
)
async def test_a_token_for_another_audience_is_refused(audience: Any, of_token: Any, taken: bool) -> None:
    token = hs() if of_token is None else hs(aud=of_token)

    assert (await claims_of(hs256(SECRET, audience=audience), token) is not None) is taken


async def test_a_token_of_another_issuer_is_refused() -> None:
    assert await claims_of(hs256(SECRET, issuer="https://id.example"), VALID) is not None
    assert await claims_of(hs256(SECRET, issuer="https://evil.example"), VALID) is None


# ------------------------------------------------------------------ RSA
async def test_a_token_signed_with_the_private_half_is_read() -> None:
    verifier = rs256([public_pem(1), public_pem(0)], audience="stepflow")

    assert (await claims_of(verifier, rs()))["sub"] == "ada"
    assert await claims_of(verifier, rs(2)) is None


@pytest.mark.parametrize("key", ["", "no key", SECRET, []])
def test_what_is_no_public_key_is_refused(key: Any) -> None:
    with pytest.raises(DefinitionError, match="public key"):
        rs256(key, audience="stepflow")


def test_a_private_key_is_refused() -> None:
    with pytest.raises(DefinitionError, match="private one stays"):
        rs256(private_pem(), audience="stepflow")


@pytest.mark.parametrize("audience", [None, "", []])
def test_an_audience_is_not_optional_where_the_provider_serves_others_too(audience: Any) -> None:
    with pytest.raises(DefinitionError, match="needs audience="):
        rs256(public_pem(), audience=audience)
    with pytest.raises(DefinitionError, match="needs audience="):
        jwks("https://id.example/keys", audience=audience)


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jwt", None)

    with pytest.raises(MissingExtraError, match=r"stepflow\[jwt\]"):
        hs256(SECRET)


# ------------------------------------------------------------------ a provider's keys
class Provider:
    """Publishes keys; counts how often it is asked."""

    def __init__(self, **keys: int) -> None:
        self.published: list[Any] = [published(number, kid=kid) for kid, number in keys.items()]
        self.asked = 0
        self.down = False
        self.text: bytes | None = None

    def __call__(self) -> bytes:
        self.asked += 1
        if self.down:
            raise OSError("unreachable")
        return self.text if self.text is not None else json.dumps({"keys": self.published}).encode()


def published(number: int = 0, **fields: Any) -> dict[str, Any]:
    key: dict[str, Any] = library.get_algorithm_by_name("RS256").to_jwk(
        rsa_key(number).public_key(), as_dict=True
    )
    return {**key, "key_ops": ["verify"], **fields}


def provided_by(provider: Provider, **options: Any) -> Any:
    return jwks("https://id.example/keys", audience="stepflow", fetch=provider, **options)


async def test_keys_are_fetched_once_and_kept_for_their_lifetime() -> None:
    provider = Provider(a=0)
    verifier = provided_by(provider, lifetime=timedelta(minutes=10))

    for seconds in (0, 1, 59):
        assert await claims_of(verifier, rs(kid="a"), NOW + timedelta(seconds=seconds)) is not None
    assert provider.asked == 1
    await claims_of(verifier, rs(kid="a"), NOW + timedelta(minutes=10))
    assert provider.asked == 2


async def test_a_new_key_is_fetched_when_a_token_names_it() -> None:
    provider = Provider(a=0)
    verifier = provided_by(provider)
    await claims_of(verifier, rs(kid="a"))
    provider.published.append(published(1, kid="b"))

    assert await claims_of(verifier, rs(1, kid="b"), NOW + timedelta(seconds=30)) is not None
    assert await claims_of(verifier, rs(0, kid="a"), NOW + timedelta(seconds=30)) is not None
    assert provider.asked == 2


async def test_a_key_that_is_published_no_more_counts_no_more() -> None:
    provider = Provider(a=0)
    verifier = provided_by(provider)
    await claims_of(verifier, rs(kid="a"))
    provider.published = [published(1, kid="b")]

    assert await claims_of(verifier, rs(kid="a", exp=AT + 9999), NOW + timedelta(minutes=10)) is None


async def test_tokens_with_invented_keys_make_nobody_ask_in_a_loop() -> None:
    provider = Provider(a=0)
    verifier = provided_by(provider)

    for number in range(20):
        assert await claims_of(verifier, rs(kid=f"invented-{number}"), NOW + timedelta(seconds=1)) is None
    assert provider.asked == 1


async def test_while_the_provider_is_away_its_known_keys_count() -> None:
    provider = Provider(a=0)
    verifier = provided_by(provider)
    await claims_of(verifier, rs(kid="a"))
    provider.down = True

    assert await claims_of(verifier, rs(kid="a", exp=AT + 9999), NOW + timedelta(hours=1)) is not None
    assert provider.asked == 2


async def test_a_provider_that_never_answered_makes_the_answer_unavailable_and_is_asked_again_later() -> None:
    provider = Provider(a=0)
    provider.down = True
    handler = bearer_auth(provided_by(provider))

    async def denial(seconds: int) -> str | None:
        return (await handler(a_request(bearer=rs(kid="a"), now=NOW + timedelta(seconds=seconds)))).denial

    assert (await denial(0), await denial(1), provider.asked) == ("unavailable", "unavailable", 1)
    provider.down = False
    assert (await denial(30), provider.asked) == (None, 2)


@pytest.mark.parametrize("text", [b"", b"[]", b"{}", b'{"keys": {}}', b"\xff", b"[" * 100_000])
async def test_what_is_no_key_set_is_like_no_answer(text: bytes) -> None:
    provider = Provider()
    provider.text = text

    assert (await bearer_auth(provided_by(provider))(a_request(bearer=rs(kid="a")))).denial == "unavailable"


async def test_a_token_that_names_no_key_is_tried_with_each() -> None:
    verifier = provided_by(Provider(a=1, b=0))

    assert await claims_of(verifier, rs(0)) is not None
    assert await claims_of(verifier, rs(2)) is None


async def test_a_token_signed_by_another_key_than_it_names_is_refused() -> None:
    assert await claims_of(provided_by(Provider(a=0, b=1)), rs(0, kid="b")) is None


async def test_keys_that_are_no_signing_keys_of_the_algorithm_are_left_out() -> None:
    provider = Provider()
    shared = base64.urlsafe_b64encode(SECRET.encode()).decode()
    elliptic = ec.generate_private_key(ec.SECP256R1())
    provider.published = [
        {"kty": "oct", "kid": "shared", "k": shared, "alg": "HS256"},
        published(0, kid="encrypts", use="enc"),
        published(0, kid="other", alg="PS256"),
        {"kty": "RSA", "kid": "broken"},
        {"kid": "nothing"},
        "no key",
        library.get_algorithm_by_name("ES256").to_jwk(elliptic.public_key(), as_dict=True) | {"kid": "curve"},
        published(0, kid="signs", use="sig", alg="RS256"),
    ]
    verifier = provided_by(provider)
    forged = library.encode(
        {**CLAIMS, "aud": "stepflow"}, SECRET, algorithm="HS256", headers={"kid": "shared"}
    )
    curved = library.encode(
        {**CLAIMS, "aud": "stepflow"}, elliptic, algorithm="ES256", headers={"kid": "curve"}
    )

    assert await claims_of(verifier, forged) is None
    assert await claims_of(verifier, curved) is None
    for kid in ("encrypts", "other", "broken", "nothing"):
        assert await claims_of(verifier, rs(kid=kid)) is None
    assert await claims_of(verifier, rs(kid="signs")) is not None


async def test_several_algorithms_go_with_the_keys_that_are_made_for_them() -> None:
    provider = Provider(a=0)
    elliptic = ec.generate_private_key(ec.SECP256R1())
    provider.published.append(
        library.get_algorithm_by_name("ES256").to_jwk(elliptic.public_key(), as_dict=True) | {"kid": "curve"}
    )
    verifier = provided_by(provider, algorithms=["RS256", "ES256"])
    curved = library.encode(
        {**CLAIMS, "aud": "stepflow"}, elliptic, algorithm="ES256", headers={"kid": "curve"}
    )

    assert await claims_of(verifier, curved) is not None
    assert await claims_of(verifier, rs(kid="a")) is not None


@pytest.mark.parametrize("algorithms", [[], ["HS256"], ["RS256", "none"]])
def test_published_keys_verify_no_shared_secrets(algorithms: list[str]) -> None:
    with pytest.raises(DefinitionError, match="algorithms"):
        jwks("https://id.example/keys", audience="stepflow", algorithms=algorithms)


async def test_a_token_of_another_algorithm_does_not_even_make_anybody_ask_for_keys() -> None:
    provider = Provider(a=0)

    assert await claims_of(provided_by(provider), VALID) is None
    assert provider.asked == 0
