"""What is printed: safe, plain where it must be, and readable."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from stepflow.cli import output
from stepflow.cli.exits import MEANINGS, ExitCode, stop_for
from stepflow.cli.root import app
from stepflow.errors import (
    InputError,
    OperationRefusedError,
    ResultTimeoutError,
    RunCancelledError,
    RunFailedError,
    RunNotFoundError,
    RunPausedError,
    SchemaError,
    StepflowError,
    StorageUnavailableError,
    UnknownStorageError,
)
from tests.cli.terminal import Here


@pytest.mark.parametrize(
    ("duration", "text"),
    [
        (timedelta(microseconds=40), "0.0ms"),
        (timedelta(milliseconds=1.25), "1.2ms"),
        (timedelta(milliseconds=412), "412ms"),
        (timedelta(seconds=14.21), "14.2s"),
        (timedelta(minutes=3, seconds=4), "3m04s"),
        (timedelta(hours=2, minutes=5), "2h05m"),
        (timedelta(days=21, hours=3), "21d3h"),
        (timedelta(seconds=-3), "0.0ms"),
    ],
)
def test_durations_are_short(duration: timedelta, text: str) -> None:
    assert output.duration_text(duration) == text


@pytest.mark.parametrize(
    "value", ["\x1b]0;title\x07", "\u202eevil", "\x9b31m", "a\u2028b", "\U000e0001", "ü😀\n"]
)
def test_json_holds_no_character_that_a_terminal_obeys_and_means_the_same(value: str) -> None:
    encoded = output.to_json({value: [value]})

    assert encoded.isprintable()
    assert json.loads(encoded) == {value: [value]}


def test_text_shows_control_characters_and_brackets_as_they_are() -> None:
    assert output.text("a\x1b[31m[bold]\nb").plain == "a\\x1b[31m[bold]\\nb"
    assert output.lines("one\n\ttwo\x07") == "one\n    two\\x07"


def test_ago_and_sizes_are_for_people() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)

    assert output.ago(now - timedelta(hours=3), now) == "3h00m ago"
    assert output.ago(now + timedelta(days=2), now) == "in 2d0h"
    assert [output.size_text(size) for size in (None, 12, 2048, 5 << 30)] == [
        "",
        "12 bytes",
        "2.0 KiB",
        "5.0 GiB",
    ]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (RunFailedError("r", type="ValueError", message="x"), 1),
        (InputError("x"), 2),
        (UnknownStorageError("x"), 2),
        (RunNotFoundError("r"), 3),
        (OperationRefusedError("r", "retry", "completed"), 3),
        (StorageUnavailableError("x"), 4),
        (SchemaError("x"), 4),
        (RunCancelledError("r"), 5),
        (RunPausedError("r", "why"), 5),
        (ResultTimeoutError("r", 1), 5),
        (StepflowError("x"), 2),
    ],
)
def test_each_error_has_its_exit_code(error: StepflowError, code: int) -> None:
    assert stop_for(error).code == code


def test_hints_name_the_run() -> None:
    assert stop_for(RunPausedError("r7", "why")).hint == "`stepflow runs resume r7` lets it go on"


def test_no_argument_shows_help_and_the_table_of_exit_codes(here: Here) -> None:
    answer = here()

    assert answer.code == 0
    assert "Examples:" in answer.out
    assert set(MEANINGS) == set(ExitCode)
    for code, meaning in MEANINGS.items():
        assert any(line.split() == [str(int(code)), *meaning.split()] for line in answer.out.splitlines())


def all_commands() -> list[list[str]]:
    groups = {group.name: group.typer_instance for group in app.registered_groups}
    found = [[str(each.name)] for each in app.registered_commands]
    found += [
        [str(name), str(each.name)]
        for name, group in groups.items()
        if group is not None
        for each in group.registered_commands
    ]
    return found


@pytest.mark.parametrize("command", all_commands(), ids=" ".join)
def test_every_command_teaches_with_an_example_of_itself(here: Here, command: list[str]) -> None:
    answer = here(*command, "--help")

    assert answer.code == 0
    assert f"Usage: stepflow {' '.join(command)}" in answer.out
    examples = answer.out.split("Examples:\n")[1].splitlines()
    assert any(f"stepflow {' '.join(command)}" in line for line in examples)


@pytest.mark.parametrize("group", ["runs", "storage"])
def test_a_group_without_a_command_shows_its_commands(here: Here, group: str) -> None:
    answer = here(group)

    assert answer.code == 0
    assert "Commands:" in answer.out


def test_the_version_is_the_packages(here: Here) -> None:
    import stepflow

    assert here("--version").out == f"{stepflow.__version__}\n"


def test_each_part_of_a_line_has_its_own_style_only() -> None:
    line = output.joined(output.text("dim", "dim"), output.text("plain"))

    assert [(span.start, span.end, str(span.style)) for span in line.spans] == [(0, 3, "dim")]
    assert (line.plain, str(line.style)) == ("dimplain", "")
