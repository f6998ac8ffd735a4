"""Reopening: a second way into the place that a storage object names, for another event loop or thread."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from stepflow.storage.base import Storage


@runtime_checkable
class ReopenableStorage(Protocol):
    """What a backend may offer beside ``Storage``. Its ``url`` is for people and logs: it has no password."""

    def reopened(self) -> Storage:
        """Another storage object on the same place, with the same settings and credentials; not open yet."""
        ...
