"""What is told live of a run that another process executes: the beginnings of steps, their retries and what they log."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from stepflow.testing.adapter_contract.serving import Client, Process, Stream, eventually, free_port
from tests.servers.stores import Stores, stores

__all__ = ["stores"]

PROGRAM = "tests.http.programs.watched_asgi"
LIVE = ("step:start", "step:retry", "log")


@contextmanager
def two_processes(storage: str, folder: Path) -> Generator[Client]:
    """A server that executes nothing, and a worker that serves nobody."""
    port = free_port()
    serve = [sys.executable, "-m", "uvicorn", f"{PROGRAM}:application", "--port", str(port)]
    work = [sys.executable, "-m", "stepflow", "worker", f"{PROGRAM}:app", "--quiet"]
    server = Process(serve, storage=storage, log=folder / "server.log")
    worker = Process(work, storage=storage, log=folder / "worker.log")
    client = Client(f"http://127.0.0.1:{port}")
    try:
        eventually(lambda: server.ended or answers(client))
        assert not server.ended, server.log
        yield client
    finally:
        client.close()
        server.stop()
        worker.stop()


def answers(client: Client) -> bool:
    try:
        return client.ask("GET", "/health").status_code == 200
    except httpx.TransportError:
        return False


def seen(stream: Stream, event: str) -> list[tuple[str, Any, str | None]]:
    """Everything up to the first event of this name: names, data and ids."""
    return [(each.event, json.loads(each.data), each.id) for each in stream.until(event)]


@pytest.mark.timeout(150)
@pytest.mark.parametrize("store", ["sqlite", "postgres", "redis"])
def test_a_step_is_told_to_have_begun_while_another_process_still_executes_it(
    store: str, stores: Stores, tmp_path: Path
) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with two_processes(stores.fresh(store), tmp_path) as client:
        run_id = client.trigger("held", str(pipe))
        eventually(lambda: client.run(run_id)["waits"])
        with client.stream(f"/runs/{run_id}/stream") as stream:
            seen(stream, "run")
            client.ask("POST", "/notify/go", json=None)

            before = seen(stream, "step:retry") + seen(stream, "step:start") + seen(stream, "log")
            while_it_runs = client.run(run_id)["status"]
            pipe.write_text("done", encoding="utf-8")
            after = seen(stream, "execution:complete")

    told = [(name, data.get("attempt")) for name, data, _ in before if name in LIVE]
    assert while_it_runs == "running"
    assert told == [
        ("step:start", 1),
        ("log", None),
        ("step:retry", 1),
        ("step:start", 2),
        ("log", None),
    ]
    logged = next(data for name, data, _ in before if name == "log")
    assert (logged["message"], logged["fields"]) == ("waiting", {"step": "hold", "stage": "hold"})
    assert [name for name, _, _ in after if name in LIVE] == [], "each is told once"
    assert after[-1][1]["data"] == "done"
