"""``stepflow dev``: what it prints works, code that changes is run, and nothing is left behind."""

from __future__ import annotations

import http.client
import json
import os
import shlex
import shutil
import signal
import subprocess
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.cli.terminal import STEPFLOW, Here, environment, read_until

PATIENCE = 90
APP = """
from dataclasses import dataclass
from stepflow import Stepflow, workflow

@dataclass
class Person:
    name: str
    age: int

@workflow
async def greet(person: Person) -> str:
    return "hello"

app = Stepflow("sqlite:///dev.db", workflows=[greet])
"""


@contextmanager
def developing(
    *arguments: str, cwd: Path, env: Mapping[str, str] | None = None
) -> Generator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [*STEPFLOW, "dev", *arguments, "--port", "0"],
        cwd=cwd,
        env=environment(env),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()  # its child notices


def value_of(name: str, printed: str) -> str:
    return next(line.removeprefix(name).strip() for line in printed.splitlines() if line.startswith(name))


def fetch(
    address: str, path: str, method: str = "GET", body: str | None = None, **headers: str
) -> tuple[int, Any]:
    connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=PATIENCE)
    try:
        connection.request(
            method, path, body, {name.replace("_", "-"): value for name, value in headers.items()}
        )
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read() or b"null")
    finally:
        connection.close()


def as_printed(command: str) -> tuple[int, Any]:
    """Perform a printed ``curl`` as it stands, by curl itself where there is one."""
    words = shlex.split(command)
    assert words[0] == "curl"
    if shutil.which("curl") is not None:
        done = subprocess.run(
            [*words, "-s", "-w", "\n%{http_code}"],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=True,
        )
        body, _, status = done.stdout.rpartition("\n")
        return int(status), json.loads(body)
    host, _, path = words[1].removeprefix("http://").partition("/")
    return fetch(f"http://{host}", f"/{path}", "POST", words[5], Content_Type="application/json")


@pytest.mark.timeout(240)
def test_the_printed_request_works_as_printed_and_changed_code_is_run(here: Here) -> None:
    program = here.write("hello.py", APP)
    with developing("hello.py", cwd=here.folder) as process:
        printed = read_until(process, "then ")
        address = value_of("address", printed)
        status, triggered = as_printed(value_of("try", printed))
        first = fetch(address, f"/runs/{triggered['runId']}?wait=30s")
        program.write_text(APP.replace("hello", "good morning"), encoding="utf-8")
        changed = read_until(process, "started anew")
        _, triggered = as_printed(value_of("try", printed))
        second = fetch(address, f"/runs/{triggered['runId']}?wait=30s")
        page = fetch(address, "/runs", Origin="https://evil.example")
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=PATIENCE)

    assert (status, first[1]["output"], second[1]["output"]) == (200, "hello", "good morning")
    assert "changed: hello.py" in changed
    assert page[0] == 403
    assert process.returncode == 0
    assert "Traceback" not in errors
    with pytest.raises(ConnectionRefusedError):
        fetch(address, "/health")


@pytest.mark.timeout(240)
def test_code_that_can_not_be_loaded_is_shown_and_started_when_it_can(here: Here) -> None:
    program = here.write("hello.py", "app = (")
    with developing("hello.py", cwd=here.folder) as process:
        printed = read_until(process, "waiting for a change")
        program.write_text(APP, encoding="utf-8")
        read_until(process, "started anew")
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=PATIENCE)

    assert "SyntaxError" in printed
    assert process.returncode == 0


@pytest.mark.timeout(240)
def test_a_child_does_not_outlive_a_parent_that_was_killed(here: Here) -> None:
    here.write("hello.py", APP)
    with developing("hello.py", cwd=here.folder) as process:
        read_until(process, "then ")
        process.kill()
        _, errors = process.communicate(timeout=PATIENCE)  # ends when nobody holds its stderr any more

    assert "worker" in errors and "stopped" in errors


@pytest.mark.timeout(240)
def test_without_reload_it_is_one_process_and_speaks_json(here: Here) -> None:
    here.write("hello.py", APP)
    with developing("hello.py", "--no-reload", "--json", "--quiet", cwd=here.folder) as process:
        assert process.stdout is not None
        ready = json.loads(process.stdout.readline())
        status, _ = as_printed(ready["request"])
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        alone = not children.exists() or children.read_text() == ""
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=PATIENCE)

    assert (ready["type"], ready["workflows"], status) == ("dev:ready", ["greet"], 200)
    assert alone
    assert process.returncode == 0


def test_it_serves_this_machine_only(here: Here) -> None:
    stopped = here("dev", "shop:app", "--host", "0.0.0.0")

    assert (stopped.code, "others can reach 0.0.0.0" in stopped.err) == (2, True)


@pytest.mark.timeout(240)
def test_without_watchfiles_the_extra_is_named(here: Here) -> None:
    (here.folder / "watchfiles.py").write_text(
        "raise ModuleNotFoundError(name='watchfiles')", encoding="utf-8"
    )
    env = {"PYTHONPATH": os.pathsep.join([str(here.folder), environment()["PYTHONPATH"]])}

    with developing("shop:app", cwd=here.folder, env=env) as process:
        _, errors = process.communicate(timeout=PATIENCE)

    assert (process.returncode, "stepflow[server]" in errors) == (2, True)
