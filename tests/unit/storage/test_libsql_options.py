"""libSQL's own part of the URL."""

from __future__ import annotations

import pytest

from stepflow.errors import UnknownStorageError
from stepflow.storage.libsql.options import LibsqlOptions, read_url
from stepflow.storage.opening import open_storage


@pytest.fixture(autouse=True)
def no_token_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TURSO_AUTH_TOKEN", raising=False)


def test_tls_is_used_unless_it_is_refused() -> None:
    assert read_url("libsql://shop-me.turso.io").address == "https://shop-me.turso.io"
    assert read_url("libsql://127.0.0.1:8080?tls=0").address == "http://127.0.0.1:8080"
    assert read_url("libsql://[::1]:8080/?tls=false").address == "http://[::1]:8080"


def test_options_are_read() -> None:
    assert read_url("libsql://host?auth_token=abc&connections=2&timeout=3&poll=50&tls=1") == LibsqlOptions(
        host="host", token="abc", connections=2, timeout=3, poll=50
    )


def test_the_token_may_have_the_name_that_other_clients_use() -> None:
    assert read_url("libsql://host?authToken=abc").token == "abc"


def test_the_token_comes_from_the_environment_unless_the_url_has_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TURSO_AUTH_TOKEN", "outside\n")

    assert read_url("libsql://host").token == "outside"
    assert read_url("libsql://host?auth_token=inside").token == "inside"
    assert read_url("libsql://host?auth_token=").token is None


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("libsql://", "names no server"),
        ("libsql:///file.db", "names no server"),
        ("libsql://host/database", "names no server"),
        ("libsql://host#part", "names no server"),
        ("libsql://host:port", "no address"),
        ("libsql://me:secret@host", "knows no users"),
        ("libsql://host?token=secret", "unknown option 'token'; there are auth_token, tls"),
        ("libsql://host?tls=maybe", "1 or 0"),
        ("libsql://host?connections=0", "1 to 1000"),
        ("libsql://host?timeout=0", "seconds, 1 to 600"),
        ("libsql://host?timeout=1.5", "seconds"),
        ("libsql://host?poll=-1", "milliseconds"),
        ("libsql://host?auth_token=sec%0Aret", "characters that no token has"),
        ("libsql://host?auth_token=“secret”", "without quotes"),
    ],
)
def test_what_can_not_be_meant_is_refused_without_showing_a_secret(url: str, problem: str) -> None:
    with pytest.raises(UnknownStorageError, match=problem) as refused:
        read_url(url)

    assert "secret" not in str(refused.value)
    assert "sec" not in str(refused.value).replace("seconds", "")


@pytest.mark.parametrize(
    "url", ["libsql://host", "libsql://host:8080?tls=0&poll=7", "libsql://[::1]:80?connections=3&timeout=2"]
)
def test_a_storage_tells_the_url_that_opens_it(url: str) -> None:
    assert open_storage(url).url == url


def test_a_token_is_shown_nowhere() -> None:
    options = read_url("libsql://host?auth_token=secret")

    assert "secret" not in f"{options} {options!r} {options.url}"
