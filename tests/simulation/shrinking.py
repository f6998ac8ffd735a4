"""Shrinking: a failing seed made smaller. Fault classes go first, then runs, then what users ask, then parts of programs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from random import Random
from typing import Any

from tests.fundamentals.programs import Node, Step
from tests.simulation import dials as dialling
from tests.simulation.dials import Dials
from tests.simulation.scenarios import Scenario, scenario
from tests.simulation.simulate import Result, simulate

TRIES = 400


class Smaller:
    """What is left of a seed: its dials and its scenario, and how it fails."""

    def __init__(self, seed: int, store: str) -> None:
        self.seed = seed
        self.store = store
        self.dials = dialling.draw(Random(f"dials-{seed}"), failovers=store == "redis-model")
        self.plan = scenario(seed)
        self.result = simulate(seed, store)
        self.tries = 0
        self._kind = kind_of(self.result)

    def try_with(self, dials: Dials, plan: Scenario) -> bool:
        """Keep this, if it still fails in the same way."""
        if self.tries >= TRIES:
            return False
        self.tries += 1
        result = simulate(self.seed, self.store, dials=dials, plan=plan)
        if kind_of(result) != self._kind:
            return False
        self.dials, self.plan, self.result = dials, plan, result
        return True


def kind_of(result: Result) -> str | None:
    """The first failure without what is particular to it."""
    if not result.failed:
        return None
    words = result.failures[0].split()
    plain = [word for word in words if word.strip(":").isalpha()]
    return " ".join(plain[:6])


def shrink(seed: int, store: str) -> Smaller:
    """The smallest failure that leaving things out leads to. The seed must fail."""
    smaller = Smaller(seed, store)
    if not smaller.result.failed:
        raise ValueError(f"seed {seed} does not fail on {store}")
    for kind in dialling.active(smaller.dials):
        smaller.try_with(dialling.without(smaller.dials, kind), smaller.plan)
    progress = True
    while progress and smaller.tries < TRIES:
        progress = any(smaller.try_with(smaller.dials, plan) for plan in _without_something(smaller.plan))
    return smaller


def _without_something(plan: Scenario) -> Iterator[Scenario]:
    """The scenario without one run, or one wish, or one part of a program."""
    for one in plan.plans:
        quiet = replace(one, main=Step("report"), acts=(), generations=1)
        if quiet != one:
            yield _with(plan, quiet)
    for one in plan.plans:
        for place in range(len(one.acts)):
            yield _with(plan, replace(one, acts=one.acts[:place] + one.acts[place + 1 :]))
        if one.generations > 1:
            yield _with(plan, replace(one, generations=1))
        for node in simpler(one.main):
            yield _with(plan, replace(one, main=node))


def _with(plan: Scenario, changed: Any) -> Scenario:
    plans = tuple(changed if one.index == changed.index else one for one in plan.plans)
    return replace(plan, plans=plans)


def simpler(node: Node) -> Iterator[Node]:
    """The parts of a program, and the program with one of its parts made simpler."""
    for field in fields(node):
        value = getattr(node, field.name)
        if is_dataclass(value):
            part: Any = value
            yield part
            for smaller in simpler(part):
                yield replace(node, **{field.name: smaller})
        elif isinstance(value, tuple) and value and is_dataclass(value[0]):
            yield from value
            for place, part in enumerate(value):
                if len(value) > 1:
                    yield replace(node, **{field.name: value[:place] + value[place + 1 :]})
                for smaller in simpler(part):
                    yield replace(node, **{field.name: (*value[:place], smaller, *value[place + 1 :])})
