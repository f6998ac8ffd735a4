"""Every example of a framework is served as its docstring says, and an order goes through it."""

from __future__ import annotations

import os
import sys
from collections.abc import Generator, Sequence
from pathlib import Path

import httpx
import pytest

from stepflow.testing.adapter_contract import Client, Process
from stepflow.testing.adapter_contract.serving import eventually, free_port

FOLDER = Path(__file__).parents[2] / "examples" / "http"
EXAMPLES = sorted(FOLDER.glob("*.py"))
KEY = "sf_of-the-examples-0123456789"
PYTHON = (sys.executable, "-m")


def servers(port: int) -> dict[str, Sequence[str]]:
    here = f"127.0.0.1:{port}"
    return {
        "http_fastapi": [*PYTHON, "uvicorn", "http_fastapi:api", "--port", str(port)],
        "http_flask": [*PYTHON, "waitress", f"--listen={here}", "http_flask:application"],
        "http_django": [
            *PYTHON,
            "gunicorn",
            "-w",
            "2",
            "--threads",
            "4",
            "-b",
            here,
            "http_django:application",
        ],
        "http_starlette": [*PYTHON, "hypercorn", "-b", here, "http_starlette:application"],
        "http_aiohttp": [
            *PYTHON,
            "aiohttp.web",
            "-H",
            "127.0.0.1",
            "-P",
            str(port),
            "http_aiohttp:application",
        ],
        "http_litestar": [*PYTHON, "uvicorn", "http_litestar:application", "--port", str(port)],
        "http_quart": [*PYTHON, "hypercorn", "-b", here, "http_quart:application"],
    }


WORKERS: dict[str, Sequence[str]] = {
    "http_flask": [*PYTHON, "stepflow", "worker", "http_flask:shop"],
    "http_django": [sys.executable, str(FOLDER / "http_django.py"), "stepflow_worker"],
}


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[list[Process]]:
    """The processes that a test starts, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STEPFLOW_API_KEY", KEY)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(FOLDER), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("STEPFLOW_WORKER", "1")
    started: list[Process] = []
    yield started
    for process in started:
        process.stop()


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_order_goes_through_an_example(example: Path, start: list[Process], tmp_path: Path) -> None:
    port = free_port()
    commands = [servers(port)[example.stem]]
    if example.stem in WORKERS:
        commands.append(WORKERS[example.stem])
    for number, command in enumerate(commands):
        start.append(Process(command, storage="", log=tmp_path / f"{number}.log"))
    client = Client(f"http://127.0.0.1:{port}")

    def answers() -> bool:
        assert not any(process.ended for process in start), "".join(process.log for process in start)
        try:
            return client.ask("GET", "/stepflow/health", key=None).status_code == 200
        except httpx.TransportError:
            return False

    eventually(answers)
    ordered = client.ask("POST", "/orders/42", key=None).json()["run"]
    run = client.ask("GET", f"/stepflow/runs/{ordered}?wait=30s", key=KEY).json()
    with client.stream(f"/stepflow/runs/{ordered}/stream?lastEventId=0", key=KEY) as stream:
        events = [each.event for each in stream]
    refused = client.ask("GET", f"/stepflow/runs/{ordered}", key=None)
    client.close()

    assert (run["status"], run["output"]) == ("completed", "receipt: paid 42")
    assert events[-1] == "execution:complete"
    assert refused.status_code == 401


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_short(example: Path) -> None:
    assert len(example.read_text(encoding="utf-8").splitlines()) <= 80
