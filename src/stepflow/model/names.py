"""Names in keys: how a name is written in a step's key, and read from it."""

from __future__ import annotations

import re
from functools import lru_cache

from stepflow.types import StepKey

_NEEDS_ESCAPE = re.compile(r"[~/\[\]]|:\d+$")
_ORDINAL = re.compile(r"(?::\d+)?(?:\[[^\[\]]*\])?$")
_ESCAPES = {"~": "~0", "/": "~1", "[": "~3", "]": "~4"}
_UNESCAPES = {"~0": "~", "~1": "/", "~2": ":", "~3": "[", "~4": "]"}
END = "~end"
"""Marks the key under which a started child's end is awaited; no name can contain a bare ``~``."""


@lru_cache(maxsize=4096)
def escape(name: str) -> str:
    """``name`` so that it can stand in a key: injective, and the same for most names."""
    if not _NEEDS_ESCAPE.search(name):
        return name
    escaped = "".join(_ESCAPES.get(character, character) for character in name)
    return re.sub(r":(\d+)$", r"~2\1", escaped)


def unescape(segment: str) -> str:
    """The inverse of ``escape``."""
    return re.sub(r"~[0-4]", lambda match: _UNESCAPES[match.group()], segment)


def name_of(key: StepKey) -> str:
    """The name a command was given, without scope, ordinal, member and end mark."""
    last = key.rpartition("/")[2].removesuffix(END)
    return unescape(_ORDINAL.sub("", last, count=1))
