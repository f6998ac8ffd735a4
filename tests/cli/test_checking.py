"""``stepflow storage check``."""

from __future__ import annotations

import sqlite3
from contextlib import closing

from tests.cli.terminal import Here


def damage(here: Here, *statements: str) -> None:
    with closing(sqlite3.connect(here.folder / "stepflow.db")) as database:
        for statement in statements:
            database.execute(statement)
        database.commit()


def test_check_says_that_all_is_well(here: Here) -> None:
    here("run", "flows:times_two", "--input", "1", "--id", "r1")

    told = here("storage", "check")
    found = here("storage", "check", "--json").json

    assert told.code == 0
    assert "checked 1 runs" in told.err
    assert "nothing is wrong" in told.err
    assert found["ok"]
    assert (found["runs"], found["findings"]) == (1, [])


def test_check_names_the_run_what_is_wrong_and_what_to_do(here: Here) -> None:
    here("run", "flows:times_two", "--input", "1", "--id", "r1")
    here("run", "flows:times_two", "--input", "1", "--id", "r2")
    damage(here, "UPDATE stepflow_runs SET output = NULL WHERE id = 'r1'")

    told = here("storage", "check")
    found = here("storage", "check", "--json")

    assert told.code == 4
    assert "1 thing is wrong" in told.err
    [line] = [line for line in told.out.splitlines() if "r1" in line]
    assert "end-mismatch" in line
    assert "stepflow runs retry r1" in line
    assert (found.code, found.json["ok"]) == (4, False)
    [finding] = found.json["findings"]
    assert (finding["runId"], finding["what"], finding["damage"]) == ("r1", "end-mismatch", True)


def test_check_of_one_run_looks_at_no_other(here: Here) -> None:
    here("run", "flows:times_two", "--input", "1", "--id", "r1")
    here("run", "flows:times_two", "--input", "1", "--id", "r2")
    damage(here, "UPDATE stepflow_runs SET output = NULL WHERE id = 'r1'")

    well, ill, unknown = (here("storage", "check", "--run", run_id) for run_id in ("r2", "r1", "r3"))

    assert (well.code, ill.code, unknown.code) == (0, 4, 3)


def test_check_stops_at_its_limit(here: Here) -> None:
    here("run", "flows:times_two", "--input", "1", "--id", "r1")
    damage(here, *(f"INSERT INTO stepflow_inputs VALUES ('nobody-{n}', 'json', '1')" for n in range(5)))

    answer = here("storage", "check", "--limit", "3", "--json")

    assert len(answer.json["findings"]) == 3
    assert "stopped after 3 findings" in answer.err
