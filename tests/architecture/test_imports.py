"""Import rules that the contracts in ``pyproject.toml`` can't say, or that hold for files yet to come."""

from __future__ import annotations

import ast

import pytest

from tests.architecture.sources import Source, belongs, calls, library

PURE = {"_engine", "model", "retry", "durations", "wire"}
BACKENDS = ("memory", "sqlite", "libsql", "postgres", "redis")
CLIENT_SPEAKS_ONLY = {"client", "wire", "codecs", "errors", "types", "clock", "durations", "retry"}

# (``random`` is not among them: a generator seeded by an argument is arithmetic; test_habits.py forbids the others.)
WORLDLY = {
    "_thread", "concurrent", "http", "multiprocessing", "os", "queue", "secrets", "select", "selectors",
    "signal", "socket", "sqlite3", "ssl", "subprocess", "threading", "time", "urllib",
    "aiohttp", "asyncpg", "httpx", "redis", "requests",
}  # fmt: skip
OF_ASYNCIO = {"Task", "Future", "Handle", "TimerHandle", "AbstractEventLoop"}
HOW_A_LOOP_IS_ENTERED = {
    "events",
    "tasks",
}  # the hooks by which asyncio knows which loop and task are running
NEEDS_A_REAL_LOOP = {
    "create_task", "ensure_future", "gather", "get_event_loop", "get_running_loop", "new_event_loop",
    "run", "sleep", "timeout", "to_thread", "wait", "wait_for", "Runner",
}  # fmt: skip

OPTIONAL = {
    "typer": {"cli"},
    "rich": {"cli"},
    "pydantic": {"codecs/pydantic.py"},
    "cryptography": {"codecs/encrypted.py"},
    "asyncpg": {"storage/postgres"},
    "redis": {"storage/redis"},
    "httpx": {"storage/libsql", "client", "testing/adapter_contract"},
    "jwt": {"auth/jwt.py"},
    "uvicorn": {"cli"},
    "watchfiles": {"cli"},
    "aiohttp": {"integrations/aiohttp.py"},
    "django": {"integrations/django"},
    "fastapi": {"integrations/fastapi.py"},
    "flask": {"integrations/flask.py"},
    "litestar": {"integrations/litestar.py"},
    "quart": {"integrations/quart.py"},
    "starlette": {"integrations/starlette.py", "integrations/fastapi.py"},  # FastAPI is made of it
}


def inside(source: Source) -> list[tuple[str, int]]:
    """The imports of other parts of the library, without the leading ``stepflow.``."""
    return [
        (module.removeprefix("stepflow."), line)
        for module, line in source.imports()
        if module.startswith("stepflow.")
    ]


def test_nobody_inside_imports_a_public_name_from_the_package_root() -> None:
    parts = {source.package for source in library()}

    offenders = [
        f"{source.name}:{line} imports {module}"
        for source in library()
        for module, line in source.imports()
        if module.startswith("stepflow.") and module.split(".")[1] not in parts
    ]

    assert offenders == []


def test_nobody_inside_imports_the_package_root_itself() -> None:
    offenders = [
        f"{source.name}:{node.lineno}"
        for source in library()
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Import) and any(alias.name == "stepflow" for alias in node.names)
    ]

    assert offenders == []


def test_imports_are_absolute() -> None:
    offenders = [
        f"{source.name}:{line}"
        for source in library()
        for module, line in source.imports()
        if module.startswith(".")
    ]

    assert offenders == []


@pytest.mark.parametrize("package", sorted(PURE))
def test_the_pure_half_knows_no_clock_no_thread_and_no_wire(package: str) -> None:
    offenders = [
        f"{source.name}:{line} imports {module}"
        for source in library()
        if source.package == package
        for module, line in source.imports()
        if module.split(".")[0] in WORLDLY
    ]

    assert offenders == []


def test_the_engine_takes_from_asyncio_only_what_its_own_loop_is_made_of() -> None:
    allowed = {"asyncio"} | {f"asyncio.{name}" for name in OF_ASYNCIO | HOW_A_LOOP_IS_ENTERED}

    offenders = [
        f"{source.name}:{line} imports {module}"
        for source in library()
        if source.package == "_engine"
        for module, line in source.imports()
        if belongs(module, "asyncio") and module not in allowed
    ]

    assert offenders == []


def test_the_engine_never_asks_for_the_running_loop_or_waits_on_it() -> None:
    offenders = [
        f"{source.name}:{line} calls {name}"
        for source in library()
        if source.package == "_engine"
        for name, line in calls(source.tree)
        if name.removeprefix("asyncio.") in NEEDS_A_REAL_LOOP and name.startswith("asyncio.")
    ]

    assert offenders == []


@pytest.mark.parametrize("backend", BACKENDS)
def test_storage_backends_do_not_know_each_other(backend: str) -> None:
    others = set(BACKENDS) - {backend}
    if backend == "libsql":
        others.discard("sqlite")  # the same dialect: libsql sends sqlite's operations over HTTP

    offenders = [
        f"{source.name}:{line} imports {module}"
        for source in library()
        if belongs(source.module, f"stepflow.storage.{backend}")
        for module, line in inside(source)
        if any(belongs(module, f"storage.{other}") for other in others)
    ]

    assert offenders == []


def test_the_client_reaches_neither_engine_nor_storage() -> None:
    offenders = [
        f"{source.name}:{line} imports {module}"
        for source in library()
        if source.package == "client"
        for module, line in inside(source)
        if module.split(".")[0] not in CLIENT_SPEAKS_ONLY
    ]

    assert offenders == []


@pytest.mark.parametrize("dependency", sorted(OPTIONAL))
def test_an_optional_dependency_lives_in_one_place(dependency: str) -> None:
    homes = OPTIONAL[dependency]

    offenders = [
        f"{source.name}:{line}"
        for source in library()
        for module, line in source.imports()
        if belongs(module, dependency)
        and not any(source.name == home or source.name.startswith(f"{home}/") for home in homes)
    ]

    assert offenders == []
