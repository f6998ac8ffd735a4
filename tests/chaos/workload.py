"""Workload: the simulator's scenarios in real seconds, hundreds of them side by side on one store."""

from __future__ import annotations

import functools
from dataclasses import fields, is_dataclass, replace
from typing import Any, Final

from stepflow import Retry, step
from tests.simulation import workflows
from tests.simulation.scenarios import EVENTS, RUNS, Act, Plan, scenario
from tests.simulation.workflows import STAGE, WORKFLOWS

__all__ = ["RUNS", "WORKFLOWS"]

SCALE: Final = 0.12
"""Seconds of the clock for one of a scenario: a run of half a minute is over in four, and few processes live longer."""

SPAN: Final = 20.0
"""Seconds after which a scenario's users have asked for everything that they ever will."""

_SCENARIOS_OF_A_SEED: Final = 100_000_000
_DURATIONS: Final = frozenset({"seconds", "patience", "then"})


class Plans:
    """Every run of the play by its number; drawn when somebody asks, the same in every process."""

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def __getitem__(self, index: int) -> Plan:
        number, place = divmod(index, RUNS)
        return self.of(number)[place]

    def of(self, number: int) -> tuple[Plan, ...]:
        """The runs of one scenario."""
        return _drawn(self._seed * _SCENARIOS_OF_A_SEED + number, number)


class Playbill:
    """What is played: a scenario as the workflows of the simulator know it."""

    def __init__(self, seed: int) -> None:
        self.plans = Plans(seed)


@functools.lru_cache(maxsize=1_000)
def _drawn(seed: int, number: int) -> tuple[Plan, ...]:
    return tuple(_placed_plan(plan, number) for plan in scenario(seed).plans)


def event_ids(number: int) -> tuple[str, ...]:
    """The events that runs of this scenario wait for: each scenario has some of its own."""
    return tuple(f"scenario-{number}/{event_id}" for event_id in EVENTS)


def _placed_plan(plan: Plan, number: int) -> Plan:
    first = number * RUNS
    return replace(
        plan,
        index=first + plan.index,
        main=_placed(plan.main, number),
        at=plan.at * SCALE,
        delay=plan.delay * SCALE,
        acts=tuple(_placed_act(act, number) for act in plan.acts),
    )


def _placed_act(act: Act, number: int) -> Act:
    event_id = f"scenario-{number}/{act.event_id}" if act.event_id else ""
    return replace(act, at=act.at * SCALE, run=number * RUNS + act.run, event_id=event_id)


def _placed(node: Any, number: int) -> Any:
    """The same program with event ids of its scenario, and in seconds of the clock."""
    changed: dict[str, Any] = {}
    for field in fields(node):
        value = getattr(node, field.name)
        if field.name == "event_id":
            changed[field.name] = f"scenario-{number}/{value}"
        elif field.name in _DURATIONS and value is not None:
            changed[field.name] = value * SCALE
        elif is_dataclass(value):
            changed[field.name] = _placed(value, number)
        elif isinstance(value, tuple):
            changed[field.name] = tuple(
                _placed(part, number) if is_dataclass(part) else part for part in value
            )
    return replace(node, **changed)


def take_the_stage(seed: int, ledger: Any) -> None:
    """From now on the simulator's workflows play this in a real process: plain functions on threads, short retries."""
    STAGE.scenario = Playbill(seed)  # type: ignore[assignment]
    STAGE.ledger = ledger
    STAGE.process = lambda: None
    workflows.OPTIONS.update(
        charge=step(retry=Retry(attempts=3, delay="120ms")),
        ship=step(retry=Retry(attempts=2, delay="1s", jitter=False)),
        mail=step(executor="thread", retry=Retry(attempts=2, delay="30ms")),
        consume=step(timeout="480ms"),
    )
