"""``stepflow trigger`` and ``stepflow notify``."""

from __future__ import annotations

from tests.cli.terminal import Here


def test_trigger_prints_the_id_and_stores_what_was_given(here: Here) -> None:
    answer = here(
        *("trigger", "shop:app", "buy", "--input", '{"id": "o1", "total": 1}', "--id", "r1"),
        *("--delay", "2h", "--queue", "slow", "--priority", "7", "--tag", "team=a", "-t", "b:c"),
    )

    run = here("runs", "show", "r1", "--json").json
    assert (answer.code, answer.out) == (0, "r1\n")
    assert "no live worker serves queue 'slow'" in answer.err
    assert run["input"] == {"id": "o1", "total": 1}
    assert (run["status"], run["queue"], run["priority"]) == ("queued", "slow", 7)
    assert run["tags"] == {"team": "a", "b": "c"}
    assert run["wakeAt"] > run["createdAt"]


def test_trigger_with_a_key_twice_is_one_run(here: Here) -> None:
    first = here("trigger", "shop:app", "breaks", "--idempotency-key", "k", "--json")
    again = here("trigger", "shop:app", "breaks", "--idempotency-key", "k", "--json")

    assert first.json["created"] is True
    assert again.json == {"runId": first.json["runId"], "created": False}


def test_trigger_of_an_unknown_workflow_shows_the_nearest_and_stores_nothing(here: Here) -> None:
    answer = here("trigger", "shop:app", "three-stepz")

    assert answer.code == 3
    assert "did you mean 'three-steps'" in answer.err
    assert "hint: the app's workflows: approval, breaks" in answer.err
    assert not (here.folder / "stepflow.db").exists()


def test_trigger_refuses_what_does_not_fit(here: Here) -> None:
    wrong_input = here("trigger", "shop:app", "times-two", "--input", '"x"')
    both = here("trigger", "shop:app", "breaks", "--id", "a", "--idempotency-key", "b")
    months = here("trigger", "shop:app", "breaks", "--delay", "2 months")

    assert (wrong_input.code, both.code, months.code) == (2, 2, 2)
    assert "Expected `int`" in wrong_input.err
    assert "months" in months.err


def test_an_app_in_memory_can_not_be_reached_from_here(here: Here) -> None:
    here.write(
        "forgetful.py",
        "import flows\nfrom stepflow import Stepflow\napp = Stepflow('memory://', workflows=[flows])",
    )

    answer = here("trigger", "forgetful:app", "breaks")

    assert answer.code == 2
    assert "memory of one process" in answer.err


def test_notify_counts_who_waits_and_sends_once(here: Here) -> None:
    here("trigger", "shop:app", "breaks", "--id", "r1")

    sent = here("notify", "approval/1", "--payload", "{}", "--id", "e1", "--once", "--json")
    second = here("notify", "approval/1", "--payload", "true", "--once")
    addressed = here("notify", "approval/2", "--run-id", "nobody")

    assert sent.json == {"eventId": "approval/1", "id": "e1", "woken": 0}
    assert second.code == 3
    assert "the first one's payload was {}" in second.err
    assert (addressed.code, "no run 'nobody'" in addressed.err) == (3, True)


def test_notify_refuses_a_malformed_event_id(here: Here) -> None:
    here("trigger", "shop:app", "breaks")

    assert here("notify", "a//b").code == 2
