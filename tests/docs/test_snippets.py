"""Every code block of the documentation and of the README does what its page says."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.pages import ROOT, blocks, pages

_DEADLINE = 120  # the tutorial starts Python a dozen times; on a busy machine that takes a while


def executed(page: Path) -> bool:
    """Whether the page has anything to execute."""
    return any(
        block.language in {"python", "console"} for block in blocks((ROOT / page).read_text(encoding="utf-8"))
    )


def execute(page: Path, folder: Path) -> str:
    """What went wrong on the page; nothing, if nothing did."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.docs.execute", str(page)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        printed, _ = process.communicate(timeout=_DEADLINE)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        printed, _ = process.communicate()
        return f"{page} did not end within {_DEADLINE} s:\n{printed}"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # what a session left in the background
    return printed if process.returncode or "never awaited" in printed else ""


@pytest.mark.timeout(_DEADLINE + 30)
@pytest.mark.parametrize("page", [page for page in pages() if executed(page)], ids=str)
def test_the_code_of_the_page_runs(page: Path, tmp_path: Path) -> None:
    assert execute(ROOT / page, tmp_path) == ""


def page_saying(text: str, folder: Path) -> Path:
    page = folder / "page.md"
    page.write_text(text, encoding="utf-8")
    return page


def test_code_that_fails_fails_its_page(tmp_path: Path) -> None:
    page = page_saying("# A page\n\n```python\nassert await nothing() == 1\n```\n", tmp_path)

    assert 'page.md", line 4' in execute(page, tmp_path)


def test_an_output_that_differs_fails_its_page(tmp_path: Path) -> None:
    page = page_saying("```python\nprint(1)\n```\n<!-- output -->\n```text\n2\n```\n", tmp_path)

    assert "and the page says:\n2" in execute(page, tmp_path)


def test_a_session_that_prints_something_else_fails_its_page(tmp_path: Path) -> None:
    page = page_saying("```console\n$ echo one\ntwo\n```\n", tmp_path)

    assert "$ echo one printed:\none" in execute(page, tmp_path)


def test_an_exception_that_does_not_come_fails_its_page(tmp_path: Path) -> None:
    page = page_saying("<!-- raises: ValueError -->\n```python\nx = 1\n```\n", tmp_path)

    assert "did not raise ValueError" in execute(page, tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "<!-- no-run -->\n```python\n```\n",
        "<!-- file: a.py -->\ntext\n",
        "<!-- norun: x -->\n",
        "```python\n",
    ],
)
def test_a_marker_or_fence_that_means_nothing_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match="line 1"):
        list(blocks(text))
