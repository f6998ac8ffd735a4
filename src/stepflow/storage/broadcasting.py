"""Broadcasting: what a storage may offer beside the port, so that processes tell each other what need not be kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol, runtime_checkable

LONGEST: Final = 7_000
"""Bytes of UTF-8 in one text, at most: what fits into a notification of PostgreSQL, with room for what goes with it."""


@runtime_checkable
class BroadcastingStorage(Protocol):
    """A storage whose wake-ups also carry texts. It knows nothing of what they say."""

    async def broadcast(self, texts: Sequence[str]) -> None:
        """Hand each text to everybody who listens to ``wakeups()``, in every process, as a ``Broadcast``.

        Best effort: each listener gets each of them at most once, and those of one call in their order. When it returns they are on their way,
        before anything that is written afterwards; nobody waits for them to be durable. A text has at most
        ``LONGEST`` bytes and no NUL. ``StorageUnavailableError``: some may have been lost, and nothing else happened.
        """
        ...
