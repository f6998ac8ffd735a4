"""What the errors of Redis and of the driver mean to the caller, and what to do about them."""

from __future__ import annotations

import re
from typing import Final

from redis import exceptions

from stepflow.errors import StorageError, StorageFullError, StorageUnavailableError

_CODE: Final = re.compile(r"-([A-Z]{3,}) ")
"""Redis before 7 wraps the error of a command inside a script in one of its own."""

_TRANSIENT: Final = frozenset(
    {"LOADING", "CLUSTERDOWN", "TRYAGAIN", "MASTERDOWN", "BUSY", "READONLY", "NOREPLICAS", "MOVED", "ASK", "UNBLOCKED"}
)  # fmt: skip
"""What a server answers while it starts, fails over or moves slots: nothing was done, ask again."""

_FULL: Final = frozenset({"OOM", "MISCONF"})
_REFUSED: Final = frozenset({"WRONGPASS", "NOAUTH"})


def code_of(error: BaseException) -> str:
    """The word by which Redis classifies its error; empty if it has none."""
    code = getattr(error, "status_code", None)
    if isinstance(code, str) and code != "ERR":
        return code
    said = str(error)
    wrapped = _CODE.search(said)
    if wrapped is not None:
        return wrapped[1]
    first = said.partition(" ")[0]
    return first if first.isupper() else ""


def translate(error: BaseException, where: str) -> StorageError:
    """The error as ours, saying what happened and what to do. ``raise translate(...) from error``."""
    code = code_of(error)
    said = " ".join(str(error).split())[:300] or type(error).__name__
    if isinstance(error, exceptions.AuthenticationError) or code in _REFUSED:
        return StorageError(
            f"Redis at {where} refused the user or the password ({said}); check them in the URL, redis://user:password@host"
        )
    if isinstance(error, exceptions.OutOfMemoryError) or code in _FULL:
        return StorageFullError(f"Redis at {where}: {said}; give it more memory or disk, then runs go on")
    if isinstance(error, exceptions.ResponseError) and code not in _TRANSIENT:
        if code == "NOPERM":
            return StorageError(
                f"Redis at {where}: {said}; give this user the commands and keys that it lacks"
            )
        return StorageError(f"Redis at {where}: {said}")
    if isinstance(error, exceptions.ResponseError):
        return StorageUnavailableError(
            f"Redis at {where} is starting, busy or failing over ({said}); the call may be repeated"
        )
    return StorageUnavailableError(
        f"Redis at {where} can't be reached ({said}); is it running, and are host, port and TLS (rediss://) right?"
    )
