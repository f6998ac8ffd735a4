"""What the tests of the pure engine share."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator

import pytest

from stepflow._engine import eviction
from stepflow._engine.tasks import WorkflowTask

PROGRAMS = int(os.environ.get("STEPFLOW_FUZZ_PROGRAMS", "300"))
"""How many random programs each property is tried on."""

PART = 300
PARTS = [range(start, min(start + PART, PROGRAMS)) for start in range(0, PROGRAMS, PART)]
"""In parts, so that no single test takes long."""


def in_parts(test: Callable[..., None]) -> Callable[..., None]:
    """One test for each part.

    With a long time-out: it would be raised in the middle of a program, and look like a fault of its replay.
    """
    parts = pytest.mark.parametrize("part", PARTS, ids=str)(test)
    return pytest.mark.timeout(300)(parts)


@pytest.fixture
def nothing_left() -> Iterator[None]:
    """After the test no task has code left to run, and the collector finds nothing to warn of, which would fail the test."""
    yield
    gc.collect()
    tasks = [thing for thing in gc.get_objects() if isinstance(thing, WorkflowTask)]
    assert [task for task in tasks if can_run(task) and task.get_coro() not in eviction._unclosable] == []


def can_run(task: WorkflowTask) -> bool:
    return getattr(task.get_coro(), "cr_frame", None) is not None
