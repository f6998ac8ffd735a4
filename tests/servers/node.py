"""Node, with the npm packages of a folder installed beside it, once for all processes of the tests."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
from pathlib import Path

from tests.servers.running import unavailable

_PATIENCE = 300


def node_with(folder: Path) -> str:
    """Node, with what the folder's ``package-lock.json`` names installed in the folder; skips without."""
    found, npm = shutil.which("node"), shutil.which("npm")
    if found is None or npm is None:
        unavailable("Node", "node and npm are not on the path")
    with (folder / "package.json").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # one installs for all processes of the tests
        installed, wanted = folder / "node_modules/.package-lock.json", folder / "package-lock.json"
        if not installed.exists() or installed.stat().st_mtime < wanted.stat().st_mtime:
            command = [npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts"]
            done = subprocess.run(
                command, cwd=folder, capture_output=True, text=True, timeout=_PATIENCE, check=False
            )
            if done.returncode:
                unavailable("npm packages", done.stderr[-500:])
            installed.touch()
    return found
