"""Generated: random programs. One generator serves hypothesis, which shrinks, and plain seeds, which are quick."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from random import Random

from tests.fundamentals.programs import (
    AsCompleted,
    Backwards,
    Break,
    Callback,
    Catch,
    Finally,
    Futures,
    Gather,
    Group,
    Guard,
    Handle,
    Invoke,
    Look,
    Loop,
    Map,
    Node,
    Pipe,
    PlainSleep,
    Program,
    Race,
    Receive,
    Resource,
    Send,
    Sent,
    Sequence,
    Shield,
    Sleep,
    Spawn,
    Step,
    Stream,
    Timeout,
    Turn,
    WaitFor,
)

NAMES = ("charge", "ship", "mail")
FATES = ("ok", "ok", "ok", "ok", "flaky", "broken")
EVENTS = ("paid", "seen")
SECONDS = (1, 2, 3, 5, 8)
LEAVES = (
    "step", "step", "step", "step", "step", "sleep", "plain", "plain", "receive", "receive", "send", "invoke",
    "handle", "map", "look", "break",
)  # fmt: skip
EVENTFUL = ("step", "step", "step", "receive", "receive", "receive", "receive", "send", "plain")
BRANCHES = (
    "sequence", "sequence", "loop", "gather", "gather", "backwards", "group", "group", "race", "race", "futures",
    "as_completed", "wait_for", "timeout", "timeout", "shield", "pipe", "guard", "finally", "finally", "catch",
    "catch", "catch", "spawn", "spawn", "stream", "resource", "callback",
)  # fmt: skip


def leaf(random: Random, leaves: tuple[str, ...]) -> Node:
    match random.choice(leaves):
        case "sleep":
            return Sleep(random.choice(("nap", "rest")), random.choice(SECONDS))
        case "plain":
            return PlainSleep(random.choice((0, *SECONDS)))
        case "receive":
            return Receive(random.choice(EVENTS), random.choice((None, *SECONDS, *SECONDS)))
        case "send":
            return Send(random.choice(EVENTS))
        case "invoke":
            return Invoke(random.choice(("bill", "pack")))
        case "handle":
            return Handle(
                random.choice(("bill", "pack")), random.choice(SECONDS), random.choice((False, True))
            )
        case "map":
            fates = tuple(random.choice(FATES) for _ in range(random.randrange(1, 5)))
            return Map(random.choice(NAMES), fates, random.randrange(1, 4), random.choice((False, True)))
        case "look":
            return Look()
        case "break":
            return Break()
        case _:
            return Step(random.choice(NAMES), random.choice(FATES))


def node(random: Random, depth: int, leaves: tuple[str, ...]) -> Node:
    """A random node at most ``depth`` levels deep."""
    if depth == 0 or random.randrange(4) == 0:
        return leaf(random, leaves)

    def one() -> Node:
        return node(random, depth - 1, leaves)

    def some(fewest: int = 2) -> tuple[Node, ...]:
        return tuple(one() for _ in range(random.randrange(fewest, 4)))

    def seconds() -> float:
        return random.choice(SECONDS)

    match random.choice(BRANCHES):
        case "loop":
            return Loop(random.randrange(2, 4), one())
        case "gather":
            return Gather(some(), random.choice((False, True)))
        case "backwards":
            return Backwards(tuple(leaf(random, leaves) for _ in range(2)))
        case "group":
            return Group(some(), random.choice(((), (), ("left",), ("left", "right"))))
        case "race":
            until = random.choice(("FIRST_COMPLETED", "FIRST_COMPLETED", "FIRST_EXCEPTION", "ALL_COMPLETED"))
            return Race(
                some(), until, random.choice((None, *SECONDS)), random.choice(("cancel", "join", "leave"))
            )
        case "futures":
            return Futures(some())
        case "as_completed":
            return AsCompleted(some(), random.choice((None, None, *SECONDS)))
        case "wait_for":
            return WaitFor(one(), random.choice((0, *SECONDS)))
        case "timeout":
            return Timeout(seconds(), one(), one(), random.choice((None, None, *SECONDS)))
        case "shield":
            return Shield(one(), seconds())
        case "pipe":
            return Pipe(some(1), random.randrange(1, 3), random.randrange(2))
        case "guard":
            return Guard(random.choice(("lock", "semaphore", "event", "condition", "barrier")), some())
        case "finally":
            return Finally(one(), one())
        case "catch":
            return Catch(
                random.choice(("Exception", "Exception", "CancelledError", "BaseException")), one(), one()
            )
        case "spawn":
            return Spawn(
                one(), one(), random.choice(("await", "cancel", "leave")), random.choice((None, "side"))
            )
        case "stream":
            return Stream(some(1), one(), random.choice(("all", "break", "close")))
        case "resource":
            return Resource(leaf(random, leaves), one(), one())
        case "callback":
            return Callback(random.choice((0, *SECONDS)), one())
        case _:
            return Sequence(some())


def only_once(node: Node) -> Node:
    """The same program with every step at most once."""
    if isinstance(node, Step):
        return replace(node, once=True, fate="ok" if node.fate == "flaky" else node.fate)
    changed = {field.name: getattr(node, field.name) for field in fields(node)}
    for name, value in changed.items():
        if isinstance(value, tuple) and value and is_dataclass(value[0]):
            changed[name] = tuple(only_once(part) for part in value)
        elif is_dataclass(value):
            changed[name] = only_once(value)  # type: ignore[arg-type]
    return type(node)(**changed)


def crowded(random: Random) -> Program:
    """A program in which a step ends a wait at the very instant when the event comes, or nearly so."""
    race = Race((Step("charge"), Receive("paid")))
    main = Sequence((race, Receive("paid", 20), Step("ship"), Receive("paid", 20)))
    events = tuple(Sent(random.randrange(1, 6), "paid") for _ in range(2))
    return Program(main, random.randrange(10_000), events=events, batched=True)


def program(random: Random, depth: int = 3) -> Program:
    """A random program and the world it meets."""
    main = node(random, depth, random.choice((LEAVES, LEAVES, EVENTFUL)))
    if random.randrange(3):
        main = Catch("Exception", main, Step("report"))
    events = tuple(Sent(random.randrange(-2, 12), random.choice(EVENTS)) for _ in range(random.randrange(5)))
    kinds = ("cancel", "suspend", "suspend", "takeover", "takeover")
    turns = tuple(
        Turn(random.randrange(0, 30) / 2, random.choice(kinds)) for _ in range(random.choice((0, 0, 1, 2, 3)))
    )
    timeout = random.choice((None, None, None, None, None, 6, 12))
    seed = random.randrange(10_000)
    return Program(main, seed, f"run-{seed}", events, turns, timeout, random.randrange(2) == 1)
