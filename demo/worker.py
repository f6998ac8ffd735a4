"""A worker of the demo: ``python -m demo.worker FOLDER`` serves the workflows until it is told to stop, or killed."""

from __future__ import annotations

import asyncio
import sys

from demo.workflow import airport_page, flight_report
from stepflow import Stepflow


def storage_in(folder: str) -> str:
    """The SQLite database that every process of one demo opens."""
    return f"sqlite:///{folder}/stepflow.db"


async def serve(folder: str) -> None:
    """Work until told to stop."""
    async with Stepflow(storage_in(folder), workflows=[flight_report, airport_page]) as app:
        await app.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1]))
