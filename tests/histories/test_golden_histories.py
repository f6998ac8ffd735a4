"""What former versions recorded is replayed by this one, exactly."""

from __future__ import annotations

from pathlib import Path

import pytest

from stepflow import Stepflow
from stepflow.testing import Verdict, check_histories, read_histories
from tests.histories import workflows

RECORDED = Path(__file__).parent / "recorded"
HISTORIES = {history.run.id: history for history in read_histories(RECORDED)}
APP = Stepflow("memory://", workflows=[workflows])


@pytest.mark.parametrize("run_id", HISTORIES)
def test_a_recorded_run_is_replayed_exactly(run_id: str) -> None:
    [found] = check_histories(APP, [HISTORIES[run_id]])

    assert found.verdict is Verdict.IDENTICAL, found.text


def test_there_is_a_history_of_every_workflow() -> None:
    assert {history.run.workflow_id for history in HISTORIES.values()} == set(APP.workflows)


def test_no_history_names_a_file_of_the_machine_it_comes_from() -> None:
    assert [path.name for path in RECORDED.iterdir() if b"/workflows.py" in path.read_bytes()] == []
