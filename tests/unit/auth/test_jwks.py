"""Fetching a key set over a real socket: bounded, without redirects, from nowhere but the configured address."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Generator
from contextlib import contextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from stepflow.auth.jwks import JwksKeys, fetch_from
from stepflow.errors import DefinitionError
from tests.unit.auth.requests import NOW


@contextmanager
def a_provider(status: int, body: bytes, **headers: str) -> Generator[str]:
    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            try:
                self.wfile.write(body)
            except OSError:
                pass  # the client has had enough, which is what one test is about

        def log_message(self, *_: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/keys"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_set_is_fetched() -> None:
    with a_provider(200, b'{"keys": []}') as url:
        assert fetch_from(url)() == b'{"keys": []}'


def test_a_redirect_is_not_followed() -> None:
    with (
        a_provider(302, b"", Location="http://127.0.0.1:1/elsewhere") as url,
        pytest.raises(OSError, match="302"),
    ):
        fetch_from(url)()


def test_an_endless_set_is_cut_off() -> None:
    with a_provider(200, b" " * 1_100_000) as url, pytest.raises(OSError, match="more than"):
        fetch_from(url)()


@pytest.mark.parametrize(
    "url",
    [
        "http://id.example/keys",
        "file:///etc/passwd",
        "ftp://id.example/keys",
        "/keys",
        "http://127.0.0.1.evil.example/",
    ],
)
def test_keys_travel_over_https_only(url: str) -> None:
    with pytest.raises(DefinitionError, match="over https only"):
        fetch_from(url)


async def test_a_hundred_requests_at_once_ask_the_provider_once() -> None:
    asked: list[str] = []
    arrived = threading.Event()

    def fetch() -> bytes:
        asked.append(threading.current_thread().name)
        arrived.wait(10)
        return json.dumps({"keys": [{"kid": "a"}]}).encode()

    keys = JwksKeys(fetch, lambda published: published["kid"], lifetime=timedelta(minutes=10))
    waiting = [asyncio.ensure_future(keys.for_id("a", NOW)) for _ in range(100)]
    await asyncio.sleep(0)
    arrived.set()

    assert await asyncio.gather(*waiting) == [["a"]] * 100
    assert len(asked) == 1
    assert asked[0] != threading.current_thread().name, "the event loop goes on meanwhile"


async def test_keys_without_an_id_are_kept_too_and_a_set_is_bounded() -> None:
    text = json.dumps({"keys": [{"n": number} for number in range(200)]}).encode()
    keys = JwksKeys(lambda: text, lambda published: published["n"], lifetime=timedelta(minutes=10))

    assert await keys.for_id(None, NOW) == list(range(100))
