"""Hunts: what may notice that a rule of the replay loop is left out: properties over random programs, and single tests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

import pytest

from tests.fundamentals.generated import crowded, program
from tests.fundamentals.programs import Futures, Program, Step
from tests.fundamentals.replaying import check, check_next_attempt
from tests.fundamentals.test_deploy_properties import check_deploy

Mutant = Callable[[pytest.MonkeyPatch], None]
Notices = Callable[[], object]
LIMIT = 300
"""How many programs a property may take to notice."""


@dataclass(frozen=True)
class Hunt:
    """A property, and the seed of a program that is known to be noticed (others are tried if it is not, any more)."""

    property: Callable[[int], None]
    seed: int = 0

    def __call__(self) -> None:
        for seed in (self.seed, *range(LIMIT)):
            self.property(seed)


@dataclass(frozen=True)
class Case:
    """A test with its parameters."""

    test: Callable[..., None]
    parameters: tuple[Any, ...] = ()

    def __call__(self) -> None:
        self.test(*self.parameters)


def case(test: Callable[..., None], *parameters: Any) -> Case:
    return Case(test, parameters)


# ------------------------------------------------------------------ properties
def replays(seed: int) -> None:
    check(program(Random(seed)))


def crowds(seed: int) -> None:
    check(crowded(Random(seed)))


def futures(seed: int) -> None:
    check(Program(Futures(tuple(Step("charge") for _ in range(9))), seed))


def next_attempts(seed: int) -> None:
    check_next_attempt(program(Random(seed)))


def deploys(seed: int) -> None:
    check_deploy(Random(seed))
