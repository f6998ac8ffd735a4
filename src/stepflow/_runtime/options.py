"""Options: how a worker is set up."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

import msgspec


class WorkerOptions(msgspec.Struct, frozen=True, kw_only=True):
    """``queues`` maps each queue that it serves to the slots it may take; ``steps`` counts bodies at once."""

    name: str | None = None
    queues: Mapping[str, int]
    concurrency: int = 1000
    steps: int = 1000
    threads: int = 32
    lease: timedelta = timedelta(seconds=30)
    grace: timedelta = timedelta(seconds=30)
