"""Garbage: how a process that does nothing but work on runs lets Python's collector work."""

from __future__ import annotations

import gc

_YOUNG, _MIDDLE, _OLD = 10_000, 20, 50


def settle() -> None:
    """Look at what was imported never again, and at what is new less often.

    A thousand runs in flight are a hundred thousand objects that the collector goes through again and again, and what ends
    with a run is freed without it. Only for a process of our own: an application decides this for itself.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG, _MIDDLE, _OLD)
