"""Garbage: what a worker process tells the collector. Asked in a process of its own, since it is for good."""

from __future__ import annotations

import subprocess
import sys

CODE = """
import gc
from stepflow._runtime import garbage
before = len(gc.get_objects())
garbage.settle()
print(before > 1000, len(gc.get_objects()) < 1000, gc.get_freeze_count() > 1000, gc.get_threshold()[0])
"""


def test_what_was_imported_is_never_looked_at_again_and_new_objects_less_often() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)

    assert done.stdout.split() == ["True", "True", "True", "10000"]
