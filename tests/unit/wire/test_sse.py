"""Server-sent events: what is encoded is what is parsed, however the bytes are cut."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepflow.errors import PayloadTooLargeError
from stepflow.wire.sse import HEARTBEAT, Message, Parser, encode_message

# A stream's lines may end in any of three ways; in data they all come back as one.
TEXT = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=60)
ON_A_LINE = st.text(
    alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\r\n\0"), max_size=20
)


def normal(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[start:end] for start, end in pairwise(edges)]


@given(
    messages=st.lists(st.tuples(ON_A_LINE.filter(bool), TEXT, ON_A_LINE), max_size=5),
    places=st.lists(st.integers(0, 10_000), max_size=20),
    mark=st.booleans(),
)
def test_what_is_encoded_is_parsed_whatever_the_packets(
    messages: list[tuple[str, str, str]], places: list[int], mark: bool
) -> None:
    stream = b"\xef\xbb\xbf" if mark else b""
    for event, data, id in messages:
        stream += encode_message(event=event, data=data.encode(), id=id) + HEARTBEAT
    parser = Parser()

    found = [message for chunk in cut(stream, places) for message in parser.feed(chunk)]

    assert [(each.event, each.data, each.id) for each in found] == [
        # One space after the colon belongs to the format; what begins with one keeps it.
        (event, normal(data), id)
        for event, data, id in messages
    ]


def test_every_end_of_line_and_a_split_one_end_a_line_once() -> None:
    stream = b"data: a\r\ndata: b\rdata: c\n\r\ndata: d\r\r"

    by_byte = Parser()
    found = [message for byte in stream for message in by_byte.feed(bytes([byte]))]

    assert found == Parser().feed(stream)
    assert [message.data for message in found] == ["a\nb\nc", "d"]


def test_an_event_is_told_with_its_last_line_and_not_with_the_next_packet() -> None:
    parser = Parser()

    assert parser.feed(b"data: now\r\r") == [Message(event="message", data="now")]
    assert parser.feed(b"") == []
    assert parser.feed(b"\ndata: later\r\n\r\n") == [Message(event="message", data="later")]


def test_ids_last_until_another_and_retry_is_heard() -> None:
    parser = Parser(last_id="7")

    first = parser.feed(b"retry: 1500\ndata: a\n\n")
    second = parser.feed(b"id: 8\ndata: b\n\nid\ndata\n\n")

    assert (first[0].id, parser.retry) == ("7", 1500)
    assert [(each.id, each.data) for each in second] == [("8", "b"), ("", "")]
    assert parser.last_id == ""


def test_what_is_malformed_or_unknown_is_ignored() -> None:
    parser = Parser()

    found = parser.feed(b": comment\nretry: soon\nid: a\0b\nfuture: x\nevent: e\n\ndata: d\n\n")

    assert found == [Message(event="message", data="d")]
    assert parser.retry is None


def test_an_event_that_is_cut_off_is_dropped() -> None:
    parser = Parser()

    assert parser.feed(b"data: half") == []
    assert parser.last_id == ""


def test_bytes_that_are_no_text_do_not_end_the_stream() -> None:
    assert Parser().feed(b"data: \xff\n\n")[0].data == "\ufffd"


def test_an_endless_line_or_event_is_refused_within_its_limit() -> None:
    endless_line, endless_event = Parser(limit=100), Parser(limit=100)

    with pytest.raises(PayloadTooLargeError):
        for _ in range(20):
            endless_line.feed(b"data: aaaaaaaaaa")
    with pytest.raises(PayloadTooLargeError):
        for _ in range(20):
            endless_event.feed(b"data: aaaaaaaaaa\n")


def test_a_limit_is_for_each_event_and_not_for_the_stream() -> None:
    parser = Parser(limit=100)

    assert len([parser.feed(b"data: aaaaaaaaaa\n\n:\n\n") for _ in range(50)]) == 50


@pytest.mark.parametrize("bad", ["a\nb", "a\rb", "a\0b"])
def test_a_name_or_id_that_would_end_its_line_is_refused(bad: str) -> None:
    with pytest.raises(ValueError, match="line"):
        encode_message(event=bad, data=b"1")
    with pytest.raises(ValueError, match="line"):
        encode_message(event="e", data=b"1", id=bad)


def test_a_wish_for_the_time_between_attempts_is_written() -> None:
    assert encode_message(event="e", data=b"1", retry=2000) == b"retry: 2000\nevent: e\ndata: 1\n\n"
