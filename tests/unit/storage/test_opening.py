"""Opening a storage by its URL."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from stepflow.errors import UnknownStorageError
from stepflow.storage.memory import MemoryStorage
from stepflow.storage.opening import open_storage
from stepflow.storage.sqlite.options import SqliteOptions, read_url
from stepflow.storage.sqlite.storage import SqliteStorage


def test_the_scheme_chooses_the_backend() -> None:
    assert isinstance(open_storage("memory://"), MemoryStorage)
    assert isinstance(open_storage("sqlite:///app.db"), SqliteStorage)
    assert isinstance(open_storage("SQLite:///app.db"), SqliteStorage)


def test_memory_is_shared_by_name_only() -> None:
    assert open_storage("memory://a") is open_storage("memory://a")
    assert open_storage("memory://a") is not open_storage("memory://b")
    assert open_storage("memory://") is not open_storage("memory://")
    assert open_storage("memory://a").url == "memory://a"


@pytest.mark.parametrize(
    ("url", "hint"),
    [
        ("sqlit:///app.db", "did you mean sqlite://"),
        ("postgre://host/db", "did you mean postgres"),
        ("redis+clustr://host", "did you mean redis+cluster://"),
        ("mysql://root:secret@host/db", "memory://"),
        ("app.db", "'app.db'"),
        ("", "sqlite://"),
        ("://", "sqlite://"),
        ("sqlite:/app.db", "sqlite:///app.db"),
    ],
)
def test_an_unknown_scheme_names_those_that_there_are(url: str, hint: str) -> None:
    with pytest.raises(UnknownStorageError) as refused:
        open_storage(url)

    assert hint in str(refused.value)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("url", ["memory://a/b", "memory://a?b=c", "memory://user@host"])
def test_a_memory_url_is_a_name_and_nothing_more(url: str) -> None:
    with pytest.raises(UnknownStorageError, match="memory://name"):
        open_storage(url)


def test_a_backend_is_imported_when_it_is_asked_for() -> None:
    code = "import sys; from stepflow.storage.opening import open_storage; open_storage('memory://'); assert 'sqlite3' not in sys.modules"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# ------------------------------------------------------------------ SQLite's own part of the URL
@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:////data/app.db", "/data/app.db"),
        ("sqlite:////data/with space.db", "/data/with space.db"),
        ("sqlite:////data/%C3%BC%3F.db", "/data/ü?.db"),
        ("sqlite:////data/../app.db", "/data/../app.db"),
        ("sqlite:////data/#1.db", "/data/#1.db"),
    ],
)
def test_a_path_is_taken_literally(url: str, path: str) -> None:
    assert read_url(url).path == Path(path)


def test_a_relative_path_is_relative_to_here() -> None:
    assert read_url("sqlite:///sub/app.db").path == Path.cwd() / "sub" / "app.db"


def test_options_are_read() -> None:
    assert read_url("sqlite:///:memory:?synchronous=NORMAL&poll=5&busy_timeout=0") == SqliteOptions(
        path=None, synchronous="normal", poll=5, busy_timeout=0
    )


def test_without_options_every_acknowledged_write_survives_a_power_loss() -> None:
    assert read_url("sqlite:///:memory:").synchronous == "full"


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("sqlite://", "names no database file"),
        ("sqlite:///", "names no database file"),
        ("sqlite://host/app.db", "names no database file"),
        ("sqlite:///dir/", "names no database file"),
        ("sqlite:///a%00.db", "names no database file"),
        ("sqlite:///a.db?mode=ro", "unknown option 'mode'"),
        ("sqlite:///a.db?Synchronous=full", "unknown option"),
        ("sqlite:///a.db?synchronous=off", "full or normal"),
        ("sqlite:///a.db?synchronous=", "full or normal"),
        ("sqlite:///a.db?poll=0", "milliseconds"),
        ("sqlite:///a.db?poll=-1", "milliseconds"),
        ("sqlite:///a.db?poll=1.5", "milliseconds"),
        ("sqlite:///a.db?busy_timeout=5s", "milliseconds"),
        ("sqlite:///a.db?busy_timeout=²", "milliseconds"),
    ],
)
def test_what_can_not_be_meant_is_refused(url: str, problem: str) -> None:
    with pytest.raises(UnknownStorageError, match=problem):
        read_url(url)


@pytest.mark.parametrize(
    "url",
    [
        "sqlite:////a/b.db",
        "sqlite:////a/ü b%3F%25.db?synchronous=normal&poll=7",
        "sqlite:///:memory:",
        "memory://x",
    ],
)
def test_a_storage_tells_the_url_that_opens_it(url: str) -> None:
    assert open_storage(url).url == url
