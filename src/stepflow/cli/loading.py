"""Loading: ``path/to/file.py:name`` or ``package.module:name`` as the workflow or app that it names."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType
from typing import Any, Generic, TypeGuard, TypeVar

from stepflow.app import Stepflow
from stepflow.cli.exits import ExitCode, Stop
from stepflow.errors import DefinitionError, MissingExtraError, StepflowError
from stepflow.observability.logging import safe_text
from stepflow.workflows import Workflow

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded(Generic[T]):
    """What a target names, and the module that it was found in."""

    value: T
    module: ModuleType


def load_workflow(target: str) -> Loaded[Workflow[Any, Any]]:
    """The workflow that ``target`` names, by its Python name or its id; alone in its module, it need not be named."""
    module, name = _load(target)
    workflows = _workflows(module)
    if name is None:
        return Loaded(value=_only(target, "workflow", workflows), module=module)
    by_id = {each.id: each for each in workflows.values()}
    value = _attribute(target, module, name, known=[*workflows, *by_id], fallback=by_id.get(name))
    if isinstance(value, Stepflow):
        raise Stop(
            ExitCode.USAGE,
            f"{target} is an app, and `stepflow run` runs a single workflow",
            hint=f"`stepflow worker {target}` serves it, `stepflow trigger {target} WORKFLOW` starts a run",
        )
    if not _is_workflow(value):
        hint = (
            "put @workflow above it"
            if callable(value)
            else f"{_names('workflow', workflows)}; name one of them"
        )
        raise Stop(ExitCode.USAGE, f"{target} is {_described(value)}, not a workflow", hint=hint)
    return Loaded(value=value, module=module)


def load_app(target: str) -> Loaded[Stepflow]:
    """The app that ``target`` names; alone in its module, it need not be named."""
    module, name = _load(target)
    apps = _held(module, Stepflow)
    if name is None:
        return Loaded(value=_only(target, "app", apps), module=module)
    value = _attribute(target, module, name, known=list(apps))
    if isinstance(value, Workflow):
        raise Stop(
            ExitCode.USAGE,
            f"{target} is a workflow, and this command takes the app that holds it",
            hint=f"make one: app = Stepflow('sqlite:///stepflow.db', workflows=[{name}]); "
            f"or run it alone with `stepflow run {target}`",
        )
    if not isinstance(value, Stepflow):
        raise Stop(
            ExitCode.USAGE,
            f"{target} is {_described(value)}, not a Stepflow app",
            hint=f"{_names('app', apps)}; an app is made by Stepflow(storage, workflows=[...])",
        )
    return Loaded(value=value, module=module)


def workflows_in(module: ModuleType) -> list[Workflow[Any, Any]]:
    """Every workflow that the module holds: a run of one may start runs of the others."""
    return list(_workflows(module).values())


def _is_workflow(value: object) -> TypeGuard[Workflow[Any, Any]]:
    return isinstance(value, Workflow)


def _workflows(module: ModuleType) -> dict[str, Workflow[Any, Any]]:
    kind: type[Workflow[Any, Any]] = Workflow
    return _held(module, kind)


# ------------------------------------------------------------------ modules
def _load(target: str) -> tuple[ModuleType, str | None]:
    place, name = _split(target)
    path = Path(place)
    if path.suffix == ".py" or os.sep in place or "/" in place:
        return _load_file(path), name
    _search_first(Path.cwd())
    return _import(place, shown=place), name


def _split(target: str) -> tuple[str, str | None]:
    place, separator, name = target.rpartition(":")
    if not separator or Path(target).is_file():
        place, name = target, ""
    if not place or (separator and place != target and not name):
        raise Stop(
            ExitCode.USAGE,
            f"{target!r} names no module",
            hint="write path/to/file.py:name or package.module:name",
        )
    return place, name or None


def _load_file(path: Path) -> ModuleType:
    """Import a file under the name that a plain import would give it: journals remember the names of functions."""
    if not path.is_file():
        raise Stop(
            ExitCode.USAGE,
            f"there is no file {path}",
            hint=_near_files(path) or f"looked in {path.parent.resolve()}",
        )
    path = path.resolve()
    parts = [] if path.stem == "__init__" else [path.stem]
    folder = path.parent
    while (folder / "__init__.py").is_file():
        parts.insert(0, folder.name)
        folder = folder.parent
    if any("." in part for part in parts):
        raise Stop(
            ExitCode.USAGE, f"{path.name} can't be imported: its name has a dot in it", hint="rename it"
        )
    _search_first(Path.cwd())
    _search_first(folder)
    module = _import(".".join(parts), shown=str(path))
    found = getattr(module, "__file__", None)
    if found is None or Path(found).resolve() != path:
        raise Stop(
            ExitCode.USAGE,
            f"{path.name} has the name of another module ({found or module.__name__}), which is found first",
            hint="rename the file",
        )
    return module


def _search_first(folder: Path) -> None:
    if sys.path[:1] != [str(folder)]:
        sys.path.insert(0, str(folder))


def _import(name: str, *, shown: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(f"{error.name}.")):
            raise Stop(
                ExitCode.USAGE,
                f"there is no module {error.name!r}",
                hint=_near_modules(name) or f"looked in {Path.cwd()} and on the Python path",
            ) from error
        raise _broken(shown, error, hint=f"is {error.name} installed in this environment?") from error
    except (DefinitionError, MissingExtraError) as error:
        raise Stop(ExitCode.USAGE, str(error)) from error
    except SystemExit as error:
        raise Stop(
            ExitCode.USAGE,
            f"{shown} ends the program when it is imported ({_place_of(error)})",
            hint='put what it does as a program below `if __name__ == "__main__":`',
        ) from error
    except Exception as error:
        raise _broken(shown, error) from error


def _broken(shown: str, error: Exception, *, hint: str = "STEPFLOW_DEBUG=1 shows the traceback") -> Stop:
    where = _place_of(error)
    what = str(error) if isinstance(error, StepflowError) else f"{type(error).__name__}: {error}"
    return Stop(ExitCode.USAGE, f"{shown} can't be imported: {what} ({where})", hint=hint)


def _place_of(error: BaseException) -> str:
    """File and line of the user's code that raised."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{Path(error.filename).name} line {error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if not frame.filename.startswith("<frozen")]
    if not own:
        return "while importing it"
    return f"{Path(own[-1].filename).name} line {own[-1].lineno}"


# ------------------------------------------------------------------ what a module holds
def _held(module: ModuleType, kind: type[T]) -> dict[str, T]:
    """The objects of one kind in a module, each under its first name."""
    found: dict[int, tuple[str, T]] = {}
    for name, value in vars(module).items():
        # By class, not isinstance: an object in a user's module may pretend to be anything.
        if issubclass(type(value), kind):
            found.setdefault(id(value), (name, value))
    return dict(found.values())


def _only(target: str, what: str, held: dict[str, T]) -> T:
    if len(held) == 1:
        return next(iter(held.values()))
    if not held:
        raise Stop(
            ExitCode.USAGE,
            f"{target} holds no {what}",
            hint="put @workflow above an `async def` function at the top level"
            if what == "workflow"
            else "make one at the top level: app = Stepflow('sqlite:///stepflow.db', workflows=[...])",
        )
    raise Stop(
        ExitCode.USAGE,
        f"{target} holds {len(held)} {what}s",
        hint=f"name one of them, like {target}:{next(iter(held))} ({', '.join(held)})",
    )


def _attribute(
    target: str, module: ModuleType, name: str, *, known: Iterable[str], fallback: Any = None
) -> Any:
    value: Any = module
    for part in name.split("."):
        try:
            value = getattr(value, part)
        except AttributeError:
            if fallback is not None:
                return fallback
            names = list(dict.fromkeys(known))
            nearest = get_close_matches(name, names, n=3)
            hint = (
                f"did you mean {' or '.join(nearest)}?"
                if nearest
                else f"it holds {', '.join(names) or 'none'}"
            )
            raise Stop(
                ExitCode.REFUSED,
                f"{module.__name__} holds nothing that is called {name!r} ({target})",
                hint=hint,
            ) from None
    return value


def _names(what: str, held: dict[str, Any]) -> str:
    return f"the {what}s there: {', '.join(held)}" if held else f"there is no {what} in that module"


def _described(value: object) -> str:
    kind = type(value).__name__
    return "a function" if kind == "function" else f"a {kind}" if kind != "type" else "a class"


def _near_files(path: Path) -> str:
    folder = path.parent if path.parent.is_dir() else Path()
    names = [each.name for each in folder.glob("*.py")]
    nearest = get_close_matches(path.name, names, n=3)
    return (
        f"did you mean {' or '.join(safe_text(str(path.parent / name)) for name in nearest)}?"
        if nearest
        else ""
    )


def _near_modules(name: str) -> str:
    names = [each.stem for each in Path.cwd().glob("*.py")]
    names += [each.parent.name for each in Path.cwd().glob("*/__init__.py")]
    nearest = get_close_matches(name.partition(".")[0], names, n=3)
    return f"did you mean {' or '.join(map(safe_text, nearest))}?" if nearest else ""
