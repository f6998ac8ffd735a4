"""Shutdown: hearing of it early enough. Servers wait for open connections to end before they tell the app to stop."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import FrameType
from typing import Any

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def heard_at_once(stop: Callable[[], None]) -> Generator[None]:
    """Call ``stop`` in the running event loop when the process is told to end, before whoever handles the signal now.

    Whatever handled it goes on doing so: a handler of the server's own, or of its event loop. In another thread than the main
    one, where no signal can be heard, this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()

    def heard() -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(stop)

    forget = hear_signals(heard)
    try:
        yield
    finally:
        forget()


def hear_signals(heard: Callable[[], None]) -> Callable[[], None]:
    """Call ``heard`` in the main thread, which this has to be, before whoever handles a signal to end; what is returned undoes it."""
    former: dict[int, Any] = {}

    def handle(number: int, frame: FrameType | None) -> None:
        heard()
        before = former.get(number)
        if callable(before):
            before(number, frame)

    def forget() -> None:
        for number, before in former.items():
            if signal.getsignal(number) is handle:
                signal.signal(number, before)

    for each in _SIGNALS:
        before = signal.getsignal(each)
        # A default that ends the process, and a handler that is not Python's, are left alone.
        if callable(before):
            former[each] = before
            signal.signal(each, handle)
    return forget
