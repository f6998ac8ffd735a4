"""Routes: what is switched on, and how ids are written in a path."""

from __future__ import annotations

from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepflow.errors import InputError
from stepflow.wire.routes import (
    GET_RUN,
    NOTIFY,
    PRESETS,
    ROUTES,
    STREAM_RUN,
    Endpoint,
    enabled_endpoints,
    quote,
)


def test_every_preset_is_what_the_specification_says() -> None:
    everything = set(Endpoint)

    assert enabled_endpoints("all") == enabled_endpoints("public") == everything
    assert enabled_endpoints("none") == set()
    assert enabled_endpoints("internal") == {Endpoint.HEALTH}
    assert enabled_endpoints("private") == everything - {Endpoint.TRIGGER, Endpoint.NOTIFY}
    assert set(PRESETS) == {"all", "public", "none", "private", "internal"}


def test_a_switch_turns_one_endpoint_off_and_leaves_the_others_on() -> None:
    assert enabled_endpoints({"trigger": False}) == set(Endpoint) - {Endpoint.TRIGGER}
    assert enabled_endpoints({}) == set(Endpoint)


@pytest.mark.parametrize("chosen", ["everything", {"triggers": True}])
def test_an_unknown_preset_or_switch_is_refused(chosen: str | dict[str, bool]) -> None:
    with pytest.raises(InputError, match=r"trigger|all"):
        enabled_endpoints(chosen)


def test_no_two_routes_share_a_name_or_a_method_and_path() -> None:
    assert len({route.name for route in ROUTES}) == len(ROUTES)
    assert len({(route.method, route.path) for route in ROUTES}) == len(ROUTES)


def test_a_slash_is_kept_where_the_rest_of_the_path_is_one_id() -> None:
    assert NOTIFY.url(eventId="a/b c") == "/notify/a/b%20c"
    assert GET_RUN.url(runId="a/b") == "/runs/a%2Fb"
    assert STREAM_RUN.url(runId="r1") == "/runs/r1/stream"


@given(st.text())
def test_what_is_quoted_comes_back_after_one_decoding(text: str) -> None:
    quoted = quote(text)

    assert quoted.isascii()
    assert "/" not in quoted
    assert unquote(quoted, errors="strict") == text


def test_a_lone_surrogate_is_refused_and_not_sent() -> None:
    with pytest.raises(InputError, match="surrogate"):
        quote("\ud800")
