"""A disk that fails at times: a small library, compiled once, which a process preloads."""

from __future__ import annotations

import atexit
import functools
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.servers.running import unavailable


@functools.cache
def library() -> Path:
    """The library to preload. Who is not allowed much may read it, too."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None or not sys.platform.startswith("linux"):
        unavailable("failing disk", "it is made with gcc, on Linux")
    folder = Path(tempfile.mkdtemp(prefix="stepflow-disk-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    folder.chmod(0o755)
    made = folder / "faulty_disk.so"
    source = Path(__file__).with_name("faulty_disk.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", made, source, "-ldl"], check=True)
    return made


@pytest.fixture(scope="session")
def faulty_disk() -> Path:
    return library()
