"""The development server's handler: programs on this machine, and no web page from elsewhere."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepflow.auth.local import allow_local, is_loopback
from tests.unit.auth.requests import a_request

HERE = "127.0.0.1:8000"


@pytest.mark.parametrize("host", [HERE, "localhost:8000", "LOCALHOST", "[::1]:8000", "127.0.0.1"])
def test_a_program_on_this_machine_may_do_everything(host: str) -> None:
    result = allow_local()(a_request(headers={"host": host}))

    assert (result.allowed, result.operations, result.details) == (True, True, True)


@pytest.mark.parametrize(
    "host",
    ["", "evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "[::1", "10.0.0.1", "0.0.0.0"],
)
def test_a_name_that_only_points_here_is_refused(host: str) -> None:
    assert allow_local()(a_request(headers={"host": host})).denial == "forbidden"


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "null",
        "",
        "http://127.0.0.1:9000",
        "http://localhost:8000",
        "file://",
        "ftp://127.0.0.1:8000",
        "http://[",
    ],
)
def test_a_page_from_elsewhere_is_refused(origin: str) -> None:
    assert allow_local()(a_request(headers={"host": HERE, "origin": origin})).denial == "forbidden"


def test_a_page_of_this_server_and_of_listed_origins_is_not() -> None:
    handler = allow_local(origins=["http://localhost:5173"])

    for origin in (f"http://{HERE}", "http://localhost:5173"):
        assert handler(a_request(headers={"host": HERE, "origin": origin})).allowed


@pytest.mark.parametrize(
    ("site", "method", "allowed"),
    [
        ("cross-site", "POST", False),
        ("same-site", "DELETE", False),
        ("cross-site", "GET", True),
        ("same-origin", "POST", True),
        ("none", "POST", True),
    ],
)
def test_where_a_browser_says_no_origin_it_says_from_which_site(
    site: str, method: str, allowed: bool
) -> None:
    context = a_request(headers={"host": HERE, "sec-fetch-site": site}, method=method)

    assert allow_local()(context).allowed is allowed


@given(st.text(), st.text())
def test_no_header_is_so_malformed_that_reading_it_fails(host: str, origin: str) -> None:
    assert allow_local()(a_request(headers={"host": host, "origin": origin})).denial in (None, "forbidden")


def test_only_loopback_is_this_machine() -> None:
    assert [is_loopback(host) for host in ("127.0.0.1", "::1", "localhost", "0.0.0.0", "::", "box", None)] == [
        True, True, True, False, False, False, False,
    ]  # fmt: skip
