"""``stepflow run``: results, exit codes, inputs, and a run that survives a kill."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from tests.cli.terminal import STEPFLOW, Here, environment, read_until, start, stepflow


def test_a_run_prints_only_its_result_on_stdout(folder: Path) -> None:
    done = stepflow("run", "flows.py:buy", "--input", '{"id": "o1", "total": 4}', cwd=folder)

    assert (done.returncode, done.stdout) == (0, '{"paid": 8}\n')
    assert "pricing o1" in done.stderr
    assert "price" in done.stderr
    assert (folder / "stepflow.db").exists()


def test_the_input_may_come_from_stdin_or_a_file(folder: Path) -> None:
    (folder / "order.json").write_text('{"id": "o2", "total": 5}', encoding="utf-8")

    piped = stepflow("run", "flows:buy", "--input", "-", cwd=folder, input='{"id": "o1", "total": 4}')
    read = stepflow("run", "flows:buy", "-i", "@order.json", "--quiet", cwd=folder)

    assert (piped.returncode, piped.stdout) == (0, '{"paid": 8}\n')
    assert (read.returncode, read.stdout) == (0, '{"paid": 10}\n')
    assert "o2" in read.stderr  # what the workflow itself prints, and nothing else
    assert "run run_" not in read.stderr


def test_a_killed_run_goes_on_with_the_same_id_and_repeats_no_finished_step(folder: Path) -> None:
    os.mkfifo(folder / "gate")
    process = start("run", "flows.py:three_steps", "--id", "r1", cwd=folder)
    with process:
        read_until(process, "two runs")
        process.send_signal(signal.SIGKILL)
    (folder / "gate").unlink()

    again = stepflow("run", "flows.py:three_steps", "--id", "r1", cwd=folder)

    assert process.returncode == -signal.SIGKILL
    assert (again.returncode, again.stdout) == (0, '["one", "two", "three"]\n')
    assert (folder / "ran.txt").read_text().split() == ["one", "two", "two", "three"]
    assert "going on with it" in again.stderr


def test_ctrl_c_lets_the_running_step_finish_and_tells_how_to_go_on(folder: Path) -> None:
    os.mkfifo(folder / "gate")
    process = start("run", "flows.py:three_steps", "--id", "r1", cwd=folder)
    with process:
        read_until(process, "two runs")
        process.send_signal(signal.SIGINT)
        read_until(process, "stopping")
        (folder / "gate").write_text("go")
        output, errors = process.communicate(timeout=30)
    again = stepflow("run", "flows.py:three_steps", "--id", "r1", cwd=folder)

    assert (process.returncode, output) == (130, "")
    assert "error: interrupted" in errors
    assert "stepflow run flows.py:three_steps --id r1" in errors
    assert (again.returncode, again.stdout) == (0, '["one", "two", "three"]\n')
    assert (folder / "ran.txt").read_text().split() == ["one", "two", "three"]


def test_a_second_ctrl_c_does_not_wait_for_the_step(folder: Path) -> None:
    os.mkfifo(folder / "gate")
    process = start("run", "flows.py:three_steps", "--id", "r1", cwd=folder)
    with process:
        read_until(process, "two runs")
        process.send_signal(signal.SIGINT)
        read_until(process, "stopping")
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)

    assert process.returncode == 130


def test_the_same_id_again_gives_the_stored_result(here: Here) -> None:
    here("run", "flows:times_two", "--input", "4", "--id", "r1")

    again = here("run", "flows:times_two", "--id", "r1")

    assert (again.code, again.out) == (0, "8\n")
    assert "run r1 of times-two exists (completed)" in again.err


def test_a_run_that_waits_in_another_queue_is_run_too(here: Here) -> None:
    here("trigger", "shop:app", "times-two", "--input", "4", "--id", "r1", "--queue", "slow")

    done = here("run", "flows:times_two", "--id", "r1")

    assert (done.code, done.out) == (0, "8\n")


def test_the_same_id_with_another_input_or_workflow_is_a_conflict(here: Here) -> None:
    here("run", "flows:times_two", "--input", "4", "--id", "r1")

    other_input = here("run", "flows:times_two", "--input", "5", "--id", "r1")
    other_workflow = here("run", "flows:breaks", "--id", "r1")

    assert (other_input.code, other_workflow.code) == (3, 3)
    assert "times-two" in other_workflow.err


def test_a_failed_run_is_one_line_a_hint_and_exit_code_1(folder: Path) -> None:
    failed = stepflow("run", "flows.py:breaks", "--id", "r1", cwd=folder)

    assert (failed.returncode, failed.stdout) == (1, "")
    assert "error: run r1 failed: ValueError: the \\x1b[31mgateway [bold]said no\n" in failed.stderr
    assert "hint: `stepflow runs show r1 --traceback`" in failed.stderr
    assert "Traceback" not in failed.stderr
    assert "\x1b" not in failed.stderr


def test_json_prints_the_whole_run_also_of_a_failed_one(here: Here) -> None:
    failed = here("run", "flows:breaks", "--json", "--tag", "team=a")

    assert failed.code == 1
    assert failed.json["status"] == "failed"
    assert failed.json["workflowId"] == "breaks"
    assert failed.json["tags"] == {"team": "a"}
    assert failed.json["error"]["type"] == "ValueError"
    assert [(step["name"], step["status"]) for step in failed.json["steps"]] == [("break_down", "failed")]
    assert failed.json["endedAt"].endswith("Z")


def test_a_retried_step_is_told_of(here: Here) -> None:
    done = here("run", "flows:stumbles")

    assert (done.code, done.out) == (0, '"up again"\n')
    assert "attempt 1 failed: ConnectionError: lost" in done.err


def test_children_are_run_too(here: Here) -> None:
    done = here("run", "flows:family", "--input", "[1, 2]", "--storage", "memory://")

    assert (done.code, done.out) == (0, "[2, 4]\n")


def test_a_run_that_is_cancelled_or_paused_exits_with_5(here: Here) -> None:
    here("run", "flows:times_two", "--input", "1")  # makes the database
    here("trigger", "shop:app", "approval", "--input", '"o1"', "--id", "paused")
    here("trigger", "shop:app", "approval", "--input", '"o2"', "--id", "cancelled")
    here("runs", "pause", "paused")
    here("runs", "cancel", "cancelled")

    paused = here("run", "flows:approval", "--id", "paused")
    cancelled = here("run", "flows:approval", "--id", "cancelled")

    assert (paused.code, cancelled.code) == (5, 5)
    assert "stepflow runs resume paused" in paused.err
    assert "stepflow runs retry cancelled" in cancelled.err


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["run", "flows:times_two", "--input", "{a: 1}"], 2, "line 1, column 2"),
        (["run", "flows:times_two", "--input", "hello"], 2, """--input '"hello"'"""),
        (["run", "flows:times_two", "--input", "NaN"], 2, "NaN is no JSON number"),
        (["run", "flows:times_two", "--input", '"4"'], 2, "Expected `int`, got `str`"),
        (["run", "flows:buy", "--input", '{"id": "x", "total": "y"}'], 2, "$.total"),
        (["run", "flows:times_two", "--input", "@missing.json"], 2, "No such file"),
        (["run", "flows:times_two", "--input", "1", "--id", "a b"], 2, "malformed"),
        (["run", "flows:times_two", "--input", "1", "--tag", "x"], 2, "name=value"),
        (["run", "flows:times_two", "--input", "1", "--storage", "sqlitee:///x"], 2, "did you mean sqlite"),
        (["run", "flows:times_two", "--input", "1", "--storage", "sqlite:///no/such/x.db"], 4, "directory"),
        (["run"], 2, "FILE_OR_MODULE:WORKFLOW"),
        (["rum"], 2, "did you mean run?"),
    ],
)
def test_bad_input_is_told_with_its_place(here: Here, arguments: list[str], code: int, told: str) -> None:
    answer = here(*arguments)

    assert (answer.code, answer.out) == (code, "")
    assert answer.err.startswith("error: ")
    assert "\nhint: " in answer.err
    assert told in answer.err
    assert "Traceback" not in answer.err


def test_the_place_of_a_json_error_is_marked(here: Here) -> None:
    (here.folder / "order.json").write_text('{"id": "x",\n "total": }', encoding="utf-8")

    answer = here("run", "flows:buy", "--input", "@order.json")

    line, caret = answer.err.splitlines()[1:3]
    assert "line 2, column 11" in answer.err
    assert line[caret.index("^")] == "}"


def test_debug_shows_the_traceback(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEPFLOW_DEBUG", "1")

    assert "Traceback" in here("runs", "list", "--storage", "nonsense").err


def test_on_a_terminal_progress_is_a_live_picture(folder: Path) -> None:
    plain = on_a_terminal(folder, {"NO_COLOR": "1"})
    coloured = on_a_terminal(folder, {})

    assert "✓" in plain
    assert "price" in plain
    assert "completed" in plain
    assert "\x1b[32m" in coloured  # green
    assert "\x1b[32m" not in plain


def on_a_terminal(folder: Path, extra: dict[str, str]) -> str:
    """What ``run`` draws where stderr is a terminal."""
    ours, theirs = pty.openpty()
    command = [*STEPFLOW, "run", "flows.py:buy", "--input", '{"id": "o1", "total": 4}']
    with subprocess.Popen(
        command, cwd=folder, env=environment(extra), stdout=subprocess.PIPE, stderr=theirs
    ) as process:
        os.close(theirs)
        drawn = b""
        with suppress(OSError):  # Linux tells the end of a terminal as an error
            while part := os.read(ours, 4096):
                drawn += part
        os.close(ours)
        assert process.stdout is not None
        assert json.loads(process.stdout.read()) == {"paid": 8}
    assert process.returncode == 0
    return drawn.decode()


def test_without_typer_the_command_says_what_to_install(folder: Path) -> None:
    code = "import sys; sys.modules['typer'] = None\nfrom stepflow.cli import main\nsys.exit(main([]))"

    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 2
    assert "pip install 'stepflow[cli]'" in done.stderr
    assert "Traceback" not in done.stderr
