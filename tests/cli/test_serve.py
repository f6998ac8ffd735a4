"""``stepflow serve``: nothing without a key; requests and streams of a real process; a graceful end."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.cli.terminal import STEPFLOW, Here, environment, read_until

KEY = "sf_" + "k" * 40
OLD = "sf_" + "o" * 40
PUBLIC = "sf_pub_" + "p" * 40
KEYS = {
    "STEPFLOW_API_KEY": f"{KEY}, {OLD}",
    "STEPFLOW_PUBLIC_KEY": PUBLIC,
    "STEPFLOW_PUBLIC_WORKFLOWS": "buy,times-two",
}
PATIENCE = 90


@dataclass
class Server:
    process: subprocess.Popen[str]
    ready: dict[str, Any]

    @property
    def port(self) -> int:
        return int(self.ready["address"].rpartition(":")[2])

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)

    def ask(
        self, method: str, path: str, body: str | None = None, /, **headers: str
    ) -> tuple[int, Any, Mapping[str, str]]:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if body is not None:
            named["Content-Type"] = "application/json"
        connection = self.connect()
        try:
            connection.request(method, path, body, named)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read() or b"null"), dict(answer.getheaders())
        finally:
            connection.close()

    def stop(self, number: int = signal.SIGTERM) -> tuple[str, str]:
        self.process.send_signal(number)
        return self.process.communicate(timeout=PATIENCE)


@contextmanager
def serving(*arguments: str, cwd: Path, env: Mapping[str, str] | None = None) -> Generator[Server]:
    """The command on a free port; its address is known when it is ready."""
    process = subprocess.Popen(
        [*STEPFLOW, *arguments, "--port", "0", "--json"],
        cwd=cwd,
        env=environment(env),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            if not line:
                raise AssertionError(process.communicate(timeout=PATIENCE)[1])
            yield Server(process, json.loads(line))
        finally:
            process.kill()


# ------------------------------------------------------------------ who is served
@pytest.mark.timeout(240)
def test_an_app_is_served_to_those_who_have_a_key(here: Here) -> None:
    with serving(
        "serve", "shop:app", "--worker", "--cors", "https://shop.example", cwd=here.folder, env=KEYS
    ) as server:
        ask = server.ask
        secret = ask("POST", "/trigger/times-two?runId=r1", "21", X_API_Key=KEY)
        rotated = ask("GET", "/runs/r1?wait=30s", X_API_Key=OLD)
        public = ask("POST", "/trigger/times-two", "21", X_API_Key=PUBLIC, Origin="https://shop.example")
        token = public[1]["publicAccessToken"]
        own = f"/runs/{public[1]['runId']}"
        answers = {
            "no key": ask("GET", "/runs"),
            "wrong key": ask("GET", "/runs", X_API_Key=KEY + "x"),
            "key in the address": ask("GET", f"/runs?api_key={KEY}", X_API_Key=KEY),
            "public, not listed": ask("POST", "/trigger/approval", '"o1"', X_API_Key=PUBLIC),
            "public, another route": ask("GET", "/runs", X_API_Key=PUBLIC),
            "token, own run": ask("GET", own, Authorization=f"Bearer {token}"),
            "token in the address": ask("GET", f"{own}?token={token}"),
            "token, another run": ask("GET", "/runs/r1", Authorization=f"Bearer {token}"),
            "nobody, health": ask("GET", "/health"),
        }
        _, errors = server.stop()

    assert (server.ready["type"], server.ready["worker"] is not None) == ("serve:ready", True)
    assert secret[1]["runId"] == "r1"
    assert (rotated[1]["status"], rotated[1]["output"]) == ("completed", 42)
    assert public[2]["access-control-allow-origin"] == "https://shop.example"
    assert {name: answer[0] for name, answer in answers.items()} == {
        "no key": 401,
        "wrong key": 401,
        "key in the address": 401,
        "public, not listed": 404,
        "public, another route": 403,
        "token, own run": 200,
        "token in the address": 200,
        "token, another run": 404,
        "nobody, health": 200,
    }
    assert all("access-control-allow-origin" not in answer[2] for answer in answers.values())
    assert "127.0.0.1 GET /runs 401" in errors
    for secret_text in (KEY, OLD, PUBLIC, token):
        assert secret_text not in errors, "a log is read by more people than a key is meant for"
    assert f"GET {own}?token=… 200" in errors


@pytest.mark.parametrize(
    ("env", "options", "told"),
    [
        ({}, (), "there is no key: STEPFLOW_API_KEY is not set"),
        ({"STEPFLOW_API_KEY": " , "}, (), "there is no key"),
        ({"STEPFLOW_API_KEY": "short"}, (), "at least 16 characters"),
        ({"STEPFLOW_API_KEY": PUBLIC}, (), "public key"),
        ({"STEPFLOW_PUBLIC_KEY": PUBLIC}, (), "nothing is public"),
        ({"STEPFLOW_PUBLIC_KEY": KEY, "STEPFLOW_PUBLIC_WORKFLOWS": "buy"}, (), "begin with sf_pub_"),
        ({"STEPFLOW_PUBLIC_KEY": PUBLIC, "STEPFLOW_PUBLIC_WORKFLOWS": "bye"}, (), "did you mean 'buy'"),
        ({}, ("--insecure", "--host", "0.0.0.0"), "others can reach 0.0.0.0"),
        ({"STEPFLOW_API_KEY": KEY}, ("--insecure",), "the environment has one"),
        ({"STEPFLOW_API_KEY": KEY}, ("--cors", "*"), "an origin is scheme, host"),
        ({"STEPFLOW_API_KEY": KEY}, ("--rate-limit", "many"), "'many' is no rate"),
        ({"STEPFLOW_API_KEY": KEY}, ("--host", "192.0.2.1"), "no address of this machine"),
        ({"STEPFLOW_API_KEY": KEY}, ("--host", ".."), "no address of this machine"),
        ({"STEPFLOW_API_KEY": KEY, "STEPFLOW_RUN_TOKEN_SECRET": "short"}, (), "at least 32 bytes"),
    ],
)  # fmt: skip
def test_it_does_not_start_where_it_would_be_open_or_useless(
    here: Here, monkeypatch: pytest.MonkeyPatch, env: dict[str, str], options: tuple[str, ...], told: str
) -> None:
    for name in (
        "STEPFLOW_API_KEY",
        "STEPFLOW_PUBLIC_KEY",
        "STEPFLOW_PUBLIC_WORKFLOWS",
        "STEPFLOW_RUN_TOKEN_SECRET",
    ):
        monkeypatch.delenv(name, raising=False)
    for name, value in env.items():
        monkeypatch.setenv(name, value)

    stopped = here("serve", "shop:app", "--port", "0", *options)

    assert stopped.code in (2, 3)
    assert told in stopped.err
    assert "hint: " in stopped.err
    assert KEY not in stopped.err


def test_a_port_that_is_taken_is_told(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEPFLOW_API_KEY", KEY)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        stopped = here("serve", "shop:app", "--port", str(taken.getsockname()[1]))

    assert (stopped.code, "can't listen on 127.0.0.1" in stopped.err) == (2, True)


def test_without_uvicorn_the_extra_is_named(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEPFLOW_API_KEY", KEY)
    monkeypatch.delitem(sys.modules, "stepflow.cli.listening", raising=False)
    monkeypatch.setitem(sys.modules, "uvicorn", None)

    stopped = here("serve", "shop:app", "--port", "0")

    assert (stopped.code, "stepflow[server]" in stopped.err) == (2, True)


@pytest.mark.timeout(240)
def test_insecure_serves_programs_on_this_machine_and_no_foreign_page(here: Here) -> None:
    with serving("serve", "shop:app", "--insecure", "--quiet", cwd=here.folder) as server:
        program = server.ask("GET", "/runs")
        page = server.ask("POST", "/runs/r1/cancel", Origin="https://evil.example")
        rebound = server.ask("GET", "/runs", Host="evil.example")
        _, errors = server.stop(signal.SIGINT)

    assert (program[0], page[0], rebound[0]) == (200, 403, 403)
    assert (server.process.returncode, errors) == (0, "")


def test_a_caller_that_asks_too_much_is_told_to_wait(here: Here) -> None:
    with serving("serve", "shop:app", "--rate-limit", "2/h", "--quiet", cwd=here.folder, env=KEYS) as server:
        answers = [server.ask("GET", "/workflows", X_API_Key=KEY) for _ in range(3)]
        other = server.ask("GET", "/workflows")
        server.stop()

    assert [status for status, _, _ in answers] == [200, 200, 429]
    assert int(answers[2][2]["retry-after"]) > 1_700
    assert other[0] == 401


# ------------------------------------------------------------------ the end
@pytest.mark.timeout(240)
def test_a_stop_ends_streams_and_waiting_requests_at_once(here: Here) -> None:
    with serving("serve", "shop:app", "--worker", cwd=here.folder, env=KEYS) as server:
        server.ask("POST", "/trigger/approval?runId=r1", '"o1"', X_API_Key=KEY)
        stream, waiting = server.connect(), server.connect()
        stream.request("GET", "/runs/r1/stream", headers={"X-API-Key": KEY})
        events = stream.getresponse()
        while events.readline() != b"event: run\n":
            pass
        waiting.request("GET", "/runs/r1?wait=60s", headers={"X-API-Key": KEY})
        server.process.send_signal(signal.SIGTERM)
        rest = events.read()
        status = waiting.getresponse().status
        output, errors = server.process.communicate(timeout=PATIENCE)
        stream.close()
        waiting.close()

    assert rest.endswith(b"\n\n")
    assert status in (200, 503)
    assert (server.process.returncode, json.loads(output)) == (0, {"type": "serve:stopped", "clean": True})
    assert "/runs/r1/stream 200" in errors
    assert "Traceback" not in errors


@pytest.mark.timeout(240)
def test_a_second_signal_waits_for_nobody(here: Here) -> None:
    os.mkfifo(here.folder / "gate")
    with serving("serve", "shop:app", "--worker", cwd=here.folder, env=KEYS) as server:
        server.ask("POST", "/trigger/three-steps?runId=r1", X_API_Key=KEY)
        with (here.folder / "gate").open("w"):  # opens when the step has opened it to read, and waits
            server.process.send_signal(signal.SIGTERM)
            read_until(server.process, "stopping")
            server.process.send_signal(signal.SIGTERM)
            server.process.communicate(timeout=PATIENCE)

    assert server.process.returncode == 130


@pytest.mark.timeout(240)
def test_an_api_alone_starts_runs_that_a_worker_elsewhere_executes(here: Here) -> None:
    with serving("serve", "shop:app", cwd=here.folder, env=KEYS) as server:
        server.ask("POST", "/trigger/times-two?runId=r1", "21", X_API_Key=KEY)
        queued = server.ask("GET", "/runs/r1", X_API_Key=KEY)
        server.stop()

    assert server.ready["worker"] is None
    assert queued[1]["status"] == "queued"
