"""Server-sent events, as the WHATWG specifies them: an encoder and an incremental parser, both pure.

https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from __future__ import annotations

import re

import msgspec

from stepflow.errors import PayloadTooLargeError

MEDIA_TYPE = "text/event-stream"
HEARTBEAT = b":\n\n"
"""A comment: it keeps proxies and clients awake, and means nothing."""

_LINE_END = re.compile(rb"\r\n|\r|\n")
_BOM = b"\xef\xbb\xbf"


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """One event as a client gets it. ``id`` is the last one seen so far, which is where to go on from."""

    event: str
    data: str
    id: str = ""


def encode_message(*, event: str, data: bytes, id: str | None = None, retry: int | None = None) -> bytes:
    """One event; ``ValueError`` for an ``event`` or ``id`` that would end its line. ``retry`` is in milliseconds."""
    parts: list[bytes] = []
    if retry is not None:
        parts.append(b"retry: %d\n" % retry)
    if id is not None:
        parts.append(b"id: %b\n" % _on_one_line(id))
    parts.append(b"event: %b\n" % _on_one_line(event))
    parts.extend(b"data: %b\n" % line for line in _LINE_END.split(data))
    parts.append(b"\n")
    return b"".join(parts)


def _on_one_line(text: str) -> bytes:
    if any(character in text for character in "\r\n\0"):
        raise ValueError(f"{text!r:.100} does not fit on a line of a stream")
    return text.encode()


class Parser:
    """Turns chunks of a stream, cut anywhere, into messages. ``retry`` is the server's last wish in milliseconds.

    An event that is not complete when the stream ends is dropped, as the specification says.
    """

    def __init__(self, *, last_id: str = "", limit: int = 64 * 1024 * 1024) -> None:
        self.last_id = last_id
        self.retry: int | None = None
        self._limit = limit
        self._rest: list[bytes] = []
        self._size = 0
        self._after_cr = False
        self._begun = False
        self._event = ""
        self._data: list[bytes] = []
        self._id = last_id

    def feed(self, chunk: bytes) -> list[Message]:
        """The messages that this chunk completes. ``PayloadTooLargeError`` if one exceeds the limit."""
        found: list[Message] = []
        for line in self._lines(chunk):
            message = self._take(line)
            if message is not None:
                found.append(message)
        return found

    def _lines(self, chunk: bytes) -> list[bytes]:
        """The lines that are complete now. A CR ends one at once: waiting for its LF could hold an event back for ever."""
        if self._after_cr and chunk:
            chunk = chunk.removeprefix(b"\n")
            self._after_cr = False
        if not self._begun:
            chunk = self._without_mark(chunk)
        self._after_cr = self._after_cr or chunk.endswith(b"\r")
        first, *others = _LINE_END.split(chunk)
        self._rest.append(first)
        self._grow(len(first))
        if not others:
            return []
        lines = [b"".join(self._rest), *others]
        self._rest = [lines.pop()]
        return lines

    def _without_mark(self, chunk: bytes) -> bytes:
        """A byte order mark may begin the stream, cut anywhere; what may still become one is kept."""
        text = b"".join(self._rest) + chunk
        if len(text) < len(_BOM) and _BOM.startswith(text):
            self._rest = [text]
            return b""
        self._begun = True
        self._rest = []
        return text.removeprefix(_BOM)

    def _grow(self, size: int) -> None:
        self._size += size
        if self._size > self._limit:
            raise PayloadTooLargeError("an event of the stream", size=self._size, limit=self._limit)

    def _take(self, line: bytes) -> Message | None:
        if not line:
            return self._dispatch()
        self._grow(len(line))
        name, colon, value = line.partition(b":")
        if colon:
            value = value.removeprefix(b" ")
        match name:
            case b"data":
                self._data.append(value)
            case b"event":
                self._event = value.decode(errors="replace")
            case b"id" if b"\0" not in value:
                self._id = value.decode(errors="replace")
            case b"retry" if value.isdigit() and len(value) < 10:
                self.retry = int(value)
            case _:
                pass  # a comment, or a field that we don't know
        return None

    def _dispatch(self) -> Message | None:
        self.last_id = self._id
        event, data = self._event, self._data
        self._event, self._data, self._size = "", [], 0
        if not data:
            return None
        text = b"\n".join(data).decode(errors="replace")
        return Message(event=event or "message", data=text, id=self.last_id)
