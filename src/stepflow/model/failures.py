"""Failure: an exception as data, from the moment it is recorded."""

from __future__ import annotations

import msgspec

from stepflow.model.payloads import Payload

MESSAGE_LIMIT = 16_384
TRACEBACK_LIMIT = 65_536


class Failure(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is known of an exception once it was recorded.

    ``type`` is ``module.qualname`` (``builtins`` left out). ``rebuilt`` was decided when the failure was
    recorded: the same class is raised again from ``args``, live and on replay. Otherwise a
    ``StepFailedError`` is raised; if ``allowed``, one that also derives from the original class.
    Nothing is ever imported by the stored name.
    """

    type: str
    message: str
    traceback: str = ""
    rebuilt: bool = False
    allowed: bool = False
    args: Payload | None = None
