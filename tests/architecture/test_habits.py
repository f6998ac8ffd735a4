"""Habits that the field's bugs teach: who may ask the time, what may not be swallowed, what is never imported."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from tests.architecture.sources import belongs, calls, library, sources_of_tests

READS_A_CLOCK = {
    "time.time", "time.time_ns", "time.monotonic", "time.monotonic_ns", "time.perf_counter", "time.perf_counter_ns",
    "datetime.now", "datetime.utcnow", "datetime.today", "date.today", "dt.datetime.now", "datetime.datetime.now",
}  # fmt: skip
ROLLS_DICE = {
    "random.random", "random.uniform", "random.randint", "random.choice", "random.Random", "random.getrandbits",
    "uuid.uuid4", "uuid.uuid1", "uuid4", "uuid1", "os.urandom", "secrets.token_bytes", "secrets.token_hex",
}  # fmt: skip

# Where the world may be asked, and what for.
MAY_READ_A_CLOCK = {
    "clock.py": "the one place",
}
MAY_ROLL_DICE = {
    "opened.py": "a worker's incarnation and a process's id prefix are drawn when the app opens",
    "primitives": "outside a run, random() and uuid4() are the real ones",
    "client": "jitter, and the keys that make calls safe to repeat, start here",
    "auth": "the secret of run tokens is drawn once for each storage",
    "_runtime": "jitter and incarnations start here, and go on as arguments",
    "testing": "seeded generators of the simulator",
}
MAY_SLEEP = {
    "storage/sqlite/connection.py": "its own back-off while another process holds the write lock",
}

# Folders of tests whose programs run on a loop without a world: a sleep there takes no time.
VIRTUAL_TIME = {"fundamentals", "simulation"}
# The one module that waits for what tells nobody, a condition at a time.
POLLING = "servers/polling.py"


def places(names: set[str], allowed: dict[str, str]) -> list[str]:
    """Where the library calls one of these outside the allowed files and packages."""
    return [
        f"{source.name}:{line} calls {name}"
        for source in library()
        if source.name not in allowed and source.package not in allowed
        for name, line in calls(source.tree)
        if name in names
    ]


def swallowed(tree: ast.AST) -> Iterator[int]:
    """Lines of ``except`` clauses that catch everything and do nothing."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ExceptHandler) and all(isinstance(line, ast.Pass) for line in node.body):
            caught = "" if node.type is None else ast.unparse(node.type)
            if caught in {"", "Exception", "BaseException"}:
                yield node.lineno


def test_only_the_clock_asks_what_time_it_is() -> None:
    assert places(READS_A_CLOCK, MAY_READ_A_CLOCK) == []


def test_randomness_comes_in_as_an_argument() -> None:
    assert places(ROLLS_DICE, MAY_ROLL_DICE) == []


def test_nothing_in_the_library_blocks_in_a_sleep() -> None:
    assert places({"time.sleep"}, MAY_SLEEP) == []


def test_nothing_is_pickled() -> None:
    pickling = ("pickle", "cPickle", "_pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib")

    offenders = [
        f"{source.name}:{line} imports {module}"
        for source in library()
        for module, line in source.imports()
        if any(belongs(module, name) for name in pickling)
    ]

    assert offenders == []


def test_no_error_is_swallowed_whole() -> None:
    assert [f"{source.name}:{line}" for source in library() for line in swallowed(source.tree)] == []


def test_tests_wait_for_something_and_never_for_a_while() -> None:
    offenders = [
        f"{source.name}:{call.lineno} {ast.unparse(call)}"
        for source in sources_of_tests()
        if source.package not in VIRTUAL_TIME and source.name != POLLING
        for call in outside_of_workflows(source.tree)
        if ast.unparse(call.func) in {"time.sleep", "asyncio.sleep", "anyio.sleep"}
        and not waits_for_nothing(call)
    ]

    assert offenders == []


def outside_of_workflows(node: ast.AST) -> Iterator[ast.Call]:
    """Every call, save those in the body of a workflow: there, ``asyncio.sleep`` is durable and the clock a fake."""
    if isinstance(node, ast.AsyncFunctionDef) and any(
        ast.unparse(decorator).split("(")[0].split(".")[-1] == "workflow" for decorator in node.decorator_list
    ):
        return
    if isinstance(node, ast.Call):
        yield node
    for child in ast.iter_child_nodes(node):
        yield from outside_of_workflows(child)


def waits_for_nothing(call: ast.Call) -> bool:
    """``sleep(0)`` only gives others a turn; a sleep of a minute or more is there to be cancelled."""
    match call.args:
        case [ast.Constant(value=int() | float() as seconds)]:
            return seconds == 0 or seconds >= 60
    return False
