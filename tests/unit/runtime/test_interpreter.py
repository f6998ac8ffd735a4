"""Interpreter: what a worker process tells Python. Asked in a process of its own, since it is for good."""

from __future__ import annotations

import subprocess
import sys

CODE = """
import gc, sys
from stepflow._runtime import interpreter
before = len(gc.get_objects())
interpreter.settle()
print(before > 1000, len(gc.get_objects()) < 1000, gc.get_freeze_count() > 1000, gc.get_threshold()[0], sys.getswitchinterval())
"""


def test_what_was_imported_is_never_looked_at_again_new_objects_less_often_and_threads_wait_less() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)

    assert done.stdout.split() == ["True", "True", "True", "50000", "0.001"]
