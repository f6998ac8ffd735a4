"""The order tracker's server: a page's key starts an order, its run's token follows it, and an approval lets it go on."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Generator
from pathlib import Path

import httpx
import pytest

from stepflow.testing.adapter_contract import Client, Process
from stepflow.testing.adapter_contract.serving import eventually, free_port

SERVER = Path(__file__).parents[2] / "examples" / "order-tracker" / "server.py"
KEY = "sf_pub_of-the-order-tracker-0123456789"
ORDER = {"id": "o-1", "items": ["tea", "honey"]}


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[Client]:
    """A client of the server, which runs in an empty folder."""
    port = free_port()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STEPFLOW_PUBLIC_KEY", KEY)
    monkeypatch.setenv("STEPFLOW_WORKER", "1")  # the server works on its runs itself
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(SERVER.parent), os.environ.get("PYTHONPATH", "")]))
    command = [sys.executable, "-m", "uvicorn", "server:api", "--port", str(port)]
    server = Process(command, storage="", log=tmp_path / "server.log")
    client = Client(f"http://127.0.0.1:{port}")

    def answers() -> bool:
        assert not server.ended, server.log
        try:
            return client.ask("GET", "/stepflow/health", key=None).status_code == 200
        except httpx.TransportError:
            return False

    try:
        eventually(answers)
        yield client
    finally:
        client.close()
        server.stop()


@pytest.mark.parametrize(
    ("granted", "outcome", "steps"),
    [
        (
            True,
            "approved by Grace",
            ["reserve-stock", "check-fraud", "approval", "charge", "ship", "send-receipt"],
        ),
        (False, "refused by Grace", ["reserve-stock", "check-fraud", "approval", "release-stock"]),
    ],
)
def test_an_order_is_followed_until_somebody_decides_on_it(
    client: Client, granted: bool, outcome: str, steps: list[str]
) -> None:
    started = client.ask("POST", "/stepflow/trigger/checkout", key=KEY, json=ORDER).json()
    query = f"lastEventId=0&token={started['publicAccessToken']}"

    followed: list[str] = []
    with client.stream(f"/stepflow/runs/{started['runId']}/stream?{query}", key=None) as stream:
        for event in stream:
            data = json.loads(event.data)
            if event.event == "run:suspended":
                answer = {"by": "Grace", "granted": granted}
                decided = client.ask("POST", "/orders/o-1/approval", key=None, json=answer)
                assert decided.status_code == 200
            if event.event == "step:complete":
                followed.append(data["stepName"])
            if event.event == "execution:complete":
                assert data["data"]["outcome"] == outcome
                assert data["data"]["order"] == {**ORDER, "shipping": "standard"}

    assert followed == steps


def test_the_page_s_key_starts_orders_and_nothing_else(client: Client) -> None:
    assert client.ask("GET", "/stepflow/runs", key=KEY).status_code in (401, 403)
    assert client.ask("POST", "/stepflow/notify/approval/o-1", key=KEY, json={}).status_code in (401, 403)


def test_the_example_is_short() -> None:
    assert len(SERVER.read_text(encoding="utf-8").splitlines()) <= 80
