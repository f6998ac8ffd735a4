"""Appending: the commits that only add to journals, decided by the server in one statement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from stepflow.storage._rules.journal import is_plain
from stepflow.storage.libsql.hrana import Statement
from stepflow.storage.libsql.session import Session
from stepflow.storage.writes import CommitRun, Write
from stepflow.types import RunId

# A row goes in if its writer owns the run and it is the next one. The rows that did are the answer.
_GIVEN = "SELECT value ->> 0 AS run_id, value ->> 1 AS seq, value ->> 2 AS writer, value ->> 3 AS write_id, value ->> 4 AS entries FROM json_each(?)"
_ONE = "SELECT ? AS run_id, ? AS seq, ? AS writer, ? AS write_id, ? AS entries"
_APPEND = """
INSERT INTO stepflow_journal (run_id, seq, writer, write_id, entries)
SELECT g.run_id, g.seq, g.writer, g.write_id, g.entries
FROM ({given}) g CROSS JOIN stepflow_runs r ON r.id = g.run_id AND r.worker = g.writer
WHERE (SELECT max(j.seq) FROM stepflow_journal j WHERE j.run_id = g.run_id) = g.seq - 1
RETURNING run_id
"""
_APPEND_MANY = _APPEND.format(given=_GIVEN)
_APPEND_ONE = _APPEND.format(given=_ONE)
_LARGE = 65_536
_MOST = 1_048_576


def plain_commits(batch: Sequence[Write]) -> Sequence[CommitRun] | None:
    """The batch, if it does nothing but append one row to each of some journals."""
    commits = [write for write in batch if isinstance(write, CommitRun) and is_plain(write)]
    if len(commits) < len(batch) or len({commit.run_id for commit in commits}) < len(commits):
        return None
    return commits


async def append(session: Session, commits: Sequence[CommitRun], encoded: Mapping[int, str]) -> set[RunId]:
    """Append what can be appended; the runs whose row went in now."""
    statements: list[Statement] = []
    some: list[tuple[str, int, str, str, str]] = []
    size = 0
    for commit in commits:
        entries = encoded[id(commit.entries)]
        row = (commit.run_id, commit.seq, commit.writer, commit.write_id, entries)
        if len(entries) > _LARGE:
            statements.append(Statement(_APPEND_ONE, row))
            continue
        some.append(row)
        size += len(entries)
        if size > _MOST:
            statements.append(_many(some))
            some, size = [], 0
    if some:
        statements.append(_many(some))
    answers = await session.send(statements)
    return {str(row[0]) for answer in answers for row in answer.rows}


def _many(rows: Sequence[tuple[str, int, str, str, str]]) -> Statement:
    return Statement(_APPEND_MANY, (msgspec.json.encode(rows).decode(),))
