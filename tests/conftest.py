"""What every test of this repository may rely on: ``async def`` tests run, end in time and leave no task behind."""

from __future__ import annotations

import asyncio
import faulthandler
import inspect
from typing import Any

import pytest

DEADLINE = 20.0


@pytest.fixture(autouse=True)
def _long_tests_are_not_told_of(request: pytest.FixtureRequest) -> None:
    """Where every thread stands is shown of a test that is about to be too late; one with a limit of its own is late by that."""
    if request.node.get_closest_marker("timeout") is not None:
        faulthandler.cancel_dump_traceback_later()


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a coroutine test on an event loop of its own; leave every other test to pytest."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    wanted = inspect.signature(pyfuncitem.obj).parameters
    arguments = {name: value for name, value in pyfuncitem.funcargs.items() if name in wanted}
    marker = pyfuncitem.get_closest_marker("deadline")
    asyncio.run(_in_time(pyfuncitem.obj, arguments, DEADLINE if marker is None else float(marker.args[0])))
    return True


async def _in_time(test: Any, arguments: dict[str, Any], deadline: float) -> None:
    try:
        async with asyncio.timeout(deadline) as limit:
            await test(**arguments)
    except TimeoutError:
        if limit.expired():
            pytest.fail(f"the test did not end within {deadline:g} s")
        raise
    await _let_cancelled_tasks_end()
    left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    if left:
        pytest.fail(f"the test left {len(left)} task(s) behind:\n" + "\n".join(map(repr, left)))


async def _let_cancelled_tasks_end() -> None:
    """A task that was cancelled in the test's last line needs a turn or two to unwind; it is no leak."""
    for _ in range(3):
        await asyncio.sleep(0)
