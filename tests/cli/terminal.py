"""The command line as the tests use it: as a process of its own, or in this one."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from stepflow.cli import main

PROGRAMS = Path(__file__).parent / "programs"
STEPFLOW = (sys.executable, "-m", "stepflow")


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Ours without what would change the outcome, and with output at once."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("STEPFLOW_", "COV_"))}
    for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "PYTHONPATH"):
        kept.pop(name, None)
    source = str(Path(__file__).parents[2] / "src")
    return {**kept, "PYTHONUNBUFFERED": "1", "PYTHONPATH": source, "TERM": "xterm", **(extra or {})}


def stepflow(
    *arguments: str, cwd: Path, input: str = "", env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """The command, in a process of its own, to its end."""
    return subprocess.run(
        [*STEPFLOW, *arguments],
        cwd=cwd,
        env=environment(env),
        input=input,
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
    )


def start(*arguments: str, cwd: Path) -> subprocess.Popen[str]:
    """The command, in a process that goes on."""
    return subprocess.Popen(
        [*STEPFLOW, *arguments],
        cwd=cwd,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def read_until(process: subprocess.Popen[str], wanted: str) -> str:
    """Read the process's stderr up to the line that has ``wanted`` in it; fails if there is none."""
    assert process.stderr is not None
    seen: list[str] = []
    for line in process.stderr:
        seen.append(line)
        if wanted in line:
            return "".join(seen)
    raise AssertionError(f"{wanted!r} never came in:\n{''.join(seen)}")


def copy_programs(folder: Path) -> Path:
    """The tests' workflows and app, in a folder of their own."""
    for program in PROGRAMS.glob("*.py"):
        shutil.copy(program, folder)
    return folder


@dataclass(frozen=True, slots=True)
class Answer:
    """How a command in this process ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Here:
    """``stepflow`` in this process: quick, for everything but signals and real pipes."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self._capsys = capsys

    def __call__(self, *arguments: str) -> Answer:
        self._capsys.readouterr()
        code = main(arguments)
        captured = self._capsys.readouterr()
        return Answer(code, captured.out, captured.err)

    def write(self, name: str, code: str) -> Path:
        """A file in the folder."""
        path = self.folder / name
        path.write_text(code, encoding="utf-8")
        return path
