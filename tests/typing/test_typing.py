"""The types that users see, as mypy and pyright see them: good.py is accepted, each marked line of bad.py refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent
SOURCE = HERE.parent.parent / "src"
FOR_MAKE_CHECK = "# mypy: ignore-errors\n"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both files side by side in a project of their own, checked as strictly as can be."""
    folder = tmp_path_factory.mktemp("typing")
    for name in ("good.py", "bad.py"):
        text = (HERE / name).read_text(encoding="utf-8")
        (folder / name).write_text(text.replace(FOR_MAKE_CHECK, "#\n"), encoding="utf-8")
    settings = {
        "typeCheckingMode": "strict",
        "pythonVersion": "3.11",
        "extraPaths": [str(SOURCE)],
        "enableTypeIgnoreComments": False,  # those in good.py are about mypy
    }
    (folder / "pyrightconfig.json").write_text(json.dumps(settings), encoding="utf-8")
    (folder / "mypy.ini").write_text("[mypy]\nstrict = true\npython_version = 3.11\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def refused_by_mypy(programs: Path) -> dict[str, list[int]]:
    output = run(programs, "mypy", "--follow-imports=silent", "--no-error-summary", "good.py", "bad.py")
    found = (line.split(":", 3) for line in output.splitlines())
    return by_file((Path(parts[0]).name, int(parts[1])) for parts in found if parts[2:3] == [" error"])


@pytest.fixture(scope="module")
def refused_by_pyright(programs: Path) -> dict[str, list[int]]:
    output = run(programs, "pyright", "--pythonpath", sys.executable, "--outputjson", "good.py", "bad.py")
    found = json.loads(output[output.index("{") :])["generalDiagnostics"]
    return by_file((Path(each["file"]).name, each["range"]["start"]["line"] + 1) for each in found)


def run(folder: Path, checker: str, *arguments: str) -> str:
    environment = {**os.environ, "MYPYPATH": str(SOURCE)}
    done = subprocess.run(
        [sys.executable, "-m", checker, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,  # both end with 1 when they find something, which is what they are here for
        timeout=240,
    )
    assert done.returncode in (0, 1), done.stderr
    return done.stdout


def by_file(found: Iterator[tuple[str, int]]) -> dict[str, list[int]]:
    lines: dict[str, set[int]] = {"good.py": set(), "bad.py": set()}
    for name, line in found:
        lines[name].add(line)
    return {name: sorted(numbers) for name, numbers in lines.items()}


def marked() -> list[int]:
    """The numbers of the lines of bad.py that have to be refused."""
    text = (HERE / "bad.py").read_text(encoding="utf-8")
    return [number for number, line in enumerate(text.splitlines(), 1) if line.endswith("# E")]


def test_mypy_accepts_what_users_write(refused_by_mypy: dict[str, list[int]]) -> None:
    assert refused_by_mypy["good.py"] == []


def test_pyright_accepts_what_users_write(refused_by_pyright: dict[str, list[int]]) -> None:
    assert refused_by_pyright["good.py"] == []


def test_mypy_refuses_the_marked_lines_and_no_others(refused_by_mypy: dict[str, list[int]]) -> None:
    assert refused_by_mypy["bad.py"] == marked()


def test_pyright_refuses_the_marked_lines_and_no_others(refused_by_pyright: dict[str, list[int]]) -> None:
    assert refused_by_pyright["bad.py"] == marked()
