"""Preforking: what holds for a server of several processes, forked from one that had loaded the program."""

from __future__ import annotations

import os
import sys
from collections.abc import Generator, Sequence

import pytest

from stepflow.testing.adapter_contract import Client, Site
from stepflow.testing.adapter_contract.serving import eventually, unique


def gunicorn(program: str, port: int, *more: str) -> Sequence[str]:
    return [
        *(sys.executable, "-m", "gunicorn", program, "--bind", f"127.0.0.1:{port}", "--log-level", "warning"),
        *("--worker-class", "gthread", "--threads", "12", "--graceful-timeout", "2", *more),
    ]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is nothing to fork with")
class PreforkContract:
    """``program`` is served at /stepflow, and its answers tell their process in ``X-Process``."""

    program: str

    @pytest.fixture(scope="class")
    @classmethod
    def client(cls) -> Generator[Client]:
        site = Site(lambda port: gunicorn(cls.program, port, "--preload", "--workers", "2"), "/stepflow")
        try:
            site.start_worker()
            yield site.start_server()[1]
        finally:
            site.close()

    def test_each_process_opens_the_app_for_itself(self, client: Client) -> None:
        by_process: dict[str, str] = {}

        def asked_both() -> bool:
            fresh = Client(client.base_url)  # a connection of its own: either process may take it
            answer = fresh.ask("POST", "/trigger/echo", json=1)
            by_process[answer.headers["x-process"]] = answer.json()["runId"]
            fresh.close()
            return len(by_process) == 2

        eventually(asked_both)
        assert all(client.run(run_id, "?wait=30s")["output"] == 1 for run_id in by_process.values())

    def test_a_stream_of_one_process_tells_what_another_is_told(self, client: Client) -> None:
        event = unique("event")
        run_id = client.waiting("wait", event)
        tellers: set[str] = set()

        with client.stream(f"/runs/{run_id}/stream") as stream:
            streamer = stream.response.headers["x-process"]
            assert stream.take(1)[0].event == "run"

            def told_by_another() -> bool:
                fresh = Client(client.base_url)
                answer = fresh.ask("POST", f"/notify/{event}?id=once", json="done")
                tellers.add(answer.headers["x-process"])
                fresh.close()
                return bool(tellers - {streamer})

            eventually(told_by_another)
            assert list(stream)[-1].event == "execution:complete"
