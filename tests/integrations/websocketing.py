"""WebSocketing: what holds for streams as WebSockets, wherever the framework is asynchronous."""

from __future__ import annotations

import json

import pytest
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.sync.client import ClientConnection, connect

from stepflow.testing.adapter_contract import AdapterContract, Client
from stepflow.testing.adapter_contract.program import SECRET
from stepflow.testing.adapter_contract.serving import eventually, unique


def opened(client: Client, path: str, *, key: str = SECRET, **more: str) -> ClientConnection:
    url = client.base_url.replace("http://", "ws://") + path
    return connect(url, additional_headers={"X-API-Key": key, **more}, proxy=None)


class WebSocketContract(AdapterContract):
    def test_a_stream_is_a_websocket_too(self, client: Client) -> None:
        event = unique("event")
        run_id = client.waiting("wait", event)

        with opened(client, f"/runs/{run_id}/stream") as socket:
            first = json.loads(socket.recv())
            client.ask("POST", f"/notify/{event}", json="done")
            rest = [json.loads(each) for each in socket]

        assert (first["event"], first["data"]["run"]["status"]) == ("run", "suspended")
        assert (rest[-1]["event"], rest[-1]["data"]["data"]) == ("execution:complete", "done")
        assert socket.close_code == 1000

    def test_a_websocket_without_a_valid_credential_is_closed_with_its_code(self, client: Client) -> None:
        run_id = client.finished("echo", 1)

        with opened(client, f"/runs/{run_id}/stream", key="wrong") as socket, pytest.raises(ConnectionClosed):
            socket.recv()

        assert socket.close_code == 4401

    def test_a_websocket_of_a_page_from_elsewhere_is_refused(self, client: Client) -> None:
        run_id = client.finished("echo", 1)

        with pytest.raises(InvalidHandshake):
            opened(client, f"/runs/{run_id}/stream", Origin="https://evil.example")

    def test_a_websocket_that_is_left_is_given_back(self, client: Client) -> None:
        run_id = client.waiting("wait", unique("event"))

        def opens() -> bool:
            with opened(client, f"/runs/{run_id}/stream") as socket:
                try:
                    return bool(json.loads(socket.recv())["event"] == "run")
                except ConnectionClosed:
                    return False  # there are too many for now

        for _ in range(10):  # more than may be open at once
            eventually(opens)
