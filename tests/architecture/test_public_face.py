"""What a user meets first: an import that is quick and light, sorted names, an error tree drawn as it is."""

from __future__ import annotations

import ast
import builtins
import importlib.resources
import re
import subprocess
import sys
from types import ModuleType

import pytest

import stepflow
from stepflow import errors
from tests.architecture.sources import library

OPTIONAL = {
    "asyncpg", "cryptography", "httpx", "jwt", "pydantic", "redis", "rich", "starlette", "typer", "uvicorn", "watchfiles",
    "aiohttp", "django", "fastapi", "flask", "litestar", "quart",
}  # fmt: skip
IMPORT_BUDGET_MS = 100.0
ASYNCIO_MS = 30.0  # what ``import asyncio`` alone takes on the machine that the budget is meant for


def in_a_fresh_python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, check=True, timeout=30
    )


EVERYTHING = "from stepflow import *"
"""Loads all that is loaded by and by when a program defines workflows and makes an app of them."""


def test_importing_stepflow_loads_nothing_that_is_not_asked_for() -> None:
    loaded = set(in_a_fresh_python("-c", "import stepflow, sys; print(*sys.modules)").stdout.split())

    assert {name for name in loaded if name.startswith(("stepflow.", "msgspec", "asyncio"))} == set()


def test_every_name_is_found_where_type_checkers_see_it() -> None:
    source = next(source for source in library() if source.name == "__init__.py")
    seen = {
        alias.name: node.module
        for node in ast.walk(source.tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("stepflow.")
        for alias in node.names
    }

    assert seen == stepflow._HOME
    assert set(seen) == set(stepflow.__all__) <= set(dir(stepflow))
    assert all(getattr(stepflow, name) is not None for name in seen)


def test_a_name_that_is_not_there_is_told_as_python_does() -> None:
    with pytest.raises(AttributeError, match="module 'stepflow' has no attribute 'flow'"):
        _ = stepflow.flow  # type: ignore[attr-defined]


def test_using_stepflow_loads_no_optional_dependency() -> None:
    loaded = in_a_fresh_python("-c", f"{EVERYTHING}; import sys; print(*sys.modules)").stdout.split()

    assert OPTIONAL & set(loaded) == set()


def test_using_stepflow_leaves_alone_what_only_an_open_app_or_a_mistake_needs() -> None:
    loaded = set(in_a_fresh_python("-c", f"{EVERYTHING}; import sys; print(*sys.modules)").stdout.split())

    late = {
        "concurrent.futures.process",
        "difflib",
        "multiprocessing",
        "sqlite3",
        "urllib.parse",
    }
    assert {name for name in loaded if name in late or name.startswith("stepflow._runtime")} == set()


def test_loading_all_of_stepflow_beside_other_tests_takes_less_than_twice_100_ms() -> None:
    """The budget itself is measured alone, by ``benchmarks/import_time.py``."""
    pairs = ((cpu_ms(EVERYTHING), cpu_ms("import asyncio")) for _ in range(5))
    ours, asyncios = zip(*pairs, strict=True)

    slowness = max(min(asyncios) / ASYNCIO_MS, 1)

    assert min(ours) < 2 * IMPORT_BUDGET_MS * slowness


def cpu_ms(statement: str) -> float:
    """Processor time that an import takes in a fresh interpreter; unlike the clock on the wall, it knows no neighbours.

    ``typing_extensions`` is hidden: msgspec imports it where it is installed, which here is the checkers' doing.
    """
    code = (
        "import sys, time; sys.modules['typing_extensions'] = None; begun = time.process_time(); "
        f"{statement}; print((time.process_time() - begun) * 1000)"
    )
    return float(in_a_fresh_python("-c", code).stdout)


def drawn_tree(module: ModuleType) -> dict[str, str]:
    """Class → parent, as the box-drawing characters of the module's docstring say it."""
    parents: dict[str, str] = {}
    path: list[str] = []
    for line in (module.__doc__ or "").splitlines():
        found = re.match(r"    ([│├└─ ]*)(\w+)", line)
        if found is None:
            continue
        depth = len(found[1]) // 4
        path = [*path[:depth], found[2]]
        if depth:
            parents[found[2]] = path[depth - 1]
    return parents


def test_the_error_tree_is_drawn_as_it_is() -> None:
    actual = {
        name: next(base.__name__ for base in cls.__bases__ if issubclass(base, errors.StepflowError))
        for name, cls in vars(errors).items()
        if isinstance(cls, type) and issubclass(cls, errors.StepflowError) and cls is not errors.StepflowError
    }

    assert drawn_tree(errors) == actual


def test_each_error_is_also_the_builtin_that_is_drawn_beside_it() -> None:
    drawn = dict(re.findall(r"(\w+) +([A-Z]\w*(?:Error|Exception))\b", errors.__doc__ or ""))

    wrong = {
        name: builtin
        for name, builtin in drawn.items()
        if not issubclass(getattr(errors, name), getattr(builtins, builtin))
    }

    assert len(drawn) > 20
    assert wrong == {}


def test_every_error_is_in_errors() -> None:
    elsewhere = [
        f"{source.name}:{node.lineno} {node.name}"
        for source in library()
        if source.name != "errors.py"
        for node in source.classes()
        if node.name.endswith("Error")
    ]

    assert elsewhere == []


def test_public_names_are_sorted_and_exist() -> None:
    names = getattr(stepflow, "__all__", None)
    if names is None:
        pytest.skip("stepflow has no __all__ yet")

    assert list(names) == sorted(names)
    assert [name for name in names if not hasattr(stepflow, name)] == []


def test_public_objects_do_not_betray_a_private_module() -> None:
    private = [
        name
        for name in getattr(stepflow, "__all__", ())
        if re.search(r"\._(engine|runtime)\b", str(getattr(getattr(stepflow, name), "__module__", "")))
    ]

    assert private == []


def test_the_package_says_that_it_is_typed() -> None:
    assert importlib.resources.files("stepflow").joinpath("py.typed").is_file()
