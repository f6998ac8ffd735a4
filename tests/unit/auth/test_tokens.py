"""Run tokens: what they allow, until when, and that no changed one is ever taken."""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stepflow.auth.base import checked_auth, decide
from stepflow.auth.tokens import RunTokens, kept_run_tokens, run_token_auth
from stepflow.errors import DefinitionError, InputError, InvalidIdError
from tests.unit.auth.requests import NOW, a_request

SECRET = "s" * 32
NEXT = "n" * 32
TOKENS = RunTokens(SECRET)
DAY = timedelta(hours=24)
TICK = timedelta(milliseconds=1)


class Settings:
    """A storage, as far as settings go."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}

    async def setting(self, name: str, default: bytes) -> bytes:
        return self.kept.setdefault(name, default)


def signed(text: str, secret: str = SECRET) -> str:
    signature = hmac.new(secret.encode(), b"stepflow run token 1\0" + text.encode(), sha256).digest()
    return f"pat_{text}.{urlsafe_b64encode(signature).rstrip(b'=').decode()}"


# ------------------------------------------------------------------ issue and verify
def test_a_token_says_its_run_its_events_and_when_it_expires() -> None:
    token, expires_at = TOKENS.issue("order-1", NOW, ["paid", "approved/1", "paid"])
    claims = TOKENS.verify(token, NOW)

    assert token.startswith("pat_")
    assert expires_at == NOW + DAY
    assert claims is not None
    assert (claims.run_id, claims.events, claims.expires_at) == (
        "order-1", frozenset({"paid", "approved/1"}), expires_at,
    )  # fmt: skip


@given(st.integers(0, 3_000_000_000_000_000))
def test_a_token_is_valid_before_the_instant_it_expires_and_never_from_then_on(microseconds: int) -> None:
    now = datetime(2000, 1, 1, tzinfo=UTC) + timedelta(microseconds=microseconds)
    token, expires_at = TOKENS.issue("r1", now, lifetime=timedelta(minutes=5))

    assert timedelta(minutes=5) - TICK < expires_at - now <= timedelta(minutes=5)
    assert TOKENS.verify(token, expires_at - timedelta(microseconds=1)) is not None
    assert TOKENS.verify(token, expires_at) is None
    assert TOKENS.verify(token, expires_at + DAY) is None


def test_a_token_is_safe_in_headers_and_addresses() -> None:
    token, _ = TOKENS.issue("r1", NOW, ["größe/ü"])

    assert token.replace("_", "").replace("-", "").replace(".", "").isalnum()
    assert token.isascii()


@pytest.mark.parametrize("run_id", ["", "../r1", "r 1", "r\n1"])
def test_no_token_is_made_for_a_malformed_id(run_id: str) -> None:
    with pytest.raises(InvalidIdError):
        TOKENS.issue(run_id, NOW)
    with pytest.raises(InvalidIdError):
        TOKENS.issue("r1", NOW, [f"../{run_id}"])


def test_events_that_no_header_can_carry_are_refused() -> None:
    with pytest.raises(InputError, match="list fewer"):
        TOKENS.issue("r1", NOW, [f"{number}-" + "x" * 150 for number in range(40)])


# ------------------------------------------------------------------ tampering
GENUINE = TOKENS.issue("order-1", NOW, ["paid"])[0]


@given(st.integers(0, len(GENUINE) - 1), st.characters())
@example(len(GENUINE) - 1, "B")
def test_a_token_with_a_changed_character_never_verifies(place: int, character: str) -> None:
    forged = GENUINE[:place] + character + GENUINE[place + 1 :]

    claims = TOKENS.verify(forged, NOW)

    assert (claims is not None) == (forged == GENUINE)


@pytest.mark.parametrize("last", "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
def test_a_signature_has_one_spelling_only(last: str) -> None:
    forged = GENUINE[:-1] + last

    assert (TOKENS.verify(forged, NOW) is not None) == (forged == GENUINE)


@given(st.integers(0, len(GENUINE)), st.text(min_size=1))
def test_a_token_with_something_added_never_verifies(place: int, added: str) -> None:
    assert TOKENS.verify(GENUINE[:place] + added + GENUINE[place:], NOW) is None


@given(st.integers(0, len(GENUINE) - 1))
def test_a_token_that_was_cut_never_verifies(length: int) -> None:
    assert TOKENS.verify(GENUINE[:length], NOW) is None


@given(st.text())
@example("pat_")
@example("pat_.")
@example("pat_" + "x" * 5000)
@example("pat_\ud800.\ud800")
def test_no_text_verifies_or_raises(text: str) -> None:
    assert TOKENS.verify(text, NOW) is None
    assert TOKENS.verify(f"pat_{text}", NOW) is None


def test_the_body_of_one_token_does_not_go_with_the_signature_of_another() -> None:
    other = TOKENS.issue("order-2", NOW, ["paid"])[0]

    assert TOKENS.verify(f"{other.partition('.')[0]}.{GENUINE.partition('.')[2]}", NOW) is None


def test_a_token_of_another_secret_never_verifies() -> None:
    assert RunTokens(NEXT).verify(GENUINE, NOW) is None


def test_what_was_signed_for_another_purpose_is_no_token() -> None:
    text = GENUINE.removeprefix("pat_").partition(".")[0]
    signature = hmac.new(SECRET.encode(), text.encode(), sha256).digest()

    assert TOKENS.verify(f"pat_{text}.{urlsafe_b64encode(signature).decode().rstrip('=')}", NOW) is None
    assert TOKENS.verify(signed(text), NOW) is not None, "what the tests sign by themselves is genuine"


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{}", b"[]", b'["r1"]', b"\xff", b'["r1","2026-03-02T12:00:00",[]]', b'["r1",7,[]]',
        b'["r1","2026-03-02T12:00:00Z",[1]]', b'["r1","2026-03-02T12:00:00Z",[],"more"]',
    ],
)  # fmt: skip
def test_a_signed_text_of_another_shape_is_no_token(body: bytes) -> None:
    assert TOKENS.verify(signed(urlsafe_b64encode(body).rstrip(b"=").decode()), NOW) is None


def test_a_signed_text_that_is_not_even_base64_is_no_token() -> None:
    assert TOKENS.verify(signed("a"), NOW) is None


def test_signatures_are_compared_in_constant_time_and_with_every_secret(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compared: list[str] = []
    constant_time = hmac.compare_digest

    def compare(left: Any, right: Any) -> bool:
        compared.append(right)
        return constant_time(left, right)

    monkeypatch.setattr(hmac, "compare_digest", compare)

    assert RunTokens([SECRET, NEXT]).verify(GENUINE, NOW) is not None
    assert compared == [GENUINE.partition(".")[2]] * 2


def test_the_comparison_alone_decides_on_signatures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hmac, "compare_digest", lambda _left, _right: False)

    assert TOKENS.verify(GENUINE, NOW) is None


# ------------------------------------------------------------------ secrets
def test_while_secrets_are_rotated_old_tokens_count_and_new_ones_are_signed_with_the_new_one() -> None:
    rotating = RunTokens([NEXT, SECRET])
    fresh, _ = rotating.issue("r1", NOW)

    assert rotating.verify(GENUINE, NOW) is not None
    assert RunTokens(NEXT).verify(fresh, NOW) is not None
    assert TOKENS.verify(fresh, NOW) is None


@pytest.mark.parametrize("secrets", ["", "short", [], [SECRET, "short"], b"x" * 31])
def test_a_secret_that_can_be_guessed_is_refused(secrets: Any) -> None:
    with pytest.raises(DefinitionError, match="at least 32 bytes"):
        RunTokens(secrets)


async def test_the_secret_is_made_once_for_all_processes_of_a_storage() -> None:
    storage = Settings()
    first, second = await kept_run_tokens(storage), await kept_run_tokens(storage)
    elsewhere = await kept_run_tokens(Settings())
    token, _ = first.issue("r1", NOW)

    assert second.verify(token, NOW) is not None
    assert elsewhere.verify(token, NOW) is None
    assert [len(value) for value in storage.kept.values()] == [32]


# ------------------------------------------------------------------ the handler
def test_a_token_lets_its_holder_see_one_run_and_send_its_events_there() -> None:
    result = run_token_auth()(a_request("runs", bearer=GENUINE, run_tokens=TOKENS))

    assert result.allowed
    assert (result.runs, result.events, result.notify_run) == ({"order-1"}, {"paid"}, "order-1")
    assert (result.workflows, result.operations, result.options, result.details) == (
        frozenset(),
        False,
        False,
        False,
    )
    assert (result.values, result.scope, result.expires_at) == (True, "run_token:order-1", NOW + DAY)


async def test_a_token_of_one_run_shows_no_other_and_operates_none() -> None:
    auth = checked_auth(run_token_auth())

    async def denial(*route: Any, **fields: Any) -> str | None:
        return (await decide(auth, a_request(*route, bearer=GENUINE, run_tokens=TOKENS, **fields))).denial

    assert await denial("runs", run_id="order-1") is None
    assert await denial("runs", run_id="order-2") == "hidden"
    assert await denial("runsStream", run_id="order-2") == "hidden"
    assert await denial("notify", event_id="paid") is None
    assert await denial("notify", event_id="refunded") == "forbidden"
    assert await denial("notify", event_id="paid", query={"runId": ["order-2"]}) == "hidden"
    assert await denial("trigger", workflow_id="greet") == "forbidden"
    assert await denial("operations", run_id="order-1", operation="cancelRun") == "forbidden"


async def test_a_token_in_the_query_reads_and_streams() -> None:
    auth = checked_auth(run_token_auth())
    query = {"token": [GENUINE]}

    async def denial(route: Any, **fields: Any) -> str | None:
        return (await decide(auth, a_request(route, query=query, run_tokens=TOKENS, **fields))).denial

    assert await denial("runs", run_id="order-1") is None
    assert await denial("runsStream", run_id="order-1") is None
    assert await denial("notify", event_id="paid") == "unauthenticated"


def test_the_status_view_hides_values() -> None:
    handler = run_token_auth(view="status")

    assert handler(a_request("runs", bearer=GENUINE, run_tokens=TOKENS)).values is False


def test_a_view_that_there_is_not_is_told() -> None:
    with pytest.raises(DefinitionError, match="'full' or 'status'"):
        run_token_auth(view="all")  # type: ignore[arg-type]


@pytest.mark.parametrize("bearer", [None, "pat_forged.x", "ey.jwt.token", GENUINE + "x"])
def test_any_other_bearer_lets_nobody_in(bearer: str | None) -> None:
    assert run_token_auth()(a_request("runs", bearer=bearer, run_tokens=TOKENS)).denial == "unauthenticated"


def test_an_expired_token_lets_nobody_in() -> None:
    context = a_request("runs", bearer=GENUINE, run_tokens=TOKENS, now=NOW + DAY)

    assert run_token_auth()(context).denial == "unauthenticated"


def test_a_server_that_issues_no_tokens_takes_none() -> None:
    assert run_token_auth()(a_request("runs", bearer=GENUINE)).denial == "unauthenticated"


def test_a_token_is_readable_but_no_secret_is_in_it() -> None:
    body = GENUINE.removeprefix("pat_").partition(".")[0]

    assert SECRET.encode() not in urlsafe_b64decode(body + "=" * (-len(body) % 4))
