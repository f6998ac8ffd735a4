"""The proof: how often each body ran, by the ledger, against how often the engine says it had to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from demo.picture import Line
from stepflow import StepKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """Labels of steps, by what the crash did to them. ``unexplained`` has to be empty."""

    survived: tuple[str, ...]
    repeated: tuple[str, ...]
    later: tuple[str, ...]
    retried: int
    unexplained: tuple[str, ...]


def settle(lines: Sequence[Line], finished_before: set[str], killed_at: datetime) -> Account:
    """Sort the steps of a finished run.

    A body more than the attempts recorded is explained by one thing only: the step was in flight when the worker
    was killed, so nobody can know whether it had done its work.
    """
    steps = [line for line in lines if line.kind is StepKind.STEP]
    extra = {line.label: len(line.bodies) - line.attempts for line in steps}
    in_flight = {
        line.label
        for line in steps
        if line.bodies and line.bodies[0].time < killed_at and line.label not in finished_before
    }
    once = [line.label for line in steps if extra[line.label] == 0]
    repeated = [line.label for line in steps if extra[line.label] == 1 and line.label in in_flight]
    return Account(
        survived=tuple(label for label in once if label in finished_before),
        repeated=tuple(repeated),
        later=tuple(label for label in once if label not in finished_before),
        retried=sum(line.attempts - 1 for line in steps),
        unexplained=tuple(line.label for line in steps if line.label not in {*once, *repeated}),
    )
