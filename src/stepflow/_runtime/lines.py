"""Lines: what runs of this process log, as those who watch them hear it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from stepflow.types import RunId

_LONGEST_MESSAGE = 4_000
_LONGEST_FIELD = 500
_MOST_FIELDS = 32
_OF_EVERY_RECORD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "run_id"}


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a run's log, cut to a size that many of can be kept."""

    run_id: RunId
    at: datetime
    level: str
    message: str
    fields: dict[str, Any]


class Lines(logging.Handler):
    """Passes on what runs and steps log, as far as the process's own logging lets it through: its levels count here, too."""

    def __init__(self, tell: Callable[[Line], None], *, wanted: Callable[[RunId], bool]) -> None:
        """Both are called in the thread that logs; ``wanted`` says for which runs a line is made at all."""
        super().__init__()
        self._tell_line = tell
        self._wanted = wanted

    def emit(self, record: logging.LogRecord) -> None:
        """Called in the thread that logs. A line that can't be formatted is reported as `logging` reports it, and disturbs nobody."""
        run_id = getattr(record, "run_id", None)
        if not isinstance(run_id, str) or not self._wanted(run_id):
            return
        try:
            line = Line(
                run_id=run_id,
                at=datetime.fromtimestamp(record.created, UTC),
                level=record.levelname.lower(),
                message=_cut(record.getMessage(), _LONGEST_MESSAGE),
                fields=_fields(record),
            )
        except Exception:
            self.handleError(record)
            return
        self._tell_line(line)


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    given = [item for item in vars(record).items() if item[0] not in _OF_EVERY_RECORD]
    return {_cut(name, _LONGEST_FIELD): _plain(value) for name, value in given[:_MOST_FIELDS]}


def _plain(value: object) -> Any:
    """What JSON has a word for; anything else as a text."""
    if value is None or isinstance(value, bool | float):
        return value
    if isinstance(value, int) and abs(value) < 2**53:
        return value
    return _cut(value if isinstance(value, str) else repr(value), _LONGEST_FIELD)


def _cut(text: str, most: int) -> str:
    """The beginning of a text; a lone surrogate, which can't travel, becomes a question mark."""
    return text[:most].encode(errors="replace").decode()
