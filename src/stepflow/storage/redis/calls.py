"""Calls: commands and scripts as they travel, packed once, with the tag of the slot that answers them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import sha1
from importlib.resources import files
from typing import Any, Final, NamedTuple

import msgspec

from stepflow.storage.redis.keys import STORE

_SCRIPTS: Final = files("stepflow.storage.redis") / "scripts"


class Script:
    """A Lua script, called by its digest; a server that does not know it is given the text first."""

    __slots__ = ("head", "name", "text")

    def __init__(self, name: str) -> None:
        self.name = name
        self.text = (_SCRIPTS / f"{name}.lua").read_bytes()
        digest = sha1(self.text, usedforsecurity=False).hexdigest()
        self.head = b"$7\r\nEVALSHA\r\n$40\r\n%b\r\n" % digest.encode()


class Call(NamedTuple):
    """One command for the server of ``tag``'s slot. ``script`` is loaded if the server says that it has not got it."""

    tag: bytes
    packed: bytes
    script: Script | None = None


_PACK = msgspec.msgpack.Encoder().encode
_UNPACK = msgspec.msgpack.Decoder().decode


def command(tag: bytes, *parts: bytes | str | int) -> Call:
    """A plain command whose keys are of that tag."""
    return Call(tag, pack([_bytes(part) for part in parts]))


def on_store(*parts: bytes | str | int) -> Call:
    """A command on what the store has once."""
    return command(STORE, *parts)


def evaluate(script: Script, tag: bytes, keys: Sequence[bytes], argument: Any) -> Call:
    """A script with its keys and one argument, which it unpacks."""
    return evaluate_bytes(script, tag, keys, (_PACK(argument),))


def evaluate_bytes(script: Script, tag: bytes, keys: Sequence[bytes], arguments: Sequence[bytes]) -> Call:
    """A script with its keys and its arguments as they are."""
    count = b"%d" % len(keys)
    packed = b"*%d\r\n%b$%d\r\n%b\r\n%b" % (
        3 + len(keys) + len(arguments),
        script.head,
        len(count),
        count,
        b"".join([b"$%d\r\n%b\r\n" % (len(part), part) for part in (*keys, *arguments)]),
    )
    return Call(tag, packed, script)


def unpacked(reply: Any) -> Any:
    """What a script answered in MessagePack."""
    return _UNPACK(reply)


def pack(parts: Sequence[bytes]) -> bytes:
    """A command as the protocol has it."""
    return b"*%d\r\n%b" % (len(parts), b"".join([b"$%d\r\n%b\r\n" % (len(part), part) for part in parts]))


def joined(calls: Iterable[Call]) -> bytes:
    return b"".join([call.packed for call in calls])


def _bytes(part: bytes | str | int) -> bytes:
    if isinstance(part, bytes):
        return part
    return part.encode() if isinstance(part, str) else b"%d" % part
