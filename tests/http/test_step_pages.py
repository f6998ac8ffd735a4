"""The pages of a run's steps, one after the other, are its steps; and a page of a long run costs what a page of a short one does."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from stepflow.http.inputs import Refused
from stepflow.http.step_pages import Place, read_place, read_steps_page, write_place
from stepflow.model.events import Wait
from stepflow.model.failures import Failure
from stepflow.model.folding import fold_steps
from stepflow.model.journal import (
    AttemptFailed,
    AttemptStarted,
    ChildEnded,
    ChildStarted,
    Claimed,
    Entry,
    JournalRow,
    StepCompleted,
    StepFailed,
    TimerFired,
)
from stepflow.model.names import END
from stepflow.model.payloads import Payload
from stepflow.model.states import RunStatus
from stepflow.model.steps import StepView
from stepflow.storage.base import Storage

AT = datetime(2026, 1, 1, tzinfo=UTC)
VALUE = Payload(codec="json", data=b"1")  # type: ignore[arg-type]
FAILURE = Failure(type="ValueError", message="no")


@dataclass
class Record:
    """What is looked at of a run's record."""

    seq: int
    attempt: int = 1
    first_seq: int = 1
    waits: tuple[Wait, ...] = ()
    id: str = "r"


@dataclass
class Journal:
    """A storage with one run's journal; counts the rows that are read of it."""

    rows: list[JournalRow] = field(default_factory=list[JournalRow])
    read: int = 0

    def write(self, *entries: Entry) -> None:
        seq = len(self.rows) + 1
        self.rows.append(JournalRow(run_id="r", seq=seq, writer="w", write_id="x", entries=entries))

    def record(self, **more: Any) -> Record:
        attempts = [
            each.attempt for row in self.rows for each in row.entries if isinstance(each, AttemptStarted)
        ]
        return Record(len(self.rows), max(attempts, default=1), **more)

    async def read_journal(
        self, run_id: str, *, after: int = 0, limit: int | None = None
    ) -> Sequence[JournalRow]:
        found = [row for row in self.rows if row.seq > after][:limit]
        self.read += len(found)
        return found

    async def page(self, record: Record, begin: Place, limit: int) -> tuple[Sequence[StepView], Place | None]:
        return await read_steps_page(cast("Storage", self), cast("Any", record), begin, limit)

    async def pages(self, record: Record, limit: int) -> list[StepView]:
        """All of them, with cursors that have travelled."""
        found: list[StepView] = []
        begin: Place | None = Place()
        while begin is not None:
            steps, following = await self.page(record, begin, limit)
            assert len(steps) <= limit
            assert len(steps) == limit or following is None
            found += steps
            begin = None if following is None else read_place(write_place(following, "r"), "r")
        return found

    def folded(self, record: Record) -> list[StepView]:
        return fold_steps([entry for row in self.rows for entry in row.entries], record.waits)


def completed(key: str) -> StepCompleted:
    return StepCompleted(key=key, at=AT, function="f", value=VALUE)


def failing(key: str, attempt: int = 1) -> AttemptFailed:
    return AttemptFailed(key=key, at=AT, function="f", attempt=attempt, failure=FAILURE, retry_at=AT)


def failed(key: str) -> StepFailed:
    return StepFailed(key=key, at=AT, function="f", failure=FAILURE)


def child(key: str) -> ChildStarted:
    return ChildStarted(key=key, at=AT, child_id=f"c{key}", workflow_id="w")


def child_end(key: str, status: RunStatus = RunStatus.COMPLETED) -> ChildEnded:
    return ChildEnded(key=f"{key}{END}", at=AT, child_id=f"c{key}", workflow_id="w", pos=1, status=status)


def a_wait(number: int) -> Wait:
    return Wait(event_id=f"e{number}", after=0, name=f"e{number}")


class Story:
    """A run of some attempts, with steps that fail, wait and overlap: what was not completed comes up again in the next."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.again: list[str] = []
        self.undone: list[str] = []
        self.retrying: list[str] = []
        self.children: list[str] = []
        self.attempt, self.number = 1, 0

    def key(self) -> str:
        if self.again and self.chance.random() < 0.7:
            return self.taken(self.again)
        self.number += 1
        return f"s{self.number}"

    def taken(self, keys: list[str]) -> str:
        return keys.pop(self.chance.randrange(len(keys)))

    def unfinished(self, entry: Any, keys: list[str]) -> Entry:
        keys.append(entry.key)
        return cast("Entry", entry)

    def next(self) -> Entry:
        match self.chance.randrange(12):
            case 0 | 1:
                return self.unfinished(failing(self.key()), self.retrying)
            case 2 if self.retrying:
                return completed(self.taken(self.retrying))
            case 3 if self.retrying:
                return self.unfinished(failed(self.taken(self.retrying)), self.undone)
            case 4 | 5:
                return self.unfinished(child(self.key()), self.children)
            case 6 if self.children:
                return child_end(self.taken(self.children))
            case 7 if self.children:
                key = self.taken(self.children)
                self.undone.append(key)
                return child_end(key, RunStatus.FAILED)
            case 8:
                return self.unfinished(failed(self.key()), self.undone)
            case 9 if self.chance.random() < 0.3:
                self.again += [*self.undone, *self.retrying, *self.children]
                self.undone, self.retrying, self.children = [], [], []
                self.attempt += 1
                return AttemptStarted(at=AT, attempt=self.attempt)
            case 10:
                sleep = self.chance.random() < 0.5
                return TimerFired(key=self.key(), at=AT, delay=1, sleep=sleep)
            case _:
                return completed(self.key())


def random_journal(chance: random.Random) -> Journal:
    """Several entries in a row now and then."""
    journal, story = Journal(), Story(chance)
    row: list[Entry] = [Claimed(at=AT, worker="w", python="3")]
    for _ in range(chance.randrange(1, 120)):
        row.append(story.next())
        if chance.random() < 0.6:
            journal.write(*row)
            row = []
    journal.write(*row)
    return journal


@pytest.mark.parametrize("seed", range(300))
async def test_the_pages_together_are_the_steps(seed: int) -> None:
    chance = random.Random(seed)
    journal = random_journal(chance)
    record = journal.record(waits=tuple(map(a_wait, range(chance.randrange(4)))))

    assert await journal.pages(record, chance.choice([1, 2, 3, 7, 50])) == journal.folded(record)


async def test_a_page_of_a_long_run_reads_little_more_than_it_shows_wherever_it_is() -> None:
    journal = Journal()
    for number in range(20_000):
        journal.write(completed(f"s{number}"))
    record = journal.record()
    begin, costs = Place(), []
    for _ in range(20):
        journal.read = 0
        steps, following = await journal.page(record, begin, 200)
        costs.append(journal.read)
        assert len(steps) == 200
        assert following is not None
        assert len(write_place(following, "r")) < 100
        begin = following

    assert max(costs) <= 400


async def test_only_a_page_with_an_unfinished_step_reads_on_for_its_end() -> None:
    journal = Journal()
    journal.write(child("long"))
    for number in range(5_000):
        journal.write(completed(f"s{number}"))
    journal.write(child_end("long"))
    record = journal.record()

    first, following = await journal.page(record, Place(), 100)
    assert following is not None
    journal.read = 0
    second, _ = await journal.page(record, following, 100)

    assert (first[0].key, first[0].status) == ("long", "completed")
    assert second[0].key == "s99"
    assert following.open == ("long",)
    assert journal.read <= 200


async def test_failures_of_an_earlier_attempt_are_not_shown_though_the_page_was_full_without() -> None:
    journal = Journal()
    for number in range(10):
        journal.write(failed(f"a{number}"))
    journal.write(AttemptStarted(at=AT, attempt=2))
    for number in range(10):
        journal.write(completed(f"b{number}"))

    steps, _ = await journal.page(journal.record(), Place(), 5)

    assert [step.key for step in steps] == [f"b{number}" for number in range(5)]


async def test_more_unfinished_steps_than_a_cursor_can_name_are_counted_instead() -> None:
    journal = Journal()
    journal.write(*(child(f"a-child-with-a-long-name-{number:03}") for number in range(500)))
    for number in range(50):
        journal.write(completed(f"s{number}"))
    record = journal.record(waits=tuple(map(a_wait, range(30))))

    _, following = await journal.page(record, Place(), 200)

    assert following is not None
    assert len(write_place(following, "r")) < 3_000
    assert await journal.pages(record, 200) == journal.folded(record)
    assert await journal.pages(record, 7) == journal.folded(record)


async def test_steps_that_are_recorded_while_somebody_turns_pages_are_neither_doubled_nor_skipped() -> None:
    journal = Journal()
    for number in range(10):
        journal.write(completed(f"s{number}") if number % 3 else failing(f"s{number}"))
    seen: list[str] = []
    begin: Place | None = Place()
    while begin is not None:
        steps, begin = await journal.page(journal.record(), begin, 4)
        seen += [step.key for step in steps]
        if len(journal.rows) < 16:
            number = len(journal.rows)
            journal.write(completed("s0") if number == 10 else completed(f"s{number}"))

    assert len(seen) == len(set(seen))
    assert set(seen) >= {f"s{number}" for number in range(10)}


async def test_a_journal_that_began_anew_meanwhile_goes_on_with_what_it_has() -> None:
    journal = Journal()
    for number in range(10):
        journal.write(completed(f"s{number}"))
    _, following = await journal.page(journal.record(), Place(), 4)
    assert following is not None
    journal.rows = journal.rows[7:]
    record = Record(10, first_seq=8)

    steps, _ = await journal.page(record, following, 4)

    assert [step.key for step in steps] == ["s7", "s8", "s9"]


@pytest.mark.parametrize(
    "cursor",
    ["", "x", "é", "AAAA", "e30", write_place(Place(seq=3), "another"), write_place(Place(), "r") + "A"],
)
def test_a_cursor_that_this_run_did_not_give_is_refused(cursor: str) -> None:
    with pytest.raises(Refused):
        read_place(cursor, "r")
