"""``stepflow --url``: the commands for runs, asked of a server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from stepflow.cli import main
from stepflow.testing.adapter_contract import program
from stepflow.testing.adapter_contract.serving import free_port, unique
from tests.client.running import Background, Server


@dataclass(frozen=True)
class Answer:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Ask = Callable[..., Answer]


@pytest.fixture
def ask(server: Server, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Ask:
    """The command line, told of the server by its option."""
    for name in ("STEPFLOW_STORAGE", "STEPFLOW_URL", "STEPFLOW_TOKEN", "STEPFLOW_DEBUG", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("STEPFLOW_API_KEY", f"{program.SECRET},another")
    monkeypatch.setenv("COLUMNS", "100")

    def call(*arguments: str, url: str | None = server.url) -> Answer:
        capsys.readouterr()
        code = main([*(() if url is None else ("--url", url)), *arguments])
        captured = capsys.readouterr()
        return Answer(code, captured.out, captured.err)

    return call


def test_a_run_is_triggered_watched_listed_and_shown(ask: Ask) -> None:
    run_id, tag = unique("cli"), unique("t")
    triggered = ask("trigger", "talk", "--input", "3", "--id", run_id, "--tag", f"n={tag}")

    watched = ask("runs", "watch", run_id)
    listed = ask("runs", "list", "--tag", f"n={tag}", "--created-after", "1h").out
    shown = ask("runs", "show", run_id)
    as_json = ask("runs", "show", run_id, "--json").json

    assert (triggered.code, triggered.out.strip()) == (0, run_id)
    assert watched.out.strip() == "3"
    assert [line.split()[2] for line in watched.err.splitlines()] == ["note", "note:2", "note:3"]
    assert run_id in listed
    assert "completed" in listed
    assert "talk" in shown.out
    assert [step["result"] for step in as_json["steps"]] == [0, 1, 2]
    assert as_json["output"] == 3


def test_watching_goes_on_until_the_run_ends(ask: Ask, server: Server, background: Background) -> None:
    event = unique("cli-e")
    run_id = ask("trigger", "wait", "--input", json.dumps(event)).out.strip()

    async def send() -> None:
        while not server.open_streams:  # noqa: ASYNC110 - nobody tells when a stream opens
            await asyncio.sleep(0)
        assert server.app is not None
        await server.app.notify(event, {"done": True})

    sending = asyncio.run_coroutine_threadsafe(send(), background.loop)
    watched = ask("runs", "watch", run_id, "--json")
    sending.result(20)

    kinds = [json.loads(line)["type"] for line in watched.out.splitlines()]
    assert kinds[-2:] == ["step:complete", "execution:complete"]
    assert json.loads(watched.out.splitlines()[-1])["data"] == {"done": True}


def test_a_run_is_paused_resumed_cancelled_retried_and_deleted(ask: Ask) -> None:
    run_id = ask("trigger", "wait", "--input", f'"{unique("cli-e")}"').out.strip()

    paused = ask("runs", "pause", run_id)
    watched = ask("runs", "watch", run_id)
    resumed = ask("runs", "resume", run_id)
    cancelled = ask("runs", "cancel", "--force", run_id)
    retried = ask("runs", "retry", run_id, "--json").json
    ask("runs", "cancel", "--force", run_id)
    deleted = ask("runs", "delete", run_id)
    gone = ask("runs", "show", run_id)

    assert paused.code == resumed.code == cancelled.code == deleted.code == 0
    assert watched.code == 5
    assert "is paused (requested)" in watched.err
    assert retried["items"][0]["status"] == "queued"
    assert (gone.code, "no run" in gone.err) == (3, True)


def test_an_event_is_sent(ask: Ask) -> None:
    event = unique("cli-e")

    sent = ask("notify", event, "--payload", "1", "--once")
    lost = ask("notify", event, "--payload", "2", "--once")

    assert sent.out == f"sent {event}: no run waits for it now\n"
    assert lost.code == 3
    assert "payload was 1" in lost.err


def test_a_failure_ends_the_command_with_its_code(ask: Ask) -> None:
    run_id = ask("trigger", "fail", "--input", '"no luck"').out.strip()

    watched = ask("runs", "watch", run_id)

    assert watched.code == 1
    assert "ValueError: no luck" in watched.err


def test_what_is_wrong_is_told_with_what_to_do(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    nowhere = ask("runs", "show", "r", url="http://shop example")
    unknown = ask("trigger", "ecko")
    too_many = ask("trigger", "shop:app", "echo")
    both = ask("runs", "list", "--storage", "sqlite:///x.db")
    elsewhere = ask("doctor")
    monkeypatch.setenv("STEPFLOW_API_KEY", "sf_wrong")
    stranger = ask("runs", "list")

    assert (nowhere.code, "base_url" in nowhere.err) == (2, True)
    assert (unknown.code, "did you mean 'echo'" in unknown.err) == (3, True)
    assert (too_many.code, both.code, elsewhere.code) == (2, 2, 2)
    assert "does not ask a server" in elsewhere.err
    assert (stranger.code, "STEPFLOW_API_KEY" in stranger.err) == (3, True)


def test_the_environment_names_the_server_unless_a_storage_is_named(
    ask: Ask, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = ask("trigger", "echo").out.strip()
    monkeypatch.setenv("STEPFLOW_URL", server.url)

    assert ask("runs", "show", run_id, url=None).code == 0
    assert "there is no database" in ask("runs", "list", "--storage", "sqlite:///not-there.db", url=None).err
    assert "does not ask" not in ask("doctor", "--storage", "sqlite:///not-there.db", url=None).err


def test_a_server_that_is_not_there_is_told(ask: Ask) -> None:
    answer = ask("runs", "cancel", "r", url=f"http://127.0.0.1:{free_port()}")

    assert answer.code == 4
    assert "is the server up" in answer.err
