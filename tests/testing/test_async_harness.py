"""AsyncHarness works on the test's own event loop, and is the one of which the blocking one is made."""

from __future__ import annotations

import asyncio
import inspect

from stepflow import sleep, step, workflow
from stepflow.testing import AsyncHarness, Harness


@step
async def fetch(queue: str) -> str:
    return await mail.get()


@workflow
async def reading() -> str:
    await sleep("1d")
    return await fetch("inbox")


mail: asyncio.Queue[str] = asyncio.Queue()


async def test_steps_share_the_event_loop_with_the_test() -> None:
    global mail
    mail = asyncio.Queue()
    async with AsyncHarness(reading) as harness:
        run = await harness.start(reading)
        await harness.advance("12h")
        mail.put_nowait("hello")

        assert await harness.result(run) == "hello"


async def test_what_is_done_with_the_app_itself_is_caught_up_with() -> None:
    async with AsyncHarness(reading) as harness:
        harness.fake("fetch", returns="faked")
        handle = await harness.app.trigger(reading, id="mine")

        await harness.settle()

        harness.get("mine").assert_status("suspended")
        assert await harness.result(harness.get("mine", reading)) == "faked"
        assert await handle.status() == "completed"


def test_the_blocking_harness_has_every_method_with_the_same_parameters() -> None:
    names = {
        name for name, _ in inspect.getmembers(AsyncHarness, inspect.iscoroutinefunction) if name[0] != "_"
    }

    assert names == {name for name in vars(Harness) if name[0] != "_"}
    for name in names - {"start"}:  # its options are in overloads only
        asynchronous = inspect.signature(getattr(AsyncHarness, name))
        assert str(inspect.signature(getattr(Harness, name))) == str(asynchronous), name
