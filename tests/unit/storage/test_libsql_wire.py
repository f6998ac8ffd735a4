"""The wire: HTTP as servers and what stands before them speak it."""

from __future__ import annotations

import asyncio
from typing import Self

import pytest

from stepflow.storage.libsql.wire import DirectWire, ProxiedWire, Response, open_wire


class Listener:
    """A server that answers each request with the next of some texts, and then closes the connection if told to."""

    def __init__(self, *answers: bytes, closes: bool = False) -> None:
        self._answers = list(answers)
        self._closes = closes
        self.requests: list[bytes] = []
        self.connections = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        self.wire = DirectWire(f"http://127.0.0.1:{self.port}", token="abc", connections=1, timeout=5)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.wire.close()
        self._server.close()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while self._answers:
                head = await reader.readuntil(b"\r\n\r\n")
                (length,) = (line for line in head.split(b"\r\n") if line.startswith(b"content-length"))
                self.requests.append(head + await reader.readexactly(int(length.split(b":")[1])))
                writer.write(self._answers.pop(0))
                await writer.drain()
                if self._closes:
                    break
            await writer.drain()
        except asyncio.IncompleteReadError:
            pass  # the client went
        finally:
            writer.close()

    async def post(self, *, again: bool = True) -> Response:
        return await self.wire.post("/v3/pipeline", b"{}", again=again)


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


async def test_a_request_says_whom_it_asks_and_who_asks() -> None:
    async with Listener(OK) as server:
        assert await server.post() == Response(200, b"ok")

    (request,) = server.requests
    assert request.startswith(b"POST /v3/pipeline HTTP/1.1\r\n")
    assert b"authorization: Bearer abc\r\n" in request
    assert f"host: 127.0.0.1:{server.port}\r\n".encode() in request
    assert request.endswith(b"\r\n\r\n{}")


async def test_a_connection_is_used_again() -> None:
    async with Listener(OK, OK) as server:
        await server.post()
        await server.post()

    assert (server.connections, len(server.requests)) == (1, 2)


async def test_chunks_are_put_together() -> None:
    chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nTrailer: t\r\n\r\n"
    async with Listener(chunked, OK) as server:
        assert (await server.post()).body == b"abcde"
        assert (await server.post()).body == b"ok"

    assert server.connections == 1


async def test_a_body_may_end_with_the_connection() -> None:
    async with Listener(b"HTTP/1.1 502 Bad Gateway\r\n\r\n<html>", closes=True) as server:
        assert await server.post() == Response(502, b"<html>")


async def test_an_interim_answer_is_passed_over() -> None:
    async with Listener(b"HTTP/1.1 100 Continue\r\n\r\n" + OK) as server:
        assert await server.post() == Response(200, b"ok")


async def test_a_server_that_says_it_closes_is_connected_to_anew() -> None:
    closing = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok"
    async with Listener(closing, OK, closes=True) as server:
        await server.post()
        assert (await server.post()).body == b"ok"

    assert server.connections == 2


async def test_a_kept_connection_that_was_closed_is_replaced_for_what_may_be_sent_again() -> None:
    async with Listener(OK, OK, closes=True) as server:
        await server.post()

        assert (await server.post()).body == b"ok"

    assert server.connections == 2


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf",
        b"SSH-2.0-OpenSSH_9\r\n\r\n",
        b"HTTP/1.1 what\r\n\r\n",
    ],
)
async def test_half_an_answer_or_another_protocol_is_a_connection_that_failed(answer: bytes) -> None:
    async with Listener(answer, closes=True) as server:
        with pytest.raises(ConnectionError):
            await server.post(again=False)


async def test_where_the_environment_names_a_proxy_httpx_goes_through_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("no_proxy", "localhost")

    proxied = open_wire("http://shop.example", token=None, connections=1, timeout=1)
    direct = open_wire("http://localhost:8080", token=None, connections=1, timeout=1)

    assert isinstance(proxied, ProxiedWire)
    assert isinstance(direct, DirectWire)
    with pytest.raises(ConnectionError):
        await proxied.post("/v3/pipeline", b"{}", again=True)
    await proxied.close()
    await direct.close()
