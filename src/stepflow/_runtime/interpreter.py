"""Interpreter: how a process that does nothing but work on runs lets Python collect garbage and change threads."""

from __future__ import annotations

import gc
import sys

_YOUNG, _MIDDLE, _OLD = 50_000, 20, 50
_SWITCH = 0.001
"""Seconds. A thread that comes back from the database waits for the interpreter's lock five times as long otherwise."""


def settle() -> None:
    """Look at what was imported never again, and at what is new less often; let a thread that waits have its turn sooner.

    A thousand runs in flight are a hundred thousand objects that the collector goes through again and again, and what ends
    with a run is freed without it. SQLite's writer thread asks for the lock several times in each transaction, and an event
    loop that is busy gives it up only when it must. Only for a process of our own: an application decides this for itself.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG, _MIDDLE, _OLD)
    sys.setswitchinterval(_SWITCH)
