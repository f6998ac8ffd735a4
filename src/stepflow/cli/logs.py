"""Logs: what Stepflow's loggers say while a command works, on stderr and above the live picture."""

from __future__ import annotations

import logging

from stepflow.cli.output import err, joined, text
from stepflow.observability.logging import get_logger

_STYLES = {logging.ERROR: "bold red", logging.WARNING: "yellow"}


class _ToConsole(logging.Handler):
    """One safe line for each record; a traceback only in debug logs of the program itself."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            console = err()
            when = text(f"{self.format_time(record)} ", "dim")
            style = _STYLES.get(record.levelno, "")
            line = joined(when, text(f"{record.levelname.lower():7} {record.getMessage()}", style))
            if record.exc_info and record.exc_info[1] is not None:
                error = record.exc_info[1]
                line.append_text(text(f": {type(error).__name__}: {error}", style))
            console.print(line)
        except Exception:  # noqa: BLE001 - a log line must not end what it tells of; logging has a place for this
            self.handleError(record)

    @staticmethod
    def format_time(record: logging.LogRecord) -> str:
        return logging.Formatter(datefmt="%H:%M:%S").formatTime(record, "%H:%M:%S")


def show_logs(level: int) -> None:
    """Show what Stepflow logs from ``level`` on, unless the program has set up logging by itself."""
    logger = get_logger()
    if logging.getLogger().handlers or logger.handlers:
        return
    handler = _ToConsole(level)
    logger.addHandler(handler)
    logger.setLevel(level)
