"""What a libSQL server's errors mean to the caller, and what to do about them. None shows the token."""

from __future__ import annotations

from typing import Final

from stepflow.errors import SchemaError, StorageError, StorageFullError, StorageUnavailableError
from stepflow.storage.libsql.hrana import Problem

CONSTRAINT: Final = "SQLITE_CONSTRAINT"
TOO_LARGE: Final = ("RESPONSE_TOO_LARGE", "SQLITE_TOOBIG")

# By the beginning of the code: extended codes go on after it.
_BUSY = ("SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_PROTOCOL", "SQLITE_INTERRUPT")
_LOST = ("TRANSACTION_TIMEOUT", "TRANSACTION_BUSY", "STREAM_EXPIRED", "SQLITE_ABORT")
_TROUBLED = (
    "SQLITE_IOERR",
    "SQLITE_NOMEM",
    "SQLITE_CANTOPEN",
    "SQLITE_READONLY",
    "INTERNAL",
    "BLOCKED",
    "SQLITE_AUTH",
)
_BROKEN = ("SQLITE_CORRUPT", "SQLITE_NOTADB")
_SCHEMA = "no such "


class AnswerTooLarge(StorageError):
    """The server does not send as much at once as was asked for; less may be asked for."""


def translate(problem: Problem, where: str) -> StorageError:
    """A failed statement as an error of ours, saying what happened and what to do."""
    code = problem.code or ""
    what = f"libSQL database {where}: {' '.join(problem.message.split())}"
    if code.startswith(_BUSY):
        return StorageUnavailableError(f"{what}; another client holds it, the call may be repeated")
    if code.startswith(_LOST):
        return StorageUnavailableError(f"{what}; nothing of it was kept, the call may be repeated")
    if code.startswith("SQLITE_FULL"):
        return StorageFullError(f"{what}; free some space on the server, then runs go on")
    if code.startswith(_TROUBLED):
        return StorageUnavailableError(f"{what}; look at the server ({code}), the call may be repeated")
    if code.startswith(TOO_LARGE):
        return AnswerTooLarge(f"{what}; start the server with a greater --max-response-size")
    if code.startswith("ARGS_INVALID"):
        return StorageError(
            f"{what}; a server takes values of 5,000,000 bytes, and all results that a run records at once are one value"
        )
    if code.startswith(_BROKEN):
        return StorageError(f"{what}; stop all processes and restore a backup")
    if _SCHEMA in problem.message:
        # Our statements are fixed, so a missing table or column means that somebody else changed the schema.
        return SchemaError(f"{what}; the schema was changed by hand, restore it from a backup")
    return StorageError(f"{what} ({code or 'no code'})")


def unreachable(where: str, error: Exception) -> StorageUnavailableError:
    """No answer came: refused, cut, or too late. Whether the request was carried out is not known."""
    reason = " ".join(str(error).split()) or type(error).__name__
    return StorageUnavailableError(
        f"libSQL server {where} can't be reached ({reason}); check that it runs, and the host, port and tls of the URL"
    )


def unreadable(where: str) -> StorageUnavailableError:
    """Something answered that is no libSQL server, or only half of an answer came."""
    return StorageUnavailableError(
        f"{where} did not answer as a libSQL server (Hrana 3) does; check the host, port and tls of the URL"
    )


def refused(where: str, status: int, said: str, *, opening: bool) -> StorageError:
    """An HTTP status other than 200. While ``opening`` a mistake in the URL is likely; later it is the server's trouble."""
    reason = " ".join(said.split())[:200] or "no reason given"
    if status in (401, 403):
        advice = "give a valid one as ?auth_token=… or in TURSO_AUTH_TOKEN"
        what = f"libSQL server {where} refuses the token ({status}); {advice}"
    elif status == 404:
        what = f"libSQL server {where} has no such database ({status}: {reason}); check the host in the URL"
    elif status == 413:
        return StorageError(f"libSQL server {where} takes no request that large ({status}: {reason})")
    else:
        what = f"libSQL server {where} answered {status}: {reason}"
    if opening and 400 <= status < 500 and status not in (408, 425, 429):
        return StorageError(what)
    return StorageUnavailableError(what)
