"""Commanding: how a long play is run from the command line, told of, and stopped without leaving anything behind."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest
import typer

Result = TypeVar("Result")


def say(line: str) -> None:
    """Print it now: somebody watches."""
    typer.echo(line)


def to_the_end(play: Coroutine[Any, Any, Result], *, left: str) -> Result:
    """What came of the play. The process exits with 2 where the machine can't do it, and with 130 if somebody stops it.

    ``left`` is said then: that nothing is left over, and of what.
    """
    # Whoever ends it by SIGTERM also wants nothing left; and a shell that begins it in the background has SIGINT ignored.
    for asked in (signal.SIGTERM, signal.SIGINT):
        signal.signal(asked, signal.default_int_handler)
    try:
        return asyncio.run(play)
    except pytest.skip.Exception as missing:
        say(f"this machine can't do it: {missing}")
        sys.exit(2)
    except KeyboardInterrupt:
        say(f"stopped; {left}")
        sys.exit(130)
