"""Compressed: zlib for values that are worth it."""

from __future__ import annotations

import zlib

from stepflow.errors import DefinitionError, DeserializationError

_AS_IT_IS, _DEFLATED = b"\x00", b"\x01"

DEFAULT_LARGEST = 64 * 1024 * 1024


class Compressed:
    """A codec that compresses values of ``smallest`` bytes and more, and keeps the result only if it is shorter.

    ``largest`` is how many bytes a value may have when it is decompressed: a few stored bytes can stand for gigabytes. Put it before
    an encrypting codec, since what is encrypted can't be compressed any more: ``codec=[Compressed(), Encrypted(key)]``.
    """

    __slots__ = ("_largest", "_level", "_smallest")

    tag = "zlib"

    def __init__(self, *, level: int = 6, smallest: int = 512, largest: int = DEFAULT_LARGEST) -> None:
        if level not in range(1, 10):
            raise DefinitionError(f"Compressed(level={level!r}): 1 (fast) to 9 (small)")
        self._level = level
        self._smallest = smallest
        self._largest = largest

    def encode(self, data: bytes, /) -> bytes:
        """The data behind one byte that says whether it is compressed."""
        if len(data) >= self._smallest:
            shorter = zlib.compress(data, self._level)
            if len(shorter) < len(data):
                return _DEFLATED + shorter
        return _AS_IT_IS + data

    def decode(self, data: bytes, /) -> bytes:
        """The inverse; ``DeserializationError`` for damaged data and for more than ``largest`` bytes."""
        marker, body = data[:1], data[1:]
        if marker == _AS_IT_IS:
            return body
        if marker != _DEFLATED:
            raise DeserializationError("it does not begin like a compressed value")
        stream = zlib.decompressobj()
        try:
            plain = stream.decompress(body, self._largest + 1)
        except zlib.error as error:
            raise DeserializationError(f"its compressed form is damaged ({error})") from error
        if len(plain) > self._largest:
            raise DeserializationError(
                f"it is more than {self._largest:,} bytes when decompressed; raise Compressed(largest=...) if that is right"
            )
        if not stream.eof or stream.unused_data:
            raise DeserializationError("its compressed form is damaged (it does not end where it should)")
        return plain
