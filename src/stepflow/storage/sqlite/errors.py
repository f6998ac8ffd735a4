"""What SQLite's error codes mean to the caller, and what to do about them."""

from __future__ import annotations

import sqlite3

from stepflow.errors import SchemaError, StorageError, StorageFullError, StorageUnavailableError

_LOCKED = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL})
_PRIMARY = 0xFF
"""The low byte of an extended code is its primary code."""


def code_of(error: sqlite3.Error) -> int:
    """The primary error code; -1 if the error did not come from SQLite itself."""
    code: int | None = getattr(error, "sqlite_errorcode", None)
    return -1 if code is None else code & _PRIMARY


def is_locked(error: sqlite3.Error) -> bool:
    """Whether another connection stood in the way, so that the same call may succeed later."""
    return code_of(error) in _LOCKED


def translate(error: sqlite3.Error, path: str) -> StorageError:
    """The error as ours, saying what happened and what to do. ``raise translate(...) from error``."""
    code = code_of(error)
    what = f"SQLite database {path}: {error}"
    if code in _LOCKED:
        return StorageUnavailableError(f"{what}; another process holds it, the call may be repeated")
    if code == sqlite3.SQLITE_FULL:
        return StorageFullError(f"{what}; free some space, then runs go on")
    if code == sqlite3.SQLITE_READONLY:
        return StorageError(f"{what}; the file and its directory must be writable by this user")
    if code in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH):
        return StorageError(f"{what}; its directory must exist, and be writable by this user")
    if code == sqlite3.SQLITE_NOTADB:
        return StorageError(f"{what}; give the URL of another file, this one was left alone")
    if code == sqlite3.SQLITE_CORRUPT:
        return StorageError(f"{what}; stop all processes and restore a backup, or try `.recover` in sqlite3")
    if code == sqlite3.SQLITE_IOERR:
        # What was not synced may be there or not, as when a connection is lost: every write is safe to repeat.
        return StorageUnavailableError(f"{what}; check the disk, the call may be repeated")
    if code == sqlite3.SQLITE_ERROR and "no such" in str(error):
        # Our statements are fixed, so a missing table or column means that somebody else changed the schema.
        return SchemaError(f"{what}; the schema was changed by hand, restore it from a backup")
    return StorageError(what)
