"""The reference is complete and fresh: every public name has an entry, and what is generated is what the code says now."""

from __future__ import annotations

import importlib
import inspect
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import stepflow
import stepflow.auth
import stepflow.testing
from docs.tools import facts, states
from docs.tools.__main__ import generated, stale
from stepflow.model import transitions
from stepflow.model.states import RunStatus
from tests.docs.pages import DOCS, ROOT, blocks, pages

_DIRECTIVE = re.compile(r"^\.\. auto\w+:: (?P<name>[\w.]+)(?:\((?P<parameters>.*)\))?$", re.MULTILINE)


def entries() -> dict[str, str | None]:
    """What the reference documents: full name → the parameters that are written out, if they are."""
    found: dict[str, str | None] = {}
    for page in sorted((DOCS / "reference").glob("*.md")):
        for entry in _DIRECTIVE.finditer(page.read_text(encoding="utf-8")):
            found[entry["name"]] = entry["parameters"]
    return found


def target(name: str) -> Any:
    """The object behind a dotted name."""
    parts = name.split(".")
    for count in range(len(parts), 0, -1):
        try:
            found: Any = importlib.import_module(".".join(parts[:count]))
        except ModuleNotFoundError:
            continue
        for part in parts[count:]:
            found = getattr(found, part)
        return found
    raise LookupError(name)


def test_every_public_name_has_a_reference_entry() -> None:
    documented = {name.removeprefix("stepflow.") for name in entries()}

    assert set(stepflow.__all__) - documented == set()


def test_everything_about_who_may_do_what_has_a_reference_entry() -> None:
    documented = {name.removeprefix("stepflow.auth.") for name in entries()}

    assert set(stepflow.auth.__all__) - documented == set()


def test_everything_for_tests_has_a_reference_entry() -> None:
    documented = {name.removeprefix("stepflow.testing.") for name in entries()}

    assert set(stepflow.testing.__all__) - documented == set()


def test_every_entry_of_the_reference_exists() -> None:
    for name in entries():
        assert target(name) is not None


def parameters(name: str) -> list[str]:
    """The parameters' names as the code has them; the options of the two decorators are told by their docstrings."""
    found = target(name)
    if name in {"stepflow.workflow", "stepflow.step"}:
        text = inspect.getdoc(found) if name == "stepflow.workflow" else inspect.getdoc(type(found).__call__)
        return re.findall(r"^ {4}(\w+): ", text or "", re.MULTILINE)
    return [each for each in inspect.signature(found).parameters if each != "self"]


@pytest.mark.parametrize("name", sorted(name for name, written in entries().items() if written))
def test_a_signature_that_is_written_out_names_the_real_parameters(name: str) -> None:
    written = re.findall(r"[*]*(\w+)(?:=[^,]*)?(?:,|$)", entries()[name] or "")

    assert written == parameters(name)


@pytest.mark.parametrize("path", [path for path, _ in generated()], ids=lambda path: path.name)
def test_what_is_generated_is_fresh(path: Path) -> None:
    assert path not in stale(), "run: python -m docs.tools"


def test_the_state_diagram_has_no_place_for_a_move_that_it_does_not_know(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    table = dict(transitions.TABLE)
    table[RunStatus.COMPLETED, transitions.Action.RETRY] = transitions.TryAgain()
    monkeypatch.setattr(transitions, "TABLE", table)

    with pytest.raises(KeyError):
        states.figure()


def test_every_failpoint_that_the_code_passes_is_described() -> None:
    page = facts.failpoint_page()

    assert all(f"| `{name}` | " in page for name in facts.placed_failpoints())


@pytest.mark.parametrize("page", pages(), ids=str)
def test_a_block_that_is_not_run_says_why(page: Path) -> None:
    skipped = [block for block in blocks((ROOT / page).read_text(encoding="utf-8")) if block.verb == "no-run"]

    assert all(len(block.value) > 10 for block in skipped)
    assert len(skipped) <= 3


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_the_documentation_builds_without_a_warning(tmp_path: Path) -> None:
    built = subprocess.run(
        [
            sys.executable,
            "-m",
            "sphinx",
            "-W",
            "--keep-going",
            "-q",
            "-b",
            "html",
            "docs",
            str(tmp_path / "html"),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert (built.returncode, built.stderr) == (0, "")


def test_the_architecture_names_only_what_exists() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:src|tests|docs)/[\w./-]*)`", text)) | set(
        re.findall(r"\]\(([\w./-]+)\)", text)
    )

    assert len(named) > 40
    assert [path for path in sorted(named) if not (ROOT / path).exists()] == []


def test_the_architecture_can_be_read_in_one_sitting() -> None:
    assert (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8").count("\n") <= 250
