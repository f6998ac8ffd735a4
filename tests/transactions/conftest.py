"""The databases in which users' rows and runs are written together."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from stepflow import RunHandle
from stepflow.model.journal import Suspended
from tests.transactions.databases import Database, Postgres, Sqlite


@pytest.fixture(params=["sqlite", "postgres"])
def kind(request: pytest.FixtureRequest) -> str:
    kind: str = request.param
    return kind


@pytest.fixture
def database(kind: str, tmp_path: Path) -> Database:
    return Sqlite(tmp_path) if kind == "sqlite" else Postgres("transactions")


async def until_suspended(run: RunHandle[Any]) -> None:
    """Until the run is stored as suspended."""
    async for event in run.events():
        if isinstance(event.entry, Suspended):
            return


async def notes_of(database: Database) -> list[str]:
    """The notes, from inside a running loop."""
    return await asyncio.to_thread(database.notes)
