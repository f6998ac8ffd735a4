"""What ships to users for their tests: harnesses, clocks, faults, and contracts for those who write backends."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stepflow.testing.clock import FakeClock
    from stepflow.testing.crashes import Crash, CrashPoint, CrashReport, crash_everywhere, explore_crashes
    from stepflow.testing.faults import FaultyStorage
    from stepflow.testing.harness.asynchronous import AsyncHarness
    from stepflow.testing.harness.blocking import Harness
    from stepflow.testing.harness.fakes import Fake, StepCall
    from stepflow.testing.harness.runs import HarnessRun
    from stepflow.testing.histories import History, check_histories, read_histories, read_history
    from stepflow.testing.replaying import Comparison, Verdict

__all__ = [
    "AsyncHarness",
    "Comparison",
    "Crash",
    "CrashPoint",
    "CrashReport",
    "Fake",
    "FakeClock",
    "FaultyStorage",
    "Harness",
    "HarnessRun",
    "History",
    "StepCall",
    "Verdict",
    "check_histories",
    "crash_everywhere",
    "explore_crashes",
    "read_histories",
    "read_history",
]

# Found when it is first asked for: a test that wants a clock does not load the engine.
_HOMES = {
    "stepflow.testing.clock": "FakeClock",
    "stepflow.testing.crashes": "Crash CrashPoint CrashReport crash_everywhere explore_crashes",
    "stepflow.testing.faults": "FaultyStorage",
    "stepflow.testing.harness.asynchronous": "AsyncHarness",
    "stepflow.testing.harness.blocking": "Harness",
    "stepflow.testing.harness.fakes": "Fake StepCall",
    "stepflow.testing.harness.runs": "HarnessRun",
    "stepflow.testing.histories": "History check_histories read_histories read_history",
    "stepflow.testing.replaying": "Comparison Verdict",
}
_HOME = {name: module for module, names in _HOMES.items() for name in names.split()}


def __getattr__(name: str) -> Any:
    module = _HOME.get(name)
    if module is None:
        raise AttributeError(f"module 'stepflow.testing' has no attribute {name!r}")
    found = globals()[name] = getattr(import_module(module), name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
