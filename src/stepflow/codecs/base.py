"""Codec: what may be done to encoded bytes before they are stored, and undone when they are read."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Protocol

from stepflow.errors import DefinitionError

PLAIN = "json"
"""The tag of a value that no codec has touched."""

_TAG = re.compile(r"[a-z0-9][a-z0-9._-]{0,31}")


class Codec(Protocol):
    """Wraps the JSON bytes of a value: encryption, compression.

    Both methods are called from the event loop's thread and from others, so they share no state between calls. ``decode`` undoes
    ``encode`` exactly; it raises ``DeserializationError`` for what it can't read.
    """

    @property
    def tag(self) -> str:
        """What stored rows say about how they were encoded: lower-case letters, digits and ``. _ -``, not ``json``.

        Never give one tag to two formats: rows outlive releases.
        """
        ...

    def encode(self, data: bytes, /) -> bytes:
        """The bytes to store."""
        ...

    def decode(self, data: bytes, /) -> bytes:
        """The bytes that ``encode`` was given."""
        ...


def codec_chain(codec: Codec | Sequence[Codec] | None) -> tuple[Codec, ...]:
    """The codecs in the order in which they encode."""
    if codec is None:
        return ()
    return tuple(codec) if isinstance(codec, Sequence) else (codec,)


def codecs_by_tag(codecs: Sequence[Codec]) -> dict[str, Codec]:
    """Each codec under its tag; ``DefinitionError`` for a malformed tag, and for one that two codecs claim."""
    found: dict[str, Codec] = {}
    for codec in codecs:
        tag = codec.tag
        if not _TAG.fullmatch(tag) or tag == PLAIN:
            raise DefinitionError(
                f"{type(codec).__name__} has the tag {tag!r}; a tag is 1 to 32 of a-z 0-9 . _ - and not {PLAIN!r}"
            )
        if found.setdefault(tag, codec) is not codec:
            raise DefinitionError(f"two codecs have the tag {tag!r}; give each format its own")
    return found
