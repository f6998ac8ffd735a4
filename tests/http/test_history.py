"""The last steps of a run are shown with their results, whatever came before them and whatever was undone after them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, cast

from stepflow.http.history import read_history
from stepflow.model.failures import Failure
from stepflow.model.folding import fold_steps
from stepflow.model.journal import AttemptStarted, Entry, JournalRow, StepCompleted, StepFailed
from stepflow.model.payloads import Payload
from stepflow.storage.base import Storage
from stepflow.wire.records import STEPS_LIMIT

AT = datetime(2026, 1, 1, tzinfo=UTC)
VALUE = Payload(codec="json", data=b"1")


class Journal:
    """A storage with one run's journal, an entry a row; remembers the largest page that was asked for."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        self.rows = [
            JournalRow(run_id="r", seq=seq, writer="w", write_id="x", entries=(entry,))
            for seq, entry in enumerate(entries, 1)
        ]
        self.largest = 0

    async def read_journal(
        self, run_id: str, *, after: int = 0, limit: int | None = None
    ) -> Sequence[JournalRow]:
        found = [row for row in self.rows if row.seq > after][:limit]
        self.largest = max(self.largest, len(found))
        return found


class Record:
    """What is looked at of a run's record."""

    id = "r"
    first_seq = 1
    waits = ()

    def __init__(self, seq: int) -> None:
        self.seq = seq


def completed(number: int) -> StepCompleted:
    return StepCompleted(key=f"s{number}", at=AT, function="f", value=VALUE)


async def history(journal: Journal, seq: int) -> Any:
    return await read_history(cast("Storage", journal), cast("Any", Record(seq)))


async def test_results_are_kept_of_the_last_steps_only_and_read_in_pages() -> None:
    journal = Journal([completed(number) for number in range(1_000)])

    found = await history(journal, 1_000)

    assert [step.key for step in found.steps] == [f"s{number}" for number in range(1_000)]
    assert all(step.result is VALUE for step in found.steps[-STEPS_LIMIT:])
    assert not any(step.result for step in found.steps[: 1_000 - 2 * STEPS_LIMIT])
    assert journal.largest <= 100
    assert str(found.last) == "1000.0"


async def test_what_came_after_the_record_was_read_is_not_told() -> None:
    found = await history(Journal([completed(number) for number in range(5)]), 3)

    assert [step.key for step in found.steps] == ["s0", "s1", "s2"]
    assert str(found.last) == "3.0"


async def test_steps_that_are_the_last_ones_again_have_their_results_again() -> None:
    failure = Failure(type="ValueError", message="no")
    entries: list[Entry] = [
        *(completed(number) for number in range(300)),
        *(StepFailed(key=f"f{number}", at=AT, function="f", failure=failure) for number in range(300)),
        AttemptStarted(at=AT, attempt=2),
    ]

    found = await history(Journal(entries), len(entries))

    assert list(found.steps) == fold_steps(entries)
    assert all(step.result is VALUE for step in found.steps)
