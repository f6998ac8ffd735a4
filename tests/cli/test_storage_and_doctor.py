"""``stepflow storage`` and ``stepflow doctor``."""

from __future__ import annotations

import sqlite3
from typing import Any

import pytest

from tests.cli.terminal import Answer, Here


def checks_of(answer: Answer) -> dict[str, Any]:
    return {check["name"]: check for check in answer.json["checks"]}


def test_info_counts_what_is_stored(here: Here) -> None:
    here("run", "flows:times_two", "--input", "1", "--id", "r1")
    here("trigger", "shop:app", "breaks", "--id", "r2")
    here("notify", "approval/1")

    told = here("storage", "info")
    found = here("storage", "info", "--json").json

    assert {status: count for status, count in found["runs"].items() if count} == {
        "completed": 1,
        "queued": 1,
    }
    assert (found["backend"], found["events"], found["eventsPinnedBy"]) == ("sqlite", 1, "r2")
    assert found["sizeBytes"] > 0
    assert "kept for run r2" in told.out
    assert "none alive" in told.out


def test_migrate_creates_the_database_and_may_be_repeated(here: Here) -> None:
    first = here("storage", "migrate", "--storage", "sqlite:///new.db")
    again = here("storage", "migrate", "--storage", "sqlite:///new.db", "--json")

    assert first.code == 0
    assert "schema version" in first.out
    assert again.json["schemaVersion"] >= 1
    assert (here.folder / "new.db").exists()


def test_a_schema_from_the_future_is_refused(here: Here) -> None:
    here("storage", "migrate")
    with sqlite3.connect(here.folder / "stepflow.db") as database:
        database.execute("INSERT INTO stepflow_schema VALUES (999, 'future', 'x', 0)")
    database.close()

    answer = here("storage", "info")
    doctor = here("doctor", "--json")

    assert answer.code == 4
    assert "hint: run the release of stepflow that wrote it" in answer.err
    assert (doctor.code, doctor.json["ok"], checks_of(doctor)["storage"]["status"]) == (4, False, "fail")


def test_prune_deletes_old_runs_only(here: Here) -> None:
    here("run", "flows:times_two", "--input", "1", "--id", "r1")

    young = here("storage", "prune", "--json")
    old = here("storage", "prune", "--older-than", "0s", "--events-older-than", "0s")

    assert young.json == {"deleted": 0}
    assert old.out.startswith("deleted 1 ")
    assert here("runs", "show", "r1").code == 3


def test_the_storage_may_come_from_the_environment(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEPFLOW_STORAGE", "sqlite:///elsewhere.db")

    here("run", "flows:times_two", "--input", "1")

    assert (here.folder / "elsewhere.db").exists()
    assert not (here.folder / "stepflow.db").exists()


def test_doctor_finds_nothing_wrong_with_a_fresh_storage(here: Here) -> None:
    here("run", "flows:times_two", "--input", "1")

    told = here("doctor")
    checks = checks_of(here("doctor", "--json"))

    assert told.code == 0
    assert "CPython" in told.out
    assert {check["status"] for check in checks.values()} == {"ok"}
    assert {"python", "extra cli", "storage", "schema", "durability", "workers", "queues"} <= set(checks)


def test_doctor_warns_of_runs_that_nobody_works_on(here: Here) -> None:
    here("trigger", "shop:app", "breaks", "--queue", "slow")
    here("trigger", "shop:app", "breaks", "--id", "r2")
    here("runs", "pause", "r2")

    answer = here("doctor", "--storage", "sqlite:///stepflow.db?synchronous=normal", "--json")

    checks = checks_of(answer)
    assert (answer.code, answer.json["ok"]) == (0, True)
    assert {name for name, check in checks.items() if check["status"] == "warn"} == {
        "durability",
        "workers",
        "paused runs",
        "queues",
    }
    assert "slow (1 runs)" in checks["queues"]["detail"]
    assert "r2" in checks["paused runs"]["detail"]
    assert all(check["advice"] for check in checks.values() if check["status"] != "ok")


def test_doctor_looks_at_an_app_and_its_code(here: Here) -> None:
    here("trigger", "shop:app", "breaks")
    here.write(
        "other.py",
        "import flows\nfrom stepflow import Stepflow\napp = Stepflow('sqlite:///stepflow.db', workflows=[flows.buy])",
    )

    known = checks_of(here("doctor", "shop:app", "--json"))
    unknown = checks_of(here("doctor", "other:app", "--json"))
    broken = here("doctor", "nothing:app", "--json")

    assert known["code"]["status"] == "ok"
    assert (unknown["code"]["status"], "breaks (1 runs)" in unknown["code"]["detail"]) == ("warn", True)
    assert (broken.code, checks_of(broken)["app"]["status"]) == (4, "fail")


def test_doctor_without_a_database_creates_none(here: Here) -> None:
    fresh = here("doctor", "--json")
    nowhere = here("doctor", "--storage", "sqlite:///no/such/folder.db", "--json")

    assert (fresh.code, checks_of(fresh)["storage"]["status"]) == (0, "warn")
    assert (nowhere.code, checks_of(nowhere)["storage"]["status"]) == (4, "fail")
    assert not (here.folder / "stepflow.db").exists()


def test_a_file_that_is_no_database_is_left_alone(here: Here) -> None:
    path = here.write("stepflow.db", "not a database, but somebody's letters" * 50)

    answer = here("runs", "list")

    assert answer.code == 4
    assert answer.err.startswith("error: ")
    assert path.read_text().startswith("not a database")
