"""Programs edited in mid-run: exactly what the design promises of steps known by name and place, and no more.

The runs here keep to what the promise covers: a name occurs once in each scope. Scopes share names, though.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random

from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from stepflow.model.journal import Entry, StepCompleted
from tests.fundamentals.accounts import Finished
from tests.fundamentals.conftest import in_parts
from tests.fundamentals.programs import Group, Node, Program, Sequence, Step, Turn
from tests.fundamentals.replaying import assert_no_recorded_step_ran
from tests.fundamentals.simulated import Simulation, all_evicted
from tests.fundamentals.watched import decode

TASKS = ("left", "right", "far")
SHARED = ("x", "y", "z")


@dataclass(frozen=True)
class Code:
    """Main's steps, by name; where a name is one of ``tasks``, all tasks run side by side there."""

    steps: tuple[str, ...]
    tasks: dict[str, tuple[str, ...]]

    def main(self) -> Node:
        group = Group(
            tuple(Sequence(tuple(Step(name) for name in steps)) for steps in self.tasks.values()),
            tuple(self.tasks),
        )
        return Sequence(tuple(group if name == "tasks" else Step(name) for name in self.steps))

    def keys(self) -> set[str]:
        """Every key that the code asks for."""
        below = {f"{task}/{name}" for task, steps in self.tasks.items() for name in steps}
        return below | (set(self.steps) - {"tasks"})


def code(random: Random) -> Code:
    steps = [f"main-{index}" for index in range(random.randrange(1, 4))]
    steps.insert(random.randrange(len(steps) + 1), "tasks")
    tasks = {
        name: tuple(random.sample(SHARED, random.randrange(1, 4))) for name in TASKS[: random.randrange(1, 4)]
    }
    return Code(tuple(steps), tasks)


def insert(random: Random, steps: list[str], number: int) -> None:
    steps.insert(random.randrange(len(steps) + 1), f"new-{number}")


def remove(random: Random, steps: list[str], number: int) -> None:
    names = [name for name in steps if name != "tasks"]
    if names:
        steps.remove(random.choice(names))


def reorder(random: Random, steps: list[str], number: int) -> None:
    names = [name for name in steps if name != "tasks"]
    order = random.sample(names, len(names))
    steps[:] = [name if name == "tasks" else order.pop() for name in steps]


def rename(random: Random, steps: list[str], number: int) -> None:
    names = [name for name in steps if name != "tasks"]
    if names:
        steps[steps.index(random.choice(names))] = f"renamed-{number}"


EDITS: tuple[Callable[[Random, list[str], int], None], ...] = (insert, remove, reorder, rename)


def edited(random: Random, code: Code) -> Code:
    """``code`` after one to three edits, each in main or in one task."""
    steps = list(code.steps)
    tasks = {name: list(names) for name, names in code.tasks.items()}
    for number in range(random.randrange(1, 4)):
        random.choice(EDITS)(random, random.choice([steps, *tasks.values()]), number)
    return Code(tuple(steps), {name: tuple(names) for name, names in tasks.items()})


def recorded(entries: list[Entry]) -> dict[str, str]:
    return {entry.key: decode(entry.value, str) for entry in entries if isinstance(entry, StepCompleted)}


@all_evicted()
def check_deploy(random: Random) -> None:
    """Cut a run anywhere, go on with edited code, and compare with what was promised."""
    old = code(random)
    new = edited(random, old)
    turns = (Turn(random.randrange(0, 20), "takeover"),) if random.randrange(2) else ()
    program = Program(old.main(), random.randrange(10_000), turns=turns)
    first = Simulation(program).finish()
    prefix = first.journal[: random.randrange(1, len(first.journal) + 1)]
    had = recorded(prefix)

    finished = Simulation(program, prefix, main=new.main(), slices=random, watch=True).finish()

    assert finished.outcome[0] == "returned"
    assert_no_recorded_step_ran(prefix, finished)
    has = recorded(finished.journal)
    assert set(has) == set(had) | new.keys()
    assert {key: has[key] for key in had} == had
    assert set(finished.executed) == new.keys() - set(had)
    reported = {line.split(": ")[0].removeprefix("- ") for line in finished.left_over}
    assert reported == set(had) - new.keys()
    assert_replayed_exactly(replace(program, main=new.main()), finished, len(prefix))


def assert_replayed_exactly(program: Program, finished: Finished, after: int) -> None:
    """What the new code did from there on is replayed as it was, from every later prefix."""
    for cut in range(after, len(finished.journal) + 1):
        if cut in finished.fingerprints:
            again = Simulation(program, finished.journal[:cut])
            assert again.run.fingerprint() == finished.fingerprints[cut]
            assert again.finish().told() == finished.told()


@in_parts
def test_inserting_removing_reordering_and_renaming_steps_does_what_was_promised(part: range) -> None:
    @seed(part.start)
    @settings(max_examples=len(part), database=None, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.randoms(use_true_random=False))
    def holds(random: Random) -> None:
        check_deploy(random)

    holds()


@in_parts
def test_the_same_holds_for_edits_of_plain_seeds(part: range) -> None:
    for number in part:
        try:
            check_deploy(Random(number))
        except AssertionError as error:
            raise AssertionError(f"seed {number}") from error
