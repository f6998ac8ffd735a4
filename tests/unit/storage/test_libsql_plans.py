"""libSQL's own queries find what they look for by an index, however many rows there are."""

from __future__ import annotations

import sqlite3

import pytest

from stepflow.storage.libsql import appending, claiming, reading, working_set
from stepflow.storage.sqlite.operations import runs
from stepflow.storage.sqlite.schema import MIGRATIONS, statements_of

QUERIES = {
    "the runs that a batch concerns": runs._LOAD + working_set._WIDE,
    "who waits for what is sent": working_set._WAITING,
    "the last event of each wait": working_set._LAST,
    "children of a run that is new": working_set._CHILDREN,
    "due runs": claiming._DUE,
    "the next due instant": claiming._NEXT_DUE,
    "runs without a worker": claiming._ORPHANED,
    "queues of runs without a worker": reading._ORPHANED_QUEUES,
    "journals of claimed runs": claiming._TAILS,
    "a page of a journal": reading._PAGE,
    "appending": appending._APPEND_MANY,
}


@pytest.mark.parametrize("query", QUERIES.values(), ids=QUERIES)
def test_no_query_of_the_hot_path_looks_at_every_row(query: str) -> None:
    connection = sqlite3.connect(":memory:")
    for migration in MIGRATIONS:
        for statement in statements_of(migration.text):
            connection.execute(statement)
    parameters = 4 if "?4" in query else 3 if "?3" in query else 2 if "?2" in query else query.count("?")

    plan = connection.execute(f"EXPLAIN QUERY PLAN {query}", ["[]"] * parameters).fetchall()
    connection.close()

    aliases = {"r", "d", "j", "e", "c", "p", "k"}  # as the queries call our tables
    scans = [
        detail.split()[1] for *_, detail in plan if detail.startswith("SCAN") and "VIRTUAL" not in detail
    ]
    assert not [name for name in scans if name in aliases or name.startswith("stepflow_")], plan
