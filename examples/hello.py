"""A workflow of two steps with a durable sleep between them. Prints::

hello, Ada
"""

from __future__ import annotations

import asyncio

from stepflow import Stepflow, sleep, step, workflow


@step
async def greeting() -> str:
    return "hello"


@step
def combine(word: str, name: str) -> str:  # a plain function runs on a thread, not on the event loop
    return f"{word}, {name}"


@workflow
async def hello(name: str) -> str:
    word = await greeting()  # checkpointed: a crash after this line does not run it again
    await sleep("a moment", "100ms")  # durable: the process need not live through it
    return await combine(word, name)


async def main() -> None:
    async with Stepflow("sqlite:///hello.db", workflows=[hello]) as app:
        run = await app.trigger(hello, "Ada")
        print(await run.result())


asyncio.run(main())
