"""The ledger: one line for every time a step's body really starts, kept apart from the engine's own storage.

A workflow engine may say what it likes about what ran; the ledger is written by the bodies themselves.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """The body of step ``step`` started at ``at`` in process ``pid``."""

    step: str
    pid: int
    at: str

    @property
    def time(self) -> datetime:
        return datetime.fromisoformat(self.at)


def note(folder: str, step: str) -> None:
    """Write down that a step's body starts. One appending write: lines of several processes do not mix."""
    entry = Entry(step=step, pid=os.getpid(), at=datetime.now(UTC).isoformat())
    file = os.open(_path(folder), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(file, f"{json.dumps(asdict(entry))}\n".encode())
    finally:
        os.close(file)


def read(folder: str) -> list[Entry]:
    """All that was written so far."""
    path = _path(folder)
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return [Entry(**json.loads(line)) for line in lines]


def _path(folder: str) -> Path:
    return Path(folder) / "ledger.jsonl"
