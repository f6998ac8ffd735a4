"""The pytest plugin: the fixture ``stepflow_harness``. The only part of the library that imports pytest by itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest

if TYPE_CHECKING:
    from stepflow.testing.harness.blocking import Harness

OpenHarness: TypeAlias = "Callable[..., Harness]"


@pytest.fixture
def stepflow_harness() -> Iterator[OpenHarness]:
    """Opens harnesses that are closed when the test ends: ``harness = stepflow_harness(checkout)``.

    It takes what ``stepflow.testing.Harness`` takes.
    """
    # Not before it is used: the plugin is loaded into every pytest that has the library installed.
    from stepflow.testing.harness.blocking import Harness  # noqa: PLC0415

    with ExitStack() as opened:

        def open_harness(*workflows: Any, **options: Any) -> Harness:
            return opened.enter_context(Harness(*workflows, **options))

        yield open_harness
