"""Payload: an encoded value together with the tag of the codec that encoded it."""

from __future__ import annotations

import msgspec


class Payload(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """An encoded value.

    ``data`` is always valid JSON text (a codec that makes bytes wraps them in a JSON string), so that
    it can be embedded in a journal row as it is and read with the database's own tools.
    ``codec`` names the codec chain that made it; a reader without that codec gets a clear error.
    """

    data: msgspec.Raw
    codec: str = "json"

    @property
    def size(self) -> int:
        """Encoded length in bytes."""
        return len(bytes(self.data))


NULL = Payload(msgspec.Raw(b"null"))
"""``None``, encoded."""
