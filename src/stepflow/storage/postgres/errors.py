"""What PostgreSQL's error codes mean to the caller, and what to do about them."""

from __future__ import annotations

from typing import Final

from stepflow.errors import SchemaError, StorageError, StorageFullError, StorageUnavailableError
from stepflow.storage.postgres.driver import DRIVER_ERRORS, STALE_PLAN, state_of

_AGAIN: Final = {
    "40001": "two transactions met",
    "40P01": "two transactions waited for each other",
    "55P03": "a lock was not free in time",
    "57014": "the statement took longer than statement_timeout",
    "25P03": "a transaction stood idle for too long",
    "25P04": "a transaction took too long",
    "23505": "somebody else wrote the same at the same time",
    "25006": "the server is read-only now: a standby, or in a failover",
    "57P01": "the server ended the connection",
    "57P02": "the server crashed and recovers",
    "57P03": "the server is starting or stopping",
    "57P05": "the server ended an idle connection",
    "53300": "the server has no connection left; lower pool_size or raise max_connections",
    "53200": "the server is out of memory",
    "58030": "the server could not read or write a file",
    "08P01": "the connection was spoiled",
    "26000": "a prepared statement is unknown to the connection; behind a transaction pooler add pooler=transaction",
    "42P05": "a prepared statement exists already; behind a transaction pooler add pooler=transaction",
}
_FULL: Final = frozenset({"53100"})
_MISSING: Final = frozenset({"42P01", "42703", "3F000", "42704"})
_WRONG_USER: Final = frozenset({"28P01", "28000"})
_LACKING: Final = frozenset({"0A000", "42601", "42883", "42809"})
"""A feature, a word or a function that every PostgreSQL from 12 on has: our statements are fixed, so the server is another one."""


def translate(error: BaseException, place: str) -> StorageError:
    """The error as ours, in one line that says what happened and what to do. ``raise translate(...) from error``."""
    state = state_of(error)
    said = _one_line(error)
    what = f"PostgreSQL at {place}"
    if state in _AGAIN:
        return StorageUnavailableError(f"{what}: {_AGAIN[state]} ({said}); the call may be repeated")
    if isinstance(error, STALE_PLAN):
        return StorageUnavailableError(
            f"{what}: a cached plan is out of date ({said}); the call may be repeated"
        )
    if state in _FULL:
        return StorageFullError(f"{what}: {said}; free some space, then runs go on")
    if state in _WRONG_USER:
        return StorageError(
            f"{what} refused the user: {said}; check user and password in the URL, and its sslmode"
        )
    if state == "3D000":
        return StorageError(f"{what}: {said}; create it (CREATE DATABASE …) or correct the URL")
    if state == "42501":
        return StorageError(
            f"{what}: {said}; grant the user the right, or open it once as the schema's owner"
        )
    if state in _LACKING:
        return StorageError(
            f"{what}: {said} ({state}); this server can't carry Stepflow, which needs PostgreSQL 12 or newer"
        )
    if state in _MISSING:
        return SchemaError(f"{what}: {said}; the schema was changed by hand, restore it from a backup")
    if isinstance(error, TimeoutError):
        return StorageUnavailableError(
            f"{what} did not answer in time; is the network up? the call may be repeated"
        )
    if state.startswith("08") or isinstance(error, OSError | EOFError):
        return StorageUnavailableError(
            f"{what} can't be reached ({said}); is it running, and are host and port right?"
        )
    if isinstance(error, DRIVER_ERRORS):
        return StorageUnavailableError(f"{what}: the connection was lost ({said}); the call may be repeated")
    code = f" ({state})" if state else ""
    return StorageError(f"{what}: {said or type(error).__name__}{code}; the server's log says more")


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]
