"""The runs of a store in memory that are due: found in order, and not remembered after they have gone."""

from __future__ import annotations

from datetime import timedelta

from stepflow.model.states import RunStatus
from stepflow.storage._dictionaries import DueRuns
from stepflow.storage._rules.records import RunState, state_of
from stepflow.testing.storage_contract.building import T0, a_run

MONTH = timedelta(days=30)


def run(number: int, *, until: timedelta, status: RunStatus = RunStatus.SUSPENDED) -> RunState:
    state = state_of(a_run(f"r{number}"), created_pos=number)
    state.status, state.due_at = status, T0 + until
    return state


def test_runs_that_were_woken_early_are_not_remembered_until_their_time_comes() -> None:
    due = DueRuns()
    due.put(run(0, until=MONTH / 2))

    for number in range(1, 5_001):  # waits with a limit of a month, each of which ends at once
        due.put(run(number, until=MONTH))
        due.put(run(number, until=MONTH, status=RunStatus.RUNNING))

    remembered = sum(len(heap) for _, heap in due._heaps("default", None))
    assert remembered < 200


def test_no_run_that_is_due_is_thrown_away_with_those_that_are_not() -> None:
    due = DueRuns()
    for number in range(1, 1_001):
        due.put(run(number, until=timedelta(seconds=1_001 - number)))
        due.put(run(-number, until=MONTH))
        due.drop(f"r{-number}")

    found = due.first("default", None, 2_000, T0 + timedelta(seconds=1_000))

    assert found == [f"r{number}" for number in range(1_000, 0, -1)]
