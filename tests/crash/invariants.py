"""The standing invariants, asked of the SQLite file itself, with nothing of the engine in between.

``check_standing`` holds at any instant, also between a crash and the recovery; ``check_finished`` once everything has ended.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import msgspec

from stepflow.model.journal import (
    AttemptStarted,
    Continued,
    Ended,
    Entry,
    StepCompleted,
    StepFailed,
    StepInterrupted,
    decode_entries,
)
from tests.crash.ledger import Step

_ENDED = "('completed', 'failed', 'cancelled')"

# Sentence → the query that finds what contradicts it.
STANDING = {
    "a journal has no gap and begins at its first seq": """
        SELECT r.id, r.first_seq, min(j.seq), max(j.seq), count(*) FROM stepflow_runs r
        JOIN stepflow_journal j ON j.run_id = r.id GROUP BY r.id
        HAVING min(j.seq) <> r.first_seq OR max(j.seq) - min(j.seq) + 1 <> count(*)""",
    "every journal is of a run": """
        SELECT run_id FROM stepflow_journal WHERE run_id NOT IN (SELECT id FROM stepflow_runs)""",
    "a run that was claimed has a journal": """
        SELECT id FROM stepflow_runs
        WHERE started_at IS NOT NULL AND id NOT IN (SELECT run_id FROM stepflow_journal)""",
    "a running run has an owner and is not due": """
        SELECT id FROM stepflow_runs WHERE status = 'running' AND (worker IS NULL OR due_at IS NOT NULL)""",
    "only running runs have an owner": """
        SELECT id FROM stepflow_runs WHERE status <> 'running' AND worker IS NOT NULL""",
    "a queued run is due some time": """
        SELECT id FROM stepflow_runs WHERE status = 'queued' AND due_at IS NULL""",
    "a suspended run has something that wakes it": """
        SELECT id FROM stepflow_runs WHERE status = 'suspended' AND due_at IS NULL
        AND id NOT IN (SELECT run_id FROM stepflow_waits)""",
    "a suspended run does not wait for an event that is there": """
        SELECT r.id, w.event_id FROM stepflow_runs r JOIN stepflow_waits w ON w.run_id = r.id
        JOIN stepflow_events e ON e.event_id = w.event_id AND e.pos > w.after_pos
            AND (e.run_id IS NULL OR e.run_id = r.id)
        WHERE r.status = 'suspended'""",
    "only runs that have not ended wait": f"""
        SELECT run_id FROM stepflow_waits WHERE run_id NOT IN
        (SELECT id FROM stepflow_runs WHERE status NOT IN {_ENDED})""",
    "an ended run has an end, and no other has one": f"""
        SELECT id FROM stepflow_runs WHERE (status IN {_ENDED}) <> (ended_at IS NOT NULL)""",
    "an ended run is not due": f"""
        SELECT id FROM stepflow_runs WHERE status IN {_ENDED} AND due_at IS NOT NULL""",
    "every run has its input": """
        SELECT id FROM stepflow_runs WHERE id NOT IN (SELECT run_id FROM stepflow_inputs)""",
    "an attached child has a parent": """
        SELECT id FROM stepflow_runs WHERE parent_id NOT IN (SELECT id FROM stepflow_runs)""",
    "the end of an attached child is told to its parent, while there is one": f"""
        SELECT c.id FROM stepflow_runs c JOIN stepflow_runs p ON p.id = c.parent_id
        WHERE c.parent_detached = 0 AND c.status IN {_ENDED} AND p.status NOT IN {_ENDED}
        AND 'run/' || c.id NOT IN (SELECT event_id FROM stepflow_events)""",
    "an attached child of an ended run is ended or told to end": f"""
        SELECT c.id FROM stepflow_runs c JOIN stepflow_runs p ON p.id = c.parent_id
        WHERE c.parent_detached = 0 AND p.status IN {_ENDED} AND c.status NOT IN {_ENDED} AND c.cancel = 0""",
}

FINISHED = {
    "every run has ended": f"SELECT id, status, worker FROM stepflow_runs WHERE status NOT IN {_ENDED}",
    "nobody waits": "SELECT * FROM stepflow_waits",
    "no worker is registered": "SELECT id FROM stepflow_workers",
}


@contextmanager
def opened(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection that sees one instant of the file, whoever writes to it meanwhile."""
    with closing(sqlite3.connect(path, timeout=10, isolation_level=None)) as connection:
        connection.execute("PRAGMA query_only = 1")
        connection.execute("BEGIN")
        yield connection


def check_standing(path: Path) -> None:
    """What must hold at any instant."""
    with opened(path) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'stepflow_runs'").fetchone():
            return  # killed before there was a schema
        _check(connection, STANDING)
        for run_id, status in connection.execute("SELECT id, status FROM stepflow_runs").fetchall():
            _check_entries(run_id, status, _entries(connection, run_id))


def check_finished(path: Path) -> None:
    """What must hold when all runs have ended and all workers were closed."""
    check_standing(path)
    with opened(path) as connection:
        _check(connection, FINISHED)
    locks = path.with_name(f"{path.name}-workers")
    assert not locks.is_dir() or list(locks.iterdir()) == [], "no lock file is left"


def recorded_steps(path: Path) -> set[Step]:
    """The steps whose outcome is durable: they must never run again."""
    with opened(path) as connection:
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'stepflow_runs'").fetchone():
            return set()
        found: set[Step] = set()
        for (run_id,) in connection.execute("SELECT id FROM stepflow_runs").fetchall():
            for entry in _entries(connection, run_id):
                if isinstance(entry, StepCompleted | StepFailed | StepInterrupted):
                    found.add((run_id, entry.key))
        for run_id, text in connection.execute("SELECT run_id, input FROM stepflow_inputs").fetchall():
            value: Any = msgspec.json.decode(text)
            if isinstance(value, dict) and "generation" in value:  # what its journal had of these was deleted
                found |= {(run_id, f"generation-{n}") for n in range(1, value["generation"])}
        return found


def writers_by_seq(path: Path, run_id: str) -> list[str]:
    """Who wrote the run's journal rows, in their order."""
    with opened(path) as connection:
        rows = connection.execute(
            "SELECT writer FROM stepflow_journal WHERE run_id = ? ORDER BY seq", (run_id,)
        )
        return [writer for (writer,) in rows]


def entries_of(path: Path, run_id: str) -> list[Entry]:
    with opened(path) as connection:
        return _entries(connection, run_id)


def _entries(connection: sqlite3.Connection, run_id: str) -> list[Entry]:
    rows = connection.execute("SELECT entries FROM stepflow_journal WHERE run_id = ? ORDER BY seq", (run_id,))
    return [entry for (text,) in rows for entry in decode_entries(text)]


def _check(connection: sqlite3.Connection, sentences: dict[str, str]) -> None:
    for sentence, query in sentences.items():
        assert connection.execute(query).fetchall() == [], f"not true: {sentence}"


def _check_entries(run_id: str, status: str, entries: list[Entry]) -> None:
    """One outcome of a step in each attempt, one end, and nothing after it."""
    outcomes: set[str] = set()
    ends = 0
    for entry in entries:
        assert ends == 0 or isinstance(entry, AttemptStarted), f"{run_id}: {entry} after its end"
        match entry:
            case AttemptStarted():
                outcomes.clear()
                ends = 0
            case Continued():
                outcomes.clear()
            case StepCompleted(key=key) | StepFailed(key=key) | StepInterrupted(key=key):
                assert key not in outcomes, f"{run_id}: step {key} has two outcomes"
                outcomes.add(key)
            case Ended():
                ends += 1
                assert entry.status == status, f"{run_id} is {status}, its journal says {entry.status}"
            case _:
                pass
    assert ends == (status in _ENDED), f"{run_id}: {status}, and {ends} ends in its journal"
