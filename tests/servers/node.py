"""Node, with the npm packages of a folder installed beside it, or our own built, once for all processes of the tests."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
from pathlib import Path
from typing import Final

from tests.servers.running import unavailable

_PATIENCE = 300
_ROOT: Final = Path(__file__).parents[2]

CLIENTS: Final = _ROOT / "clients"
"""The workspace of our JavaScript packages."""


def node_with(folder: Path) -> str:
    """Node, with what the folder's ``package-lock.json`` names installed in the folder; skips without."""
    found, npm = _node_and_npm()
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


def javascript_packages() -> str:
    """Node, with the workspace installed, and its packages built anew if their sources are newer; skips without."""
    found, _ = _node_and_npm()
    packages = [CLIENTS / name for name in ("typescript", "react", "react-native")]
    with (CLIENTS / "package.json").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # one builds for all processes of the tests
        if not all(_is_built(package) for package in packages):
            command = [_ROOT / "scripts/with-node", "true"]
            done = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE, check=False)
            assert done.returncode == 0, done.stdout + done.stderr
    return found


def _is_built(package: Path) -> bool:
    built = package / "dist/cjs/package.json"  # what a build writes last
    written = max(source.stat().st_mtime for source in (package / "src").iterdir())
    return built.exists() and built.stat().st_mtime >= written


def _node_and_npm() -> tuple[str, str]:
    found, npm = shutil.which("node"), shutil.which("npm")
    if found is None or npm is None:
        unavailable("Node", "node and npm are not on the path")
    return found, npm
