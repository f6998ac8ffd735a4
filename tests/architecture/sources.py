"""The library's source files as syntax trees, read once, with the few questions that the tests ask of them."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "stepflow"

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One Python file. ``name`` is its path below the package, ``module`` its dotted name."""

    path: Path
    name: str
    module: str
    lines: int
    tree: ast.Module

    @property
    def package(self) -> str:
        """The first name below ``stepflow``: ``_engine``, ``storage``, ``errors`` …"""
        return self.name.split("/")[0].removesuffix(".py")

    def functions(self) -> Iterator[FunctionNode]:
        """Every function and method, nested ones too."""
        for node in ast.walk(self.tree):
            if isinstance(node, FunctionNode):
                yield node

    def classes(self) -> Iterator[ast.ClassDef]:
        """Every class, nested ones too."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.ClassDef):
                yield node

    def imports(self) -> Iterator[tuple[str, int]]:
        """Every imported module with its line; ``from a import b`` gives both ``a`` and ``a.b``."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    yield alias.name, node.lineno
            elif isinstance(node, ast.ImportFrom):
                module = "." * node.level + (node.module or "")
                yield module, node.lineno
                for alias in node.names:
                    yield f"{module}.{alias.name}", node.lineno


def read(path: Path, below: Path) -> Source:
    """Parse one file; ``below`` is the folder that its name is relative to."""
    text = path.read_text(encoding="utf-8")
    name = path.relative_to(below).as_posix()
    dotted = ".".join(path.relative_to(below.parent).with_suffix("").parts).removesuffix(".__init__")
    return Source(
        path=path, name=name, module=dotted, lines=text.count("\n"), tree=ast.parse(text, str(path))
    )


@functools.cache
def library() -> tuple[Source, ...]:
    """Every Python file of ``src/stepflow``."""
    return tuple(read(path, PACKAGE) for path in sorted(PACKAGE.rglob("*.py")))


@functools.cache
def sources_of_tests() -> tuple[Source, ...]:
    """Every Python file of ``tests``."""
    found = sorted((ROOT / "tests").rglob("*.py"))
    return tuple(read(path, ROOT / "tests") for path in found if "node_modules" not in path.parts)


def belongs(module: str, to: str) -> bool:
    """True if ``module`` is ``to`` or lies inside it."""
    return module == to or module.startswith(f"{to}.")


def calls(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Every call written as a dotted name (``time.sleep(…)``), with its line.

    A seeded ``random.Random(…)`` is left out: it gives what its seed says, and asks nobody.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            if not (name.endswith("random.Random") and node.args):
                yield name, node.lineno
