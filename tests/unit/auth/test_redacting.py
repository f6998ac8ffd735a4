"""Addresses as logs may show them."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepflow.auth.keys import create_key
from stepflow.auth.redacting import redacted
from stepflow.auth.tokens import RunTokens
from tests.unit.auth.requests import NOW

TOKEN = RunTokens("s" * 32).issue("order-1", NOW)[0]
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhZGEifQ.c2lnbmF0dXJl"


@pytest.mark.parametrize(
    ("path", "query", "shown"),
    [
        ("/runs/order-1", "", "/runs/order-1"),
        ("/runs", "status=failed&limit=5", "/runs?status=failed&limit=5"),
        ("/runs", "tag=a%3Ab&flag&=x", "/runs?tag=a%3Ab&flag&=x"),
        ("/runs/r1/stream", f"token={TOKEN}&lastEventId=0", "/runs/r1/stream?token=…&lastEventId=0"),
        ("/runs/r1", f"%74oken={TOKEN}", "/runs/r1?%74oken=…"),
        ("/runs/r1", "API_KEY=short", "/runs/r1?API_KEY=…"),
        ("/runs/r1", f"wait={TOKEN.replace('_', '%5F')}", "/runs/r1?wait=pat_…"),
        ("/runs/r1", f"{TOKEN}", "/runs/r1?pat_…"),
        (f"/notify/{TOKEN}", "", "/notify/pat_…"),
        ("/runs", f"next=x-{JWT}", "/runs?next=x-eyJ…"),
    ],
)
def test_credentials_are_left_out_and_the_rest_is_as_it_came(path: str, query: str, shown: str) -> None:
    assert redacted(path, query) == shown


@given(st.sampled_from(["token", "wait", "x", ""]), st.booleans(), st.booleans())
def test_no_key_of_ours_is_ever_shown(name: str, encoded: bool, public: bool) -> None:
    key = create_key(public=public)
    value = quote(key.replace("_", "%5F")) if encoded else key

    assert key[8:] not in redacted(f"/trigger/{key}", f"{name}={value}&{key}")


@given(st.text(), st.text())
def test_every_address_can_be_shown(path: str, query: str) -> None:
    assert isinstance(redacted(path, query), str)
