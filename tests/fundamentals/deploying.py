"""Deploying: a run that old code began, and new code goes on with."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from stepflow._engine.commands import Diverged
from stepflow.primitives import step
from tests.fundamentals.driving import History, World, drive, resume

Main = Callable[[], Awaitable[Any]]


async def made(what: str) -> str:
    return what


async def otherwise(what: str) -> str:
    return f"{what}, otherwise"


def run(name: str, value: str | None = None) -> Any:
    return step.run(name, made, name if value is None else value)


def after(history: History, key: str) -> int:
    """How many entries the journal had when the (last) entry of this key was in it."""
    return 1 + max(index for index, entry in enumerate(history.entries) if getattr(entry, "key", None) == key)


def deployed(old: Main, new: Main, key: str, *, world: World | None = None, slices: int = 1) -> History:
    """``old`` runs until ``key`` is recorded and crashes; ``new`` goes on. ``world.bodies`` are those that it ran."""
    history = drive(old, world=world)
    history.world.bodies.clear()
    return resume(history, after(history, key), main=new, slices=slices)


def detail(history: History) -> str:
    """Why the run is paused."""
    assert isinstance(history.outcome, Diverged), history.outcome
    return history.outcome.detail
