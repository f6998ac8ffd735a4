"""No two modules need each other, imports for type checking included: every cycle hides a missing third idea."""

from __future__ import annotations

import ast
from graphlib import CycleError, TopologicalSorter

from tests.architecture.sources import Source, library

# An import that would close a cycle, with the reason why it may.
PARDONED = {
    ("stepflow.app", "stepflow.sync"): "app.sync is imported on first use, and as the type of that property",
}


def needs(source: Source, modules: frozenset[str]) -> set[str]:
    """The library's modules that this one imports, each counted as the module that it is found in."""
    found: set[str] = set()
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names} & modules
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found |= {inner if inner in modules else node.module} & modules
    return found - {source.module}


def test_no_two_modules_need_each_other() -> None:
    modules = frozenset(source.module for source in library())
    graph = {source.module: needs(source, modules) for source in library()}
    for importer, imported in PARDONED:
        graph.get(importer, set()).discard(imported)

    try:
        TopologicalSorter(graph).prepare()
        cycle: list[str] = []
    except CycleError as error:
        cycle = error.args[1]

    assert cycle == []
