"""``stepflow worker``: serves until it is told to stop, and stops gracefully."""

from __future__ import annotations

import json
import os
import signal

from tests.cli.terminal import Here, read_until, start


def test_sigterm_lets_the_running_step_finish_and_gives_the_run_back(here: Here) -> None:
    os.mkfifo(here.folder / "gate")
    here("trigger", "shop:app", "three-steps", "--id", "r1")
    worker = start("worker", "shop:app", cwd=here.folder)
    with worker:
        ready = read_until(worker, "works on")
        assert worker.stdout is not None
        assert worker.stdout.readline() == "two runs\n"
        worker.send_signal(signal.SIGTERM)
        read_until(worker, "stopping")
        (here.folder / "gate").write_text("go")
        _, errors = worker.communicate(timeout=30)

    run = here("runs", "show", "r1", "--json").json
    info = here("storage", "info", "--json").json
    assert "workflows: approval, breaks, buy, family, stumbles, three-steps, times-two" in ready
    assert (worker.returncode, "stopped" in errors) == (0, True)
    assert [step["name"] for step in run["steps"]][:2] == ["note_down", "hold"]
    assert run["status"] in ("queued", "completed")  # the third step may have been started in time
    assert info["workers"] == []
    assert (here.folder / "ran.txt").read_text().split()[:2] == ["one", "two"]


def test_a_second_signal_does_not_wait_for_steps(here: Here) -> None:
    os.mkfifo(here.folder / "gate")
    here("trigger", "shop:app", "three-steps", "--id", "r1")
    worker = start("worker", "shop:app", cwd=here.folder)
    with worker:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "two runs\n"
        worker.send_signal(signal.SIGTERM)
        read_until(worker, "stopping")
        worker.send_signal(signal.SIGTERM)
        worker.communicate(timeout=30)

    run = here("runs", "show", "r1", "--json").json
    assert worker.returncode == 130
    assert (run["status"], [step["name"] for step in run["steps"]]) == ("queued", ["note_down"])


def test_a_run_that_is_triggered_elsewhere_is_served_and_can_be_watched(here: Here) -> None:
    worker = start("worker", "shop.py", "--json", cwd=here.folder)
    with worker:
        assert worker.stdout is not None
        ready = json.loads(worker.stdout.readline())
        triggered = here("trigger", "shop:app", "approval", "--input", '"o1"', "--id", "r1")
        watcher = start("runs", "watch", "r1", "--json", cwd=here.folder)
        assert watcher.stdout is not None
        first = json.loads(watcher.stdout.readline())
        sent = here("notify", "approval/o1", "--payload", '"granted"')
        watched, _ = watcher.communicate(timeout=30)
        worker.send_signal(signal.SIGINT)
        output, _ = worker.communicate(timeout=30)

    assert ready["type"] == "worker:ready"
    assert ready["queues"] == ["default"]
    assert (triggered.out, sent.code, watcher.returncode) == ("r1\n", 0, 0)
    assert (first["type"], first["id"]) == ("run:resumed", "1.0")
    last = json.loads(watched.splitlines()[-1])
    assert (last["type"], last["runId"], last["data"]) == ("execution:complete", "r1", "granted")
    assert json.loads(output.splitlines()[-1]) == {
        "type": "worker:stopped",
        "worker": ready["worker"],
        "clean": True,
    }
    assert worker.returncode == 0


def test_watching_ends_with_5_when_the_run_is_paused(here: Here) -> None:
    here("trigger", "shop:app", "three-steps", "--id", "r1")
    watcher = start("runs", "watch", "r1", "--json", cwd=here.folder)
    with watcher:
        here("runs", "pause", "r1")
        output, errors = watcher.communicate(timeout=30)

    assert watcher.returncode == 5
    assert json.loads(output)["type"] == "run:paused"
    assert "stepflow runs resume r1" in errors


def test_ctrl_c_stops_watching_and_not_the_run(here: Here) -> None:
    here("trigger", "shop:app", "three-steps", "--id", "r1")
    here("runs", "pause", "r1")
    here("runs", "resume", "r1")
    watcher = start("runs", "watch", "r1", cwd=here.folder)
    with watcher:
        read_until(watcher, "resumed")
        watcher.send_signal(signal.SIGINT)
        output, errors = watcher.communicate(timeout=30)

    run = here("runs", "show", "r1", "--json").json
    assert (watcher.returncode, output) == (130, "")
    assert "interrupted" in errors
    assert "Traceback" not in errors
    assert run["status"] == "queued"


def test_a_worker_needs_an_app(here: Here) -> None:
    answer = here("worker", "flows:buy")

    assert answer.code == 2
    assert "flows:buy is a workflow" in answer.err
    assert "stepflow run flows:buy" in answer.err


def test_a_worker_serves_the_queues_that_it_is_given_and_no_other(here: Here) -> None:
    here("trigger", "shop:app", "times-two", "--input", "4", "--id", "r1")
    options = ("--queue", "mail=5", "--queue", "bulk", "--concurrency", "50")
    worker = start("worker", "shop:app", "--json", *options, cwd=here.folder)
    with worker:
        assert worker.stdout is not None
        ready = json.loads(worker.stdout.readline())
        info = here("storage", "info", "--json").json
        worker.send_signal(signal.SIGTERM)
        worker.communicate(timeout=30)

    assert (ready["queues"], ready["concurrency"]) == (["mail", "bulk"], 50)
    assert [live["queues"] for live in info["workers"]] == [["mail", "bulk"]]
    assert here("runs", "show", "r1", "--json").json["status"] == "queued"


def test_a_queue_with_a_malformed_number_of_slots_is_refused(here: Here) -> None:
    answer = here("worker", "shop:app", "--queue", "mail=many")

    assert answer.code == 2
    assert "mail=5" in answer.err
