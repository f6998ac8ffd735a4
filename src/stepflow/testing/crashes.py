"""Crashes: a scenario, played again with a crash at every place where one matters, and what came of each."""

from __future__ import annotations

import functools
import inspect
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, Concatenate, ParamSpec, TypeVar

from stepflow._engine.definition import Defined
from stepflow.app import Stepflow
from stepflow.errors import DefinitionError
from stepflow.model.names import name_of
from stepflow.testing.harness.blocking import Harness
from stepflow.types import RunId, StepKey

P = ParamSpec("P")
T = TypeVar("T")

_SHOWN = 12

_MEANING = {
    "before step": "its function had not begun",
    "after step": "its function had run, and its result was not written yet",
    "before commit": "nothing of it was written",
    "after commit": "all of it was written, and nobody knew yet",
    "after claim": "the run had just been taken over",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class CrashPoint:
    """A place where the process may die. ``where`` is "before step", "after commit" …; ``what`` the step, or what the commit writes."""

    number: int
    where: str
    run_id: RunId
    what: str

    def __str__(self) -> str:
        return f"{self.where} of {self.run_id}: {self.what} ({_MEANING[self.where]})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Crash:
    """What came of a crash at one point.

    ``repeated`` are the steps (run and key) that were executed more often than without a crash, and how much more often. ``problems`` are
    sentences; without any, the crash was survived.
    """

    point: CrashPoint
    repeated: dict[tuple[RunId, StepKey], int]
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CrashReport:
    """Every crash that was tried, in the order of their points."""

    result: Any
    """What the scenario returned without a crash."""
    crashes: tuple[Crash, ...]
    unreached: int = 0
    """How many places were not come to again, because the scenario did not do quite the same."""

    @property
    def failures(self) -> tuple[Crash, ...]:
        """The crashes that were not survived."""
        return tuple(crash for crash in self.crashes if crash.problems)

    @property
    def repeated(self) -> frozenset[StepKey]:
        """The keys of the steps that some crash made run again."""
        return frozenset(key for crash in self.crashes for _, key in crash.repeated)

    @property
    def text(self) -> str:
        """All of it, to be read."""
        failures = self.failures
        lines = [f"{len(self.crashes)} crashes were tried, {len(failures)} of them were not survived"]
        for crash in failures[:_SHOWN]:
            lines.append(f"  crash {crash.point.number}, {crash.point}")
            lines += [f"    {problem}" for problem in crash.problems]
        if len(failures) > _SHOWN:
            lines.append(f"  … and {len(failures) - _SHOWN} more")
        for key in sorted(self.repeated):
            points = [
                crash.point for crash in self.crashes if any(again == key for _, again in crash.repeated)
            ]
            lines.append(f"  step {key} ran again after {len(points)} of the crashes, first {points[0]}")
        return "\n".join(lines)

    def assert_survived(self) -> None:
        """``AssertionError`` with the whole report, if a crash was not survived."""
        __tracebackhide__ = True
        if self.failures:
            raise AssertionError(self.text)


@dataclass(slots=True)
class _Play:
    """One playing of the scenario: it notes the points that it passes, and dies at one of them."""

    dies_at: int | None = None
    points: list[CrashPoint] = field(default_factory=list[CrashPoint])
    died: bool = False

    def pass_point(self, where: str, run_id: RunId, what: str) -> bool:
        if self.died:
            return False
        point = CrashPoint(number=len(self.points) + 1, where=where, run_id=run_id, what=what)
        self.points.append(point)
        self.died = point.number == self.dies_at
        return self.died


@dataclass(frozen=True, slots=True)
class _Played:
    result: Any
    error: Exception | None
    executed: Counter[tuple[RunId, StepKey]]


def explore_crashes(
    scenario: Callable[[Harness], Any],
    *workflows: Stepflow | Defined | ModuleType,
    repeatable: Collection[str] | None = None,
    **options: Any,
) -> CrashReport:
    """Play ``scenario`` once, and then once for each place where a crash matters, with a crash there.

    Such places are before and after each step's function, and before and after each commit; a fresh process takes the runs over, without a
    further crash. ``scenario(harness)`` gets a fresh ``Harness(*workflows, **options)`` each time. It must do the same each time, so reset what it changes
    outside, and should return all that matters: what it returns must be the same whatever crashed. ``repeatable`` are the steps, by name or
    key, that may be executed once more than without the crash; any other must not. None: all may be, which is what durable workflows promise.
    Steps on threads are executed one after the other.
    """
    if inspect.iscoroutinefunction(scenario):
        raise DefinitionError("a scenario is a plain function: it is given a Harness, whose methods block")
    first = _Play()
    clean = _play(scenario, first, workflows, options)
    if clean.error is not None:
        raise clean.error
    crashes: list[Crash] = []
    unreached = 0
    for number in range(1, 2 * len(first.points) + 2):
        play = _Play(number)
        played = _play(scenario, play, workflows, options)
        if play.died:
            crashes.append(_judge(play.points[-1], played, clean, repeatable))
        elif number > len(first.points):
            break
        else:
            unreached += 1
    if unreached > len(first.points) // 2:
        raise AssertionError(
            f"the scenario does not do the same each time: {unreached} of {len(first.points)} places where it was to crash were "
            "never reached again. Reset in it whatever it changes"
        )
    return CrashReport(result=clean.result, crashes=tuple(crashes), unreached=unreached)


def crash_everywhere(
    *workflows: Stepflow | Defined | ModuleType,
    repeatable: Collection[str] | None = None,
    **options: Any,
) -> Callable[[Callable[Concatenate[Harness, P], Any]], Callable[P, None]]:
    """Makes a test of a scenario: it fails if a crash, anywhere, is not survived. See ``explore_crashes``.

    The function's first parameter is the harness; the others are fixtures, which live as long as all of its plays.
    """

    def decorate(scenario: Callable[Concatenate[Harness, P], Any]) -> Callable[P, None]:
        if inspect.iscoroutinefunction(scenario):
            raise DefinitionError("@crash_everywhere: the test is a plain function, whose Harness blocks")

        @functools.wraps(scenario)
        def test(*args: P.args, **kwargs: P.kwargs) -> None:
            __tracebackhide__ = True
            report = explore_crashes(
                lambda harness: scenario(harness, *args, **kwargs),
                *workflows,
                repeatable=repeatable,
                **options,
            )
            report.assert_survived()

        signature = inspect.signature(scenario)
        fixtures = list(signature.parameters.values())[1:]
        test.__signature__ = signature.replace(parameters=fixtures)  # type: ignore[attr-defined]
        return test

    return decorate


def _play(
    scenario: Callable[[Harness], Any], play: _Play, workflows: tuple[Any, ...], options: dict[str, Any]
) -> _Played:
    harness = Harness(*workflows, **options)
    harness._inner._in_turn = True  # pyright: ignore[reportPrivateUsage]
    with harness:
        harness._world.point = play.pass_point  # pyright: ignore[reportPrivateUsage]
        result: Any = None
        error: Exception | None = None
        try:
            result = scenario(harness)
        except Exception as raised:  # noqa: BLE001 - whatever a scenario raises after a crash is part of the report
            error = raised
        executed = Counter((call.run_id, call.key) for call in harness.calls())
    return _Played(result, error, executed)


def _judge(point: CrashPoint, played: _Played, clean: _Played, repeatable: Collection[str] | None) -> Crash:
    repeated = dict(played.executed - clean.executed)
    problems: list[str] = []
    if played.error is not None:
        problems.append(f"the scenario failed: {type(played.error).__name__}: {played.error}")
    elif played.result != clean.result:
        problems.append(f"the result differs: {played.result!r:.300} instead of {clean.result!r:.300}")
    if repeatable is not None:
        for (run_id, key), more in repeated.items():
            if key not in repeatable and name_of(key) not in repeatable:
                times = clean.executed[run_id, key] + more
                problems.append(
                    f"step {key} of {run_id} was executed {times} times, instead of {times - more}: make it repeatable "
                    "(an idempotency key), say so with repeatable=, or make it at_most_once or transactional"
                )
    return Crash(point=point, repeated=repeated, problems=tuple(problems))
