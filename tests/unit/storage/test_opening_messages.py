"""What is said when a storage can't be opened: one line, which says what to do and shows no secret."""

from __future__ import annotations

import sqlite3
import sys
from pathlib import Path
from typing import Any

import pytest

from stepflow.errors import (
    MissingExtraError,
    SchemaError,
    StorageError,
    StorageFullError,
    StorageUnavailableError,
    UnknownStorageError,
)
from stepflow.storage.opening import open_storage

SECRET = "s3cr3t-pw"


def says(error: BaseException, *wanted: str) -> None:
    """The message is one line with these words, and nothing secret."""
    said = str(error)
    assert "\n" not in said
    assert SECRET not in said
    assert [word for word in wanted if word not in said] == [], said


# ------------------------------------------------------------------ the URL
@pytest.mark.parametrize(
    ("url", "meant"),
    [
        (f"postgresql+asyncpg://u:{SECRET}@host/db", "did you mean postgresql://"),
        ("sqlite+aiosqlite:///a.db", "did you mean sqlite://"),
        (f"valkey://u:{SECRET}@host", "did you mean redis://"),
        ("turso://shop.turso.io", "did you mean libsql://"),
        ("rediss+clusters://host", "did you mean rediss+cluster://"),
        (f"mysql://u:{SECRET}@host/db", "there are"),
        (f"postgresql:/u:{SECRET}@host/db", "there are"),
    ],
)
def test_a_scheme_of_another_library_names_ours(url: str, meant: str) -> None:
    with pytest.raises(UnknownStorageError) as refused:
        open_storage(url)

    says(refused.value, meant)


@pytest.mark.parametrize(
    ("url", "driver", "extra"),
    [
        ("postgresql://host/db", "asyncpg", "stepflow[postgres]"),
        ("redis+cluster://host", "redis", "stepflow[redis]"),
        ("libsql://host", "httpx", "stepflow[turso]"),
    ],
)
def test_without_its_driver_a_store_names_the_extra(
    url: str, driver: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = {"asyncpg": "postgres", "redis": "redis", "httpx": "libsql"}[driver]
    for name in list(sys.modules):
        if name.startswith(f"stepflow.storage.{backend}") or name.partition(".")[0] == driver:
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [_Without(driver), *sys.meta_path])

    with pytest.raises(MissingExtraError) as missing:
        open_storage(url)

    says(missing.value, f"pip install '{extra}'")


class _Without:
    """An import system in which one package is not installed."""

    def __init__(self, package: str) -> None:
        self._package = package

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        if name.partition(".")[0] == self._package:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://u:{SECRET}@host/db?pool=3",
        f"postgresql://u:{SECRET}@host:port/db",
        f"redis://u:{SECRET}@host/db",
        f"redis://u:{SECRET}@host?fsync=always",
        f"libsql://u:{SECRET}@host",
        f"libsql://host/path?auth_token={SECRET}",
        f"libsql://host?auth_token={SECRET} {SECRET}",
    ],
)
def test_a_mistake_in_a_url_shows_no_secret(url: str) -> None:
    with pytest.raises(UnknownStorageError) as refused:
        open_storage(url)

    says(refused.value)


# ------------------------------------------------------------------ SQLite
async def test_a_newer_schema_says_to_upgrade(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/a.db"
    async with open_storage(url):
        pass
    with sqlite3.connect(tmp_path / "a.db") as database:
        database.execute("INSERT INTO stepflow_schema VALUES (999, 'future', 'x', 0)")
    database.close()

    with pytest.raises(SchemaError) as refused:
        await open_storage(url).__aenter__()

    says(refused.value, "a.db", "schema 999", "upgrade stepflow")


@pytest.mark.parametrize(
    ("path", "wanted"), [("missing/a.db", "its directory must exist"), ("text.db", "another file")]
)
async def test_a_file_that_can_not_be_opened_says_why(tmp_path: Path, path: str, wanted: str) -> None:
    (tmp_path / "text.db").write_text("this is a letter, and not a database at all " * 40)

    with pytest.raises(StorageError) as refused:
        await open_storage(f"sqlite:///{tmp_path}/{path}").__aenter__()

    says(refused.value, path, wanted)


# ------------------------------------------------------------------ servers: what their errors become
class Said(Exception):
    """A server's error as asyncpg has it."""

    def __init__(self, state: str, message: str = "the server\nsaid this") -> None:
        super().__init__(message)
        self.sqlstate = state


@pytest.mark.parametrize(
    ("state", "kind", "wanted"),
    [
        ("28P01", StorageError, "check user and password in the URL"),
        ("28000", StorageError, "sslmode"),
        ("3D000", StorageError, "CREATE DATABASE"),
        ("42501", StorageError, "grant"),
        ("53300", StorageUnavailableError, "pool_size"),
        ("57P03", StorageUnavailableError, "starting"),
        ("53100", StorageFullError, "free some space"),
        ("42P01", SchemaError, "restore"),
        ("0A000", StorageError, "needs PostgreSQL 12"),
        ("42883", StorageError, "needs PostgreSQL 12"),
        ("42P05", StorageUnavailableError, "pooler=transaction"),
        ("XX000", StorageError, "the server's log"),
    ],
)
def test_what_postgres_says_becomes_advice(state: str, kind: type[StorageError], wanted: str) -> None:
    pytest.importorskip("asyncpg")
    from stepflow.storage.postgres.errors import translate

    error = translate(Said(state), "db.example.com:5432/shop")

    assert isinstance(error, StorageUnavailableError) is (kind is StorageUnavailableError)
    assert isinstance(error, kind)
    says(error, "db.example.com:5432/shop", wanted)


def test_a_stale_plan_may_be_tried_again_and_a_lacking_feature_not() -> None:
    asyncpg = pytest.importorskip("asyncpg")
    from stepflow.storage.postgres.errors import translate

    stale = translate(asyncpg.InvalidCachedStatementError("x"), "host")
    lacking = translate(asyncpg.FeatureNotSupportedError("LISTEN is not supported"), "host")

    assert isinstance(stale, StorageUnavailableError)
    assert not isinstance(lacking, StorageUnavailableError)


@pytest.mark.parametrize(
    "url", ["postgresql://u:{pw}@127.0.0.1:{port}/db?connect_timeout=2s", "redis://u:{pw}@127.0.0.1:{port}", "libsql://127.0.0.1:{port}?tls=0&auth_token={pw}"]
)  # fmt: skip
async def test_a_server_that_is_not_there_is_named_with_its_port(url: str) -> None:
    pytest.importorskip("asyncpg")

    with pytest.raises(StorageUnavailableError) as unreachable:
        await open_storage(url.format(pw=SECRET, port=1)).__aenter__()

    says(unreachable.value, "127.0.0.1:1", "can't be reached", "host")


def test_what_redis_says_becomes_advice() -> None:
    exceptions = pytest.importorskip("redis.exceptions")
    from stepflow.storage.redis.errors import translate

    says(
        translate(exceptions.AuthenticationError("WRONGPASS invalid"), "h:1"), "check them in the URL", "h:1"
    )
    says(translate(exceptions.ConnectionError("no\nroute"), "h:1"), "is it running", "rediss://")
    says(translate(exceptions.ResponseError("LOADING loading"), "h:1"), "may be repeated")
    says(translate(exceptions.ResponseError("NOPERM no"), "h:1"), "give this user")
    full = translate(exceptions.ResponseError("MISCONF disk"), "h:1")
    says(full, "more memory or disk")
    assert isinstance(full, StorageFullError)


def test_what_libsql_says_becomes_advice() -> None:
    pytest.importorskip("httpx")
    from stepflow.storage.libsql.errors import refused, translate, unreachable
    from stepflow.storage.libsql.hrana import Problem

    says(refused("shop.turso.io", 401, "no\njwt", opening=True), "TURSO_AUTH_TOKEN")
    says(refused("shop.turso.io", 404, "", opening=True), "check the host")
    says(unreachable("h:1", OSError("no\nroute")), "check that it runs")
    says(translate(Problem("disk\nfull", "SQLITE_FULL"), "h:1"), "free some space")


# ------------------------------------------------------------------ again
@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://u:{SECRET}@host/db?schema=other&pool_size=3",
        f"redis://u:{SECRET}@host/2?prefix=x:",
        f"libsql://host?auth_token={SECRET}&poll=7",
        "sqlite:////tmp/a.db?synchronous=normal",
    ],
)
def test_a_storage_opened_again_keeps_its_secret_and_does_not_show_it(url: str) -> None:
    pytest.importorskip("asyncpg")
    first: Any = open_storage(url)

    again = first.reopened()

    assert again is not first
    assert again._options == first._options
    assert SECRET not in again.url
