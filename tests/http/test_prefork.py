"""A server that forks after it has loaded the program: each of its processes opens the app for itself."""

from __future__ import annotations

import os
import sys
from collections.abc import Generator, Sequence

import pytest

from stepflow.testing.adapter_contract import Client, Site
from stepflow.testing.adapter_contract.serving import eventually, unique

PROGRAM = "tests.http.programs.plain_wsgi:application"


def command(port: int) -> Sequence[str]:
    return [
        *(sys.executable, "-m", "gunicorn", PROGRAM, "--bind", f"127.0.0.1:{port}", "--preload"),
        *("--workers", "2", "--worker-class", "gthread", "--threads", "8", "--graceful-timeout", "2"),
    ]


@pytest.fixture
def client() -> Generator[Client]:
    site = Site(command, "/api")
    try:
        site.start_worker()
        yield site.start_server()[1]
    finally:
        site.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is nothing to fork with")
def test_every_process_of_a_preforking_server_answers_and_streams(client: Client) -> None:
    events = [unique("event") for _ in range(6)]
    for event in events:
        fresh = Client(client.base_url)  # a connection of its own, so that either process may get it
        run_id = fresh.waiting("wait", event)
        with fresh.stream(f"/runs/{run_id}/stream") as stream:
            assert stream.take(1)[0].event == "run"
            assert fresh.ask("POST", f"/notify/{event}", json=1).json()["woken"] == 1
            assert list(stream)[-1].event == "execution:complete"
        eventually(lambda: fresh.run(run_id)["status"] == "completed")  # noqa: B023 - asked right here
        fresh.close()


def patient(port: int) -> Sequence[str]:
    """It would wait for a stream for longer than the test may take."""
    return [
        *(sys.executable, "-m", "gunicorn", PROGRAM, "--bind", f"127.0.0.1:{port}", "--preload"),
        *(
            "--config",
            "python:tests.http.programs.gunicorn_hooks",
            "--worker-class",
            "gthread",
            "--threads",
            "8",
        ),
        *("--graceful-timeout", "300"),
    ]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is nothing to fork with")
def test_open_streams_do_not_hold_up_the_shutdown_of_gunicorn_with_its_hook() -> None:
    site = Site(patient, "/api")
    try:
        site.start_worker()
        server, client = site.start_server()
        run_id = client.waiting("wait", unique("event"))
        with client.stream(f"/runs/{run_id}/stream") as stream:
            assert stream.take(1)[0].event == "run"
            server.terminate()
            rest = list(stream)
        server.wait(within=40)
    finally:
        site.close()

    assert rest == []
