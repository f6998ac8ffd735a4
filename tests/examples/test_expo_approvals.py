"""The approvals example's server is as short as an example, and the app's types are those of the server. Its screens are tested on
React Native, in ``clients/react-native/device``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

EXAMPLE = Path(__file__).parents[2] / "examples/expo-approvals"


def test_the_app_s_types_are_those_of_the_server() -> None:
    command = [sys.executable, "-m", "stepflow", "generate", "typescript", "office:office"]

    done = subprocess.run(
        [*command, "-o", "src/workflows.ts", "--check"],
        cwd=EXAMPLE,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr


def test_the_example_is_short() -> None:
    assert len((EXAMPLE / "office.py").read_text(encoding="utf-8").splitlines()) <= 80
