"""Crash at every failpoint: whatever the process was about to do, the next one finishes all of it, and nothing twice.

Each case is two or three real processes on one SQLite file. The first runs every workflow of ``program.py`` and ends, as by ``kill -9``, at
the n-th hit of one failpoint; the last runs the same program again, without failpoints.
"""

from __future__ import annotations

from collections import Counter

import pytest

from stepflow import failpoints
from tests.crash.conftest import Scene
from tests.crash.forking import ENDED_AT_FAILPOINT
from tests.crash.invariants import check_finished, check_standing, opened, recorded_steps
from tests.crash.ledger import Effect, Step, count_steps
from tests.crash.program import STEPS_OF_OTHERS, STEPS_THAT_RUN

ON_REDIS_ONLY = {name for name in failpoints.NAMES if name.startswith("outbox.")}
NAMES = sorted(failpoints.NAMES - ON_REDIS_ONLY)
IN_A_RECOVERY_ONLY = {"recovery.takeover"}
NOT_IN_A_FILE_THAT_EXISTS = {"migrate.before_commit"}


def run_until(scene: Scene, phase: str, failpoint: tuple[str, int] | None, *, cold: bool) -> set[Step]:
    """A process that ends at the failpoint, or in the regular way; the steps that it has recorded for good."""
    process = scene.start("program:everything", phase=phase, failpoint=failpoint, cold=cold)
    if failpoint is None:
        process.must_succeed()
    else:
        code = process.wait()
        assert code in (0, ENDED_AT_FAILPOINT), f"exit code {code}:\n{process.log.read_text()}"
        if failpoint[1] == 1:
            assert code == ENDED_AT_FAILPOINT, f"nothing passes the failpoint {failpoint[0]}"
    if not scene.database.exists():
        return set()
    check_standing(scene.database)
    return recorded_steps(scene.database)


def check_effects(effects: list[Effect], recorded: dict[str, set[Step]]) -> None:
    """The steps that each phase found recorded did not run in it; the others at most once in each phase."""
    for phase, before in recorded.items():
        again = {effect.step for effect in effects if effect.phase == phase} & before
        assert not again, f"run again in the {phase} process, though recorded before: {again}"
    attempts = Counter((effect.phase, effect.step, effect.attempt) for effect in effects)
    assert max(attempts.values()) == 1, f"twice in one process: {attempts.most_common(3)}"
    payments = {step: n for step, n in count_steps(effects).items() if step[1].startswith("pay")}
    assert max(payments.values(), default=0) <= 1, f"at most once, and yet twice: {payments}"
    ran = {effect.step for effect in effects}
    named = {step for step in ran if not step[0].startswith("run_")}
    # A payment that was interrupted before its body is unknown, and is not made.
    assert {step for step in STEPS_THAT_RUN if not step[1].startswith("pay")} <= named <= STEPS_THAT_RUN
    assert sorted(key for _, key in ran - named) == STEPS_OF_OTHERS


def check_books(scene: Scene) -> None:
    """Whatever a transactional step wrote is there once, however often its body began."""
    with opened(scene.database) as connection:
        books = sorted(connection.execute("SELECT run_id, place FROM books"))
    assert books == [("bookkeeper", place) for place in range(6)]


@pytest.mark.parametrize("cold", [False, True], ids=["hot", "cold"])
def test_without_a_crash_everything_runs_once(scene: Scene, cold: bool) -> None:
    run_until(scene, "first", None, cold=cold)

    check_finished(scene.database)
    effects = scene.effects()
    check_effects(effects, {})
    assert {effect.step for effect in effects} >= STEPS_THAT_RUN
    check_books(scene)


@pytest.mark.parametrize("nth", [1, 2, 3, 11])
@pytest.mark.parametrize("name", NAMES)
def test_after_a_crash_at_a_failpoint_the_next_process_finishes(scene: Scene, name: str, nth: int) -> None:
    recorded: dict[str, set[Step]] = {}
    cold = nth % 2 == 0
    if name in IN_A_RECOVERY_ONLY:
        run_until(scene, "zeroth", ("step.after", 20), cold=cold)

    recorded["second"] = run_until(scene, "first", (name, nth), cold=cold)
    run_until(scene, "second", None, cold=cold)

    check_finished(scene.database)
    check_effects(scene.effects(), recorded)
    check_books(scene)


@pytest.mark.parametrize("name", sorted(set(NAMES) - NOT_IN_A_FILE_THAT_EXISTS))
def test_after_a_crash_in_the_recovery_of_a_crash_the_third_process_finishes(scene: Scene, name: str) -> None:
    recorded: dict[str, set[Step]] = {}

    recorded["second"] = run_until(scene, "first", ("step.before_checkpoint", 40), cold=False)
    recorded["third"] = run_until(scene, "second", (name, 1), cold=True)
    run_until(scene, "third", None, cold=False)

    check_finished(scene.database)
    check_effects(scene.effects(), recorded)
    check_books(scene)
