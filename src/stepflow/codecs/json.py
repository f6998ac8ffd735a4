"""Values: Python values to stored JSON text and back, through the app's codecs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, cast

import msgspec

from stepflow.codecs.base import PLAIN, Codec, codec_chain, codecs_by_tag
from stepflow.codecs.decoders import Parse, build_decoder, pydantic_support
from stepflow.codecs.faults import MAXIMUM_DEPTH, find_fault, nesting_depth, type_name
from stepflow.errors import DeserializationError, PayloadTooLargeError, SerializationError
from stepflow.model.payloads import Payload
from stepflow.types import Json

DEFAULT_LIMIT = 4 * 1024 * 1024

# Types may be made anew by every run, in the code of a workflow: those that were first met longest ago are forgotten.
_MOST_DECODERS = 1_000

# A text with 101 levels has as many opening and closing brackets: below this size nobody need count.
_SHALLOW_SIZE = 2 * MAXIMUM_DEPTH

# How the floats without a JSON form begin in MessagePack (a marker, then sign and exponent); so do very large ones.
_NOT_FINITE = (b"\xcb\x7f", b"\xcb\xff")

_HINT = (
    "use builtins, dataclasses, attrs, TypedDict, msgspec Structs, pydantic models, enums, datetimes, UUIDs, "
    "Decimals or bytes"
)


class Values:
    """Encodes and decodes every value that an app stores. Safe to use from several threads.

    The JSON is the same with and without codecs; with some, the text stored is a JSON string that holds the bytes of the last one as
    base64. ``also_readable`` are codecs that were in use once: they decode, and never encode. Values that were stored before any
    codec was configured stay readable.

    Naive datetimes are kept naive: what comes back is what was given. Text may hold NUL. Integers of any size that Python prints come back
    exactly. ``NaN`` and infinities, lone surrogates, cycles and more than 100 levels are refused.
    """

    __slots__ = ("_by_tag", "_chain", "_decoders", "_encode", "_limit", "_tag")

    def __init__(
        self,
        codec: Codec | Sequence[Codec] | None = None,
        also_readable: Sequence[Codec] = (),
        limit: int = DEFAULT_LIMIT,
    ) -> None:
        self._chain = codec_chain(codec)
        self._by_tag = codecs_by_tag((*self._chain, *also_readable))
        self._tag = "+".join(each.tag for each in self._chain) or PLAIN
        self._limit = limit
        self._encode = msgspec.json.Encoder(enc_hook=_encode_custom).encode
        self._decoders: dict[Any, Parse] = {}

    def encode(self, value: object, *, what: str, limit: int | None = None) -> Payload:
        """The value as a payload; ``what`` names it in errors ("the result of step 'charge'").

        ``SerializationError`` says where in it the part is that JSON can't hold; ``PayloadTooLargeError`` if its JSON text
        is longer than ``limit`` (else the limit of these values).
        """
        try:
            data = self._encode(value)
        except Exception as error:  # the value's own code runs here and may raise anything
            raise self._refusal(value, what, str(error)) from error
        size = len(data)
        allowed = self._limit if limit is None else limit
        if size > allowed:
            raise PayloadTooLargeError(what, size=size, limit=allowed)
        if size > _SHALLOW_SIZE and nesting_depth(data) > MAXIMUM_DEPTH:
            raise self._refusal(value, what, f"nested deeper than {MAXIMUM_DEPTH} levels")
        if size >= 4 and b"null" in data and value is not None:
            self._check_numbers(value, what)
        if self._chain:
            return Payload(msgspec.Raw(self._wrap(data)), self._tag)
        return Payload(msgspec.Raw(data))

    def decoder(self, type_: Any, *, what: str = "a stored value") -> Callable[[Payload], Any]:
        """The function that decodes payloads as ``type_``; a missing annotation and ``Any`` give JSON builtins.

        ``DefinitionError`` at once if values of this type can't be decoded at all. The function raises ``DeserializationError``.
        """
        return partial(self._decoded, self._parse_for(type_), type_, what)

    def decode(self, payload: Payload, type_: Any, *, what: str = "a stored value") -> Any:
        """The value of a payload; ``DeserializationError`` if it can't be decoded as ``type_``."""
        try:
            parse = self._decoders[type_]
        except (KeyError, TypeError):
            parse = self._parse_for(type_)
        data = payload.data if payload.codec == PLAIN else self._unwrap(payload, what)
        try:
            return parse(data)
        except Exception as error:  # the user's own classes check themselves here
            raise _undecodable(error, type_, what) from error

    def json(self, payload: Payload) -> Json:
        """The value as builtins, for people and for the wire."""
        return cast(Json, self.decode(payload, Any))

    def text(self, payload: Payload, *, what: str = "a stored value") -> bytes:
        """The value's JSON text, codecs undone."""
        return bytes(payload.data if payload.codec == PLAIN else self._unwrap(payload, what))

    def sealed(self, text: bytes) -> Payload:
        """JSON text of the engine's own, wrapped by the codecs as a value is; ``text`` undoes it."""
        if self._chain:
            return Payload(msgspec.Raw(self._wrap(text)), self._tag)
        return Payload(msgspec.Raw(text))

    def same(self, one: Payload, other: Payload) -> bool:
        """True if both hold the same JSON text, however each was encoded (an encrypting codec never gives the same bytes twice)."""
        return one == other or self.text(one) == self.text(other)

    def _decoded(self, parse: Parse, type_: Any, what: str, payload: Payload) -> Any:
        data = payload.data if payload.codec == PLAIN else self._unwrap(payload, what)
        try:
            return parse(data)
        except Exception as error:  # the user's own classes check themselves here
            raise _undecodable(error, type_, what) from error

    def _parse_for(self, type_: Any) -> Parse:
        try:
            known = self._decoders.get(type_)
        except TypeError:  # Annotated with something unhashable
            return build_decoder(type_)
        if known is None:
            if len(self._decoders) >= _MOST_DECODERS:
                # A copy: while another thread adds one, a mere iterator would raise.
                self._decoders.pop(next(iter(tuple(self._decoders))), None)
            known = self._decoders[type_] = build_decoder(type_)
        return known

    def _wrap(self, data: bytes) -> bytes:
        for codec in self._chain:
            data = codec.encode(data)
        return msgspec.json.encode(data)

    def _unwrap(self, payload: Payload, what: str) -> bytes:
        tags = payload.codec.split("+")
        unknown = [tag for tag in tags if tag not in self._by_tag]
        if unknown:
            raise DeserializationError(
                f"{what} was encoded with the codec {unknown[0]!r}, which this app does not have; "
                f"give it in Stepflow(codec=...) (the row says {payload.codec!r})"
            )
        try:
            data = msgspec.json.decode(payload.data, type=bytes)
            for tag in reversed(tags):
                data = self._by_tag[tag].decode(data)
        except DeserializationError as error:
            raise DeserializationError(f"{what} can't be decoded: {error}") from error
        except Exception as error:  # a codec is the user's, and stored bytes may be damaged
            raise DeserializationError(
                f"{what} can't be decoded: the codec chain {payload.codec!r} failed on it ({type_name(type(error))})"
            ) from error
        return data

    def _check_numbers(self, value: object, what: str) -> None:
        """msgspec writes NaN and infinities as null. MessagePack keeps them, so a second encoding tells whether to search at all."""
        try:
            packed = msgspec.msgpack.encode(value, enc_hook=_pack_custom)
        except Exception:  # noqa: BLE001 - what MessagePack can't hold (integers over 64 bits) is searched
            packed = b"".join(_NOT_FINITE)
        if any(start in packed for start in _NOT_FINITE):
            fault = find_fault(value, self._encode)
            if fault is not None:
                raise _unstorable(what, *fault)

    def _refusal(self, value: object, what: str, reason: str) -> SerializationError:
        fault = find_fault(value, self._encode)
        return _unstorable(what, *fault) if fault else SerializationError(f"{what} can't be stored: {reason}")


def _undecodable(error: Exception, type_: Any, what: str) -> DeserializationError:
    reason = str(error) or type_name(type(error))
    return DeserializationError(f"{what} can't be decoded as {type_name(type_):.200}: {reason}")


def _unstorable(what: str, path: str, problem: str) -> SerializationError:
    hint = f"; {_HINT}" if problem.startswith("is a ") else ""
    return SerializationError(f"{what} can't be stored: {path} {problem}{hint}")


def _encode_custom(value: object) -> object:
    """What msgspec asks for values that it does not know."""
    for base in (str, int, float):
        if isinstance(value, base):
            return base(value)
    support = pydantic_support()
    if support is not None and support.is_model(type(value)):
        return msgspec.Raw(support.dump_model(value))
    raise TypeError(f"a {type_name(type(value))} has no JSON form")


def _pack_custom(value: object) -> object:
    """The same for the search of numbers: a model's fields as they are."""
    return vars(value) if hasattr(type(value), "__pydantic_fields__") else _encode_custom(value)
