"""Every framework is optional: without it, its module says what to install."""

from __future__ import annotations

import subprocess
import sys

import pytest

FRAMEWORKS = ["aiohttp", "django", "fastapi", "flask", "litestar", "quart", "starlette"]


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_without_its_framework_a_module_names_the_extra(framework: str) -> None:
    code = (
        f"import sys; sys.modules[{framework!r}] = None\n"
        f"try:\n    import stepflow.integrations.{framework}\n"
        "except ImportError as error:\n    print(type(error).__name__, error)"
    )

    said = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=50
    )

    assert said.stdout.startswith("MissingExtraError ")
    assert f"pip install 'stepflow[{framework}]'" in said.stdout
