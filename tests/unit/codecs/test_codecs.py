"""Codecs: compression and encryption, alone and as a chain, and rows that another configuration wrote."""

from __future__ import annotations

import os
import sys
import zlib
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepflow.codecs.base import Codec
from stepflow.codecs.compressed import Compressed
from stepflow.codecs.encrypted import Encrypted
from stepflow.codecs.json import Values
from stepflow.errors import DefinitionError, DeserializationError, MissingExtraError
from stepflow.model.payloads import Payload

LONG_TEXT = "all work and no play " * 100


class Reversed:
    """A codec that turns the bytes round."""

    def __init__(self, tag: str = "reversed") -> None:
        self.tag = tag

    def encode(self, data: bytes, /) -> bytes:
        return data[::-1]

    def decode(self, data: bytes, /) -> bytes:
        return data[::-1]


class Raising(Reversed):
    def decode(self, data: bytes, /) -> bytes:
        raise OSError("the key server is away")


def stored(values: Values, value: object) -> Payload:
    return values.encode(value, what="a value")


def test_without_a_codec_the_value_is_plain_json() -> None:
    payload = stored(Values(), {"a": 1})

    assert (bytes(payload.data), payload.codec) == (b'{"a":1}', "json")


def test_with_a_codec_the_stored_text_is_a_json_string_with_its_tag() -> None:
    payload = stored(Values(Reversed()), [1, 2])

    assert msgspec.json.decode(payload.data, type=bytes) == b"]2,1["
    assert payload.codec == "reversed"


def test_a_chain_encodes_in_order_and_decodes_backwards() -> None:
    values = Values([Compressed(), Reversed()])

    payload = stored(values, LONG_TEXT)

    assert payload.codec == "zlib+reversed"
    assert msgspec.json.decode(payload.data, type=bytes)[-1] == 1  # the marker of zlib, turned round
    assert values.json(payload) == LONG_TEXT


@settings(deadline=None, max_examples=50)
@given(st.text() | st.binary() | st.lists(st.integers()))
def test_any_value_comes_back_through_a_chain(value: Any) -> None:
    values = Values([Compressed(smallest=0), Reversed()])

    assert values.decode(stored(values, value), type(value)) == value


def test_rows_from_before_the_codec_stay_readable() -> None:
    assert Values(Reversed()).json(stored(Values(), "old")) == "old"


def test_rows_of_a_codec_that_is_only_readable_still_decode_and_new_ones_do_not_use_it() -> None:
    values = Values(Compressed(), also_readable=[Reversed()])

    assert values.json(stored(Values(Reversed()), "old")) == "old"
    assert values.json(stored(Values([Reversed(), Compressed()]), "older")) == "older"
    assert stored(values, "new").codec == "zlib"


def test_an_unknown_tag_says_which_codec_is_missing() -> None:
    payload = stored(Values([Compressed(), Reversed()]), "secret")

    with pytest.raises(
        DeserializationError, match=r"the input .*'reversed'.*Stepflow\(codec=\.\.\.\).*'zlib\+reversed'"
    ):
        Values(Compressed()).decode(payload, str, what="the input")


def test_a_codec_that_fails_is_named_and_its_own_words_are_not_shown() -> None:
    payload = stored(Values(Reversed()), "secret")

    with pytest.raises(DeserializationError, match=r"chain 'reversed' failed on it \(OSError\)"):
        Values(Raising()).json(payload)


def test_a_stored_text_that_is_no_base64_is_refused() -> None:
    with pytest.raises(DeserializationError, match="failed on it"):
        Values(Reversed()).json(Payload(msgspec.Raw(b"[1]"), "reversed"))


def test_the_limit_counts_the_json_text_before_the_codec() -> None:
    assert stored(Values(Compressed(), limit=10_000), "x" * 9_000).size < 1_000


@pytest.mark.parametrize("tag", ["", "json", "A", "a+b", "a b", "-a", "x" * 33])
def test_a_malformed_tag_is_refused(tag: str) -> None:
    with pytest.raises(DefinitionError, match="tag"):
        Values(Reversed(tag))


def test_two_codecs_can_not_share_a_tag() -> None:
    with pytest.raises(DefinitionError, match="two codecs have the tag 'reversed'"):
        Values(Reversed(), also_readable=[Reversed()])


def test_one_codec_may_be_named_twice() -> None:
    codec = Reversed()

    assert Values(codec, also_readable=[codec]).json(stored(Values(codec), 1)) == 1


# ------------------------------------------------------------------ compressed
def test_what_repeats_itself_is_stored_shorter() -> None:
    data = LONG_TEXT.encode()

    assert len(Compressed().encode(data)) < len(data) / 10
    assert Compressed().decode(Compressed().encode(data)) == data


@pytest.mark.parametrize("data", [b"", b"short", os.urandom(4096)])
def test_what_compression_does_not_help_is_kept_as_it_is(data: bytes) -> None:
    assert Compressed().encode(data) == b"\x00" + data
    assert Compressed().decode(b"\x00" + data) == data


def test_a_few_bytes_that_stand_for_gigabytes_are_refused() -> None:
    bomb = b"\x01" + zlib.compress(bytes(10_000_000), 9)

    with pytest.raises(DeserializationError, match="more than 1,000,000 bytes"):
        Compressed(largest=1_000_000).decode(bomb)


def test_the_largest_size_is_exact() -> None:
    data = b"\x01" + zlib.compress(bytes(1000))

    assert Compressed(largest=1000).decode(data) == bytes(1000)
    with pytest.raises(DeserializationError, match="more than 999 bytes"):
        Compressed(largest=999).decode(data)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x02abc",
        b"\x01abc",
        b"\x01" + zlib.compress(b"abc")[:-1],
        b"\x01" + zlib.compress(b"abc") + b"x",
    ],
    ids=repr,
)
def test_damaged_data_is_refused(data: bytes) -> None:
    with pytest.raises(DeserializationError, match=r"compressed|begin"):
        Compressed().decode(data)


@pytest.mark.parametrize("level", [0, 10, -1])
def test_a_level_that_zlib_does_not_have_is_refused(level: int) -> None:
    with pytest.raises(DefinitionError, match="level"):
        Compressed(level=level)


# ------------------------------------------------------------------ encrypted
@pytest.fixture
def key() -> str:
    pytest.importorskip("cryptography")
    return Encrypted.generate_key()


def test_what_is_encrypted_can_not_be_read_and_comes_back(key: str) -> None:
    values = Values([Compressed(), Encrypted(key)])

    payload = stored(values, {"card": "4242"})

    assert b"4242" not in msgspec.json.decode(payload.data, type=bytes)
    assert payload.codec == "zlib+fernet"
    assert values.json(payload) == {"card": "4242"}


def test_the_same_value_is_encrypted_differently_each_time_and_still_is_the_same(key: str) -> None:
    values = Values(Encrypted(key))
    one, other = stored(values, "a"), stored(values, "a")

    assert one != other
    assert values.same(one, other)
    assert not values.same(one, stored(values, "b"))


def test_a_new_key_in_front_encrypts_and_the_old_one_still_decrypts(key: str) -> None:
    new = Encrypted.generate_key()
    both: Sequence[str] = [new, key]

    assert Values(Encrypted(both)).json(stored(Values(Encrypted(key)), "old")) == "old"
    assert Values(Encrypted(new.encode())).json(stored(Values(Encrypted(both)), "new")) == "new"


def test_without_the_key_a_value_is_refused(key: str) -> None:
    payload = stored(Values(Encrypted(key)), "secret")

    with pytest.raises(DeserializationError, match="none of the keys"):
        Values(Encrypted(Encrypted.generate_key())).json(payload)


def test_a_value_that_was_changed_is_refused(key: str) -> None:
    codec = Encrypted(key)
    token = bytearray(codec.encode(b"true"))
    token[30] ^= 1

    with pytest.raises(DeserializationError, match="changed"):
        codec.decode(bytes(token))


@pytest.mark.parametrize("keys", ["hunter2", b"hunter2", ["hunter2"], [5], "é" * 44])
def test_a_malformed_key_is_refused_without_being_shown(keys: Any) -> None:
    pytest.importorskip("cryptography")

    with pytest.raises(DefinitionError, match="malformed") as caught:
        Encrypted(keys)

    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_no_key_is_refused() -> None:
    pytest.importorskip("cryptography")

    with pytest.raises(DefinitionError, match="needs a key"):
        Encrypted([])


def test_the_keys_are_not_shown_when_the_codec_is_printed(key: str) -> None:
    assert key not in repr(Encrypted(key))


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography.fernet", None)

    with pytest.raises(MissingExtraError, match=r"stepflow\[encryption\]"):
        Encrypted("any")


def test_what_ships_fits_the_protocol(key: str) -> None:
    codecs: list[Codec] = [Compressed(), Encrypted(key), Reversed()]

    assert [codec.tag for codec in codecs] == ["zlib", "fernet", "reversed"]
