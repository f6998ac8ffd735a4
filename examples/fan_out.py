"""One step for each item, a few at a time; members that fail are told apart from those that don't. Prints::

3 of 4 files converted: 14 words
missing.txt: FileNotFoundError
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from stepflow import Stepflow, step, workflow


def count_words(name: str) -> int:
    return len(Path(name).read_text(encoding="utf-8").split())


@workflow
async def convert(names: list[str]) -> list[str]:
    counts = await step(retry=1).map(
        "count", count_words, names, key=lambda name: name, concurrency=2, return_exceptions=True
    )
    words = [count for count in counts if isinstance(count, int)]
    failures = [
        f"{name}: {type(count).__name__}"
        for name, count in zip(names, counts, strict=True)
        if isinstance(count, Exception)
    ]
    return [f"{len(words)} of {len(names)} files converted: {sum(words)} words", *failures]


async def main(names: list[str]) -> None:
    async with Stepflow("sqlite:///fan_out.db", workflows=[convert]) as app:
        run = await app.trigger(convert, names)
        print(*await run.result(), sep="\n")


Path("a.txt").write_text("one idea a file", encoding="utf-8")
Path("b.txt").write_text("named for it and easy to find", encoding="utf-8")
Path("c.txt").write_text("that is all", encoding="utf-8")
asyncio.run(main(["a.txt", "b.txt", "c.txt", "missing.txt"]))
