"""Targets: how ``file.py:name`` and ``module:name`` are found, and what is said if they are not."""

from __future__ import annotations

import pytest

from stepflow.cli.exits import ExitCode, Stop
from stepflow.cli.loading import load_app, load_workflow
from tests.cli.terminal import Here

HEAD = "from stepflow import Stepflow, workflow\n"
ONE = HEAD + "@workflow\nasync def lonely() -> int:\n    return 1\n"


@pytest.mark.parametrize(
    "target", ["flows:buy", "flows.py:buy", "./flows.py:buy", "pkg/inner.py:nested", "pkg.inner:nested"]
)
def test_a_workflow_is_found_by_file_and_by_module(here: Here, target: str) -> None:
    (here.folder / "pkg").mkdir()
    here.write("pkg/__init__.py", "")
    here.write("pkg/inner.py", HEAD + "@workflow(id='buy')\nasync def nested() -> None: ...\n")

    loaded = load_workflow(target)

    assert loaded.value.id == "buy"
    assert loaded.module.__name__ in ("flows", "pkg.inner")


def test_a_file_in_another_folder_finds_its_neighbours(here: Here) -> None:
    (here.folder / "elsewhere").mkdir()
    here.write("elsewhere/neighbour.py", ONE)
    here.write("elsewhere/caller.py", "from neighbour import lonely\n")

    assert load_workflow("elsewhere/caller.py").value.id == "lonely"


def test_a_file_is_the_same_module_as_by_its_name(here: Here) -> None:
    assert load_workflow("flows.py:buy").value is load_workflow("flows:buy").value


def test_a_workflow_may_be_named_by_its_id(here: Here) -> None:
    assert load_workflow("flows.py:three-steps").value.id == "three-steps"


def test_the_only_workflow_or_app_need_not_be_named(here: Here) -> None:
    here.write("alone.py", ONE + "app = Stepflow('memory://', workflows=[lonely])\nsame = app\n")

    assert load_workflow("alone").value.id == "lonely"
    assert load_app("alone.py").value.workflows == ["lonely"]


@pytest.mark.parametrize(
    ("target", "code", "message", "hint"),
    [
        ("flow.py:buy", 2, "there is no file flow.py", "did you mean flows.py"),
        ("flow:buy", 2, "there is no module 'flow'", "did you mean flows"),
        ("no.such.thing:buy", 2, "there is no module 'no'", "looked in"),
        ("flows:bye", 3, "nothing that is called 'bye'", "did you mean buy"),
        ("flows:price", 2, "is a Step, not a workflow", "@workflow"),
        ("flows:Order", 2, "is a class, not a workflow", "@workflow"),
        ("flows", 2, "holds 7 workflows", "buy, three_steps"),
        ("shop:app", 2, "shop:app is an app", "stepflow trigger shop:app"),
        (":buy", 2, "names no module", "file.py:name"),
        ("flows:", 2, "names no module", "file.py:name"),
        ("broken:x", 2, "ZeroDivisionError: division by zero (broken.py line 1)", "STEPFLOW_DEBUG"),
        ("typo:x", 2, "SyntaxError", "STEPFLOW_DEBUG"),
        ("needy:x", 2, "No module named 'nowhere_to_be_found'", "is nowhere_to_be_found installed"),
        ("leaving:x", 2, "ends the program when it is imported (leaving.py line 2)", "__main__"),
        ("wrong:x", 2, "@workflow wrong:bad", ""),
        ("json.py:x", 2, "has the name of another module", "rename the file"),
        ("empty", 2, "empty holds no workflow", "@workflow"),
    ],
)
def test_what_can_not_be_loaded_is_told_clearly(
    here: Here, target: str, code: int, message: str, hint: str
) -> None:
    here.write("broken.py", "1 / 0\n")
    here.write("typo.py", "def x(:\n")
    here.write("needy.py", "import nowhere_to_be_found\n")
    here.write("leaving.py", "import sys\nsys.exit(3)\n")
    here.write("wrong.py", HEAD + "@workflow\ndef bad() -> None: ...\n")
    here.write("json.py", ONE)
    here.write("empty.py", "")

    with pytest.raises(Stop) as stopped:
        load_workflow(target)

    assert stopped.value.code == ExitCode(code)
    assert message in stopped.value.message
    assert hint in stopped.value.hint


@pytest.mark.parametrize(
    ("target", "message"),
    [("flows", "flows holds no app"), ("flows:buy", "is a workflow"), ("flows:Path", "not a Stepflow app")],
)
def test_what_is_no_app_is_told_clearly(here: Here, target: str, message: str) -> None:
    with pytest.raises(Stop, match=message):
        load_app(target)
