"""Scenarios: what a seed's users do. Eight runs of random programs, and everything that is asked of them from outside."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from tests.fundamentals.generated import EVENTFUL, LEAVES, node
from tests.fundamentals.programs import (
    Catch,
    Finally,
    Gather,
    Node,
    Race,
    Receive,
    Sequence,
    Sleep,
    Step,
    WaitFor,
)

EVENTS = ("paid", "seen")
RUNS = 8
FAULTY_SECONDS = 120


@dataclass(frozen=True, slots=True)
class Act:
    """Something that a user does, so many seconds after the world began.

    ``run`` is the index of the run it is about. ``name`` makes an event's id: two acts of one name are one event.
    """

    at: float
    kind: str
    run: int
    event_id: str = ""
    name: str = ""
    addressed: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """One run: its program, and how it is triggered."""

    index: int
    main: Node
    workflow: str
    generations: int
    at: float
    delay: float
    by_key: bool
    acts: tuple[Act, ...]


@dataclass(frozen=True, slots=True)
class Scenario:
    """``workers`` processes work, ``concurrency`` runs in each; one more only asks."""

    plans: tuple[Plan, ...]
    workers: int
    concurrency: int
    lease: float


OPERATIONS = (
    "cancel", "cancel", "pause", "pause", "resume", "resume", "retry", "force", "delete", "list", "result",
)  # fmt: skip
LEAF_SETS = (LEAVES, LEAVES, EVENTFUL, ("step", "step", "sleep", "receive", "invoke"))


def crowd(random: Random) -> Node:
    """The shapes that bugs like best: races, timeouts, cleanups, and many at once."""
    wait = Receive(random.choice(EVENTS), random.choice((None, 3, 8, 20)))
    step = Step("charge", random.choice(("ok", "flaky", "broken")))
    once = Step("ship", random.choice(("ok", "broken")), once=True)
    long = Sleep("nap", random.choice((2, 7, 15, 40)))
    later = Step(
        "ship", random.choice(("ok", "flaky", "flaky"))
    )  # its retry comes when the run has left memory
    away = Sleep("rest", random.choice((6, 9)))
    return random.choice(
        (
            Sequence((step, wait, once, Receive("paid", 20))),
            Race((wait, long, Sequence((step, once))), rest=random.choice(("cancel", "join", "leave"))),
            Sequence((once, long, once, step)),
            Gather((step, once, wait, long), collect_errors=True),
            Finally(Sequence((long, step)), Sequence((Step("mail"), once))),
            Catch("Exception", WaitFor(Sequence((wait, step)), 5), once),
            Catch("CancelledError", Sequence((long, wait)), Step("mail")),
            # Again and again out of memory, so that the run is another worker's each time.
            Sequence(
                (later, away, Step("charge"), away, later, away, Receive("seen", 9), away, Step("mail"))
            ),
            Gather((Sequence((later, away, later)), Sequence((away, Step("charge"), away, wait)))),
            # What ends one wait makes room for the next, while further events are there already.
            Sequence(
                (
                    Race((Receive("paid", 20), Receive("seen", 20))),
                    Receive("seen", 9),
                    Receive("paid", 9),
                    step,
                )
            ),
        )
    )


def plan(random: Random, index: int) -> Plan:
    """One run, and what is asked of it."""
    main = crowd(random) if random.randrange(3) == 0 else node(random, 2, random.choice(LEAF_SETS))
    if random.randrange(2):
        main = Catch("Exception", main, Step("report"))
    at = random.random() * random.choice((5, 60, 110))
    return Plan(
        index=index,
        main=main,
        workflow=random.choice(("program", "program", "patient-program")),
        generations=random.choice((1, 1, 1, 2, 4)),
        at=at,
        delay=random.choice((0, 0, 0, 3, 20)),
        by_key=random.randrange(2) == 0,
        acts=tuple(acts(random, index, at)),
    )


def acts(random: Random, index: int, at: float) -> list[Act]:
    """What users do to one run: some early, some late, some twice."""
    found: list[Act] = []
    for number in range(random.randrange(4)):
        when = max(0.0, at + random.uniform(-5, 40))
        name = f"event-{index}-{number}"
        event = Act(when, "notify", index, random.choice(EVENTS), name, random.randrange(2) == 0)
        found += [event] * random.choice((1, 1, 2))
    if random.randrange(5) == 0:
        found += burst(random, index, at)
    if random.randrange(4) == 0:
        found.append(Act(at + random.random(), "trigger", index))  # a double click
    if random.randrange(2) == 0:
        found.append(Act(at + random.random() * 10, "follow", index))
    for _ in range(random.choice((0, 0, 1, 2, 4, 7))):
        kind = random.choice(OPERATIONS)
        when = at + random.choice((0.5, 5, 40)) * random.random()
        if found and random.randrange(3) == 0:
            when = max(
                0.0, random.choice(found).at + random.uniform(-0.02, 0.02)
            )  # just when something else happens
        found.append(Act(when, kind, index))
        if kind == "pause" and random.randrange(2):
            found.append(Act(when + random.choice((0.005, 0.02, 0.5, 10)) * random.random(), "resume", index))
        elif kind in ("cancel", "force") and random.randrange(3) == 0:
            found.append(Act(when + random.choice((1, 10)) * random.random(), "retry", index))
    return found


def burst(random: Random, index: int, at: float) -> list[Act]:
    """Many events for one run at nearly one moment: it reads them together."""
    when = at + random.choice((0.05, 3, 12)) * random.random()
    return [
        Act(
            when + random.random() * 0.02,
            "notify",
            index,
            random.choice(EVENTS),
            f"burst-{index}-{number}",
            True,
        )
        for number in range(random.randrange(3, 7))
    ]


def scenario(seed: int) -> Scenario:
    """The scenario of a seed."""
    random = Random(f"scenario-{seed}")
    return Scenario(
        plans=tuple(plan(random, index) for index in range(RUNS)),
        workers=random.choice((1, 2, 2, 3)),
        concurrency=random.choice((1, 2, 5, 100)),
        lease=random.choice((5.0, 10.0, 30.0)),
    )
