"""``stepflow runs``: list, show and steer."""

from __future__ import annotations

import pytest

from tests.cli.terminal import Here, start, stepflow


def test_list_filters_and_pages(here: Here) -> None:
    for number in range(3):
        here("trigger", "shop:app", "breaks", "--id", f"r{number}", "--tag", f"n={number}")
    here("runs", "pause", "r1")

    first = here("runs", "list", "--limit", "2", "--json").json
    rest = here("runs", "list", "--limit", "2", "--cursor", first["nextCursor"], "--json").json
    paused = here("runs", "list", "--status", "paused,failed", "--json").json
    tagged = here(
        "runs", "list", "--tag", "n=2", "--workflow", "breaks", "--created-after", "1h", "--json"
    ).json
    old = here("runs", "list", "--created-before", "2020-01-01").out

    assert [run["id"] for run in first["items"]] == ["r2", "r1"]
    assert [run["id"] for run in rest["items"]] == ["r0"]
    assert rest["nextCursor"] is None
    assert [run["id"] for run in paused["items"]] == ["r1"]
    assert [run["id"] for run in tagged["items"]] == ["r2"]
    assert "steps" not in tagged["items"][0]
    assert old.split() == ["run", "workflow", "status", "created", "took", "note", "tags"]


def test_list_for_a_pipe_is_plain_columns_with_nothing_cut_off(
    here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    here("trigger", "shop:app", "breaks", "--id", "r" * 150, "--tag", "a=\x1b[2Jb")

    header, row = here("runs", "list").out.splitlines()

    assert header.split()[:3] == ["run", "workflow", "status"]
    assert row.split()[:3] == ["r" * 150, "breaks", "queued"]
    assert row.endswith("a=\\x1b[2Jb")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--status", "broken"], "there are queued, running"),
        (["--limit", "0"], "--limit"),
        (["--created-after", "yesterday"], "2026-01-31T12:00"),
        (["--cursor", "nonsense"], "cursor"),
    ],
)
def test_list_refuses_what_it_does_not_know(here: Here, arguments: list[str], told: str) -> None:
    here("trigger", "shop:app", "breaks")

    answer = here("runs", "list", *arguments)

    assert answer.code == 2
    assert told in answer.err


def test_show_draws_steps_and_time(here: Here) -> None:
    here("run", "flows:stumbles", "--id", "r1", "--tag", "team=a")

    shown = here("runs", "show", "r1")

    lines = shown.out.splitlines()
    [step] = [line for line in lines if "stumble " in line and "step" in line]
    [bar] = [line for line in lines if line.startswith("stumble ")]
    assert step.split()[1:5] == ["stumble", "step", "completed", "2"]
    assert '"up again"' in step
    assert "█" in bar
    assert any(line.startswith("run  ") and "█" in line for line in lines)
    assert any(line.split() == ["tags", "team=a"] for line in lines)


def test_show_tells_failures_with_tracebacks_on_demand(here: Here) -> None:
    here("run", "flows:breaks", "--id", "r1")

    plain = here("runs", "show", "r1")
    traced = here("runs", "show", "r1", "--traceback")

    assert "ValueError: the \\x1b[31mgateway [bold]said no" in plain.out
    assert "flows.py" not in plain.out
    assert "flows.py" in traced.out
    assert "\x1b" not in traced.out


def test_show_names_events_and_children_as_people_do(here: Here) -> None:
    here("run", "flows:family", "--input", "[1]", "--id", "r1")
    here("trigger", "shop:app", "approval", "--input", '"o1"', "--id", "r2")
    here("notify", "approval/o1", "--payload", '"yes"')
    here("run", "flows:approval", "--id", "r2")

    assert "times-two" in here("runs", "show", "r1").out
    assert "approval/o1" in here("runs", "show", "r2").out


def test_json_of_a_run_escapes_what_a_terminal_would_obey(here: Here) -> None:
    here("run", "flows:times_two", "--id", "r1", "--input", "2", "--tag", "a=\x9b31m\u202e")

    shown = here("runs", "show", "r1", "--json")

    assert shown.json["tags"] == {"a": "\x9b31m\u202e"}
    assert "\\u009b31m\\u202e" in shown.out


def test_steering_says_what_was_done_or_refused(here: Here) -> None:
    here("trigger", "shop:app", "breaks", "--id", "r1")

    paused = here("runs", "pause", "r1")
    resumed = here("runs", "resume", "r1", "--json")
    refused = here("runs", "delete", "r1")
    cancelled = here("runs", "cancel", "r1")
    retried = here("runs", "retry", "r1")
    forced = here("runs", "cancel", "r1", "--force")
    deleted = here("runs", "delete", "r1")
    gone = here("runs", "show", "r1")

    assert paused.out == "r1: paused\n"
    assert resumed.json == {"items": [{"id": "r1", "action": "resume", "status": "queued"}]}
    assert (refused.code, refused.out) == (3, "")
    assert "can't delete run 'r1': it is queued" in refused.err
    assert (cancelled.out, retried.out, forced.out) == (
        "r1: cancelled\n",
        "r1: queued again\n",
        "r1: cancelled\n",
    )
    assert (deleted.code, deleted.out) == (0, "r1: deleted\n")
    assert gone.code == 3


def test_steering_several_runs_does_what_it_can(here: Here) -> None:
    here("trigger", "shop:app", "breaks", "--id", "r1")

    answer = here("runs", "pause", "nobody", "r1", "r1")

    assert answer.code == 3
    assert answer.out == "r1: paused\nr1: paused\n"
    assert "no run 'nobody'" in answer.err
    assert "1 of 3 runs" in answer.err


def test_watch_of_an_ended_run_prints_its_journal_and_result(here: Here) -> None:
    here("run", "flows:stumbles", "--id", "r1")

    people = here("runs", "watch", "r1")
    programs = here("runs", "watch", "r1", "--json")

    assert (people.code, people.out) == (0, '"up again"\n')
    assert "attempt 1 failed" in people.err
    types = [line.split('"type": "')[1].split('"')[0] for line in programs.out.splitlines()]
    assert types == ["run:resumed", "step:retry", "step:complete", "execution:complete"]


def test_watch_of_a_failed_run_exits_with_1(here: Here) -> None:
    here("run", "flows:breaks", "--id", "r1")

    answer = here("runs", "watch", "r1", "--json")

    assert answer.code == 1
    assert '"type": "execution:failed"' in answer.out.splitlines()[-1]


def test_an_unknown_run_is_told_with_where_it_was_looked_for(here: Here) -> None:
    here("trigger", "shop:app", "breaks")

    for command in ("show", "watch", "cancel"):
        answer = here("runs", command, "nobody")
        assert answer.code == 3
        assert "no run 'nobody'" in answer.err
        assert "hint: " in answer.err


def test_a_missing_database_is_not_created_by_looking(here: Here) -> None:
    answer = here("runs", "list", "--storage", "sqlite:///other.db")

    assert answer.code == 4
    assert "there is no database" in answer.err
    assert not (here.folder / "other.db").exists()


def test_an_encrypted_run_is_readable_through_its_app(here: Here) -> None:
    here.write(
        "secret.py",
        "import flows\n"
        "from stepflow import Stepflow\n"
        "from stepflow.codecs.compressed import Compressed\n"
        "app = Stepflow('sqlite:///stepflow.db', workflows=[flows], codec=Compressed())\n",
    )
    here("trigger", "secret:app", "times-two", "--input", "4", "--id", "r1")

    blind = here("runs", "show", "r1")
    seeing = here("runs", "show", "r1", "--app", "secret:app", "--json")
    here("runs", "cancel", "r1", "--app", "secret:app")
    listed = here("runs", "list", "--app", "secret:app", "--json")

    assert (blind.code, "--app MODULE:APP" in blind.err) == (4, True)
    assert seeing.json["input"] == 4
    assert listed.json["items"][0]["status"] == "cancelled"


def test_a_reader_that_leaves_early_is_no_error(here: Here) -> None:
    here("run", "flows.py:stumbles", "--id", "r1")

    for command in (["show", "r1"], ["list", "--json"]):
        process = start("runs", *command, cwd=here.folder)
        with process:
            assert process.stdout is not None
            process.stdout.close()
            errors = process.stderr.read() if process.stderr is not None else ""

        assert (process.returncode, errors) == (0, "")


def test_a_terminal_without_utf_8_gets_ascii(here: Here) -> None:
    here("run", "flows.py:stumbles", "--id", "r1")

    shown = stepflow("runs", "show", "r1", cwd=here.folder, env={"PYTHONIOENCODING": "ascii"})

    assert (shown.returncode, shown.stdout.isascii()) == (0, True)
    assert "# runs" in shown.stdout
    assert "+  stumble" in shown.stdout
