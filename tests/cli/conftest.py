"""A folder with programs in it, and ``stepflow`` called in this process as if it were the only one."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.terminal import Here, copy_programs


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A fresh folder with the tests' programs."""
    return copy_programs(tmp_path)


@pytest.fixture
def here(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Here]:
    """``stepflow`` in ``folder``; modules, paths and log handlers are as before afterwards."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    for name in ("STEPFLOW_STORAGE", "STEPFLOW_DEBUG", "NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "100")
    modules = set(sys.modules)
    logger = logging.getLogger("stepflow")
    handlers, level = list(logger.handlers), logger.level

    yield Here(folder, capsys)

    for name in set(sys.modules) - modules:
        if str(folder) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]
    logger.handlers[:] = handlers
    logger.setLevel(level)
