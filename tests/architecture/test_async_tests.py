"""The hook in ``tests/conftest.py`` that runs coroutine tests: it must be able to fail."""

from __future__ import annotations

import pytest

from tests.architecture.sources import ROOT

pytest_plugins = ["pytester"]


@pytest.fixture
def suite(pytester: pytest.Pytester) -> pytest.Pytester:
    """An empty suite with this repository's conftest."""
    pytester.makeconftest((ROOT / "tests" / "conftest.py").read_text(encoding="utf-8"))
    pytester.makeini("[pytest]\nmarkers = deadline(seconds): as in the real one\n")
    return pytester


def outcomes(suite: pytest.Pytester, code: str) -> dict[str, int]:
    suite.makepyfile("import asyncio, pytest\n" + code)
    return suite.runpytest("-p", "no:randomly", "-p", "no:xdist", "-p", "no:cacheprovider").parseoutcomes()


def test_a_coroutine_test_runs_with_its_fixtures(suite: pytest.Pytester) -> None:
    code = "@pytest.fixture\ndef three(): return 3\nasync def test_it(three):\n    await asyncio.sleep(0)\n    assert three == 3"

    assert outcomes(suite, code) == {"passed": 1}


def test_a_coroutine_test_that_fails_is_a_failure(suite: pytest.Pytester) -> None:
    assert outcomes(suite, "async def test_it():\n    assert 1 == 2") == {"failed": 1}


def test_a_coroutine_test_that_hangs_is_ended(suite: pytest.Pytester) -> None:
    code = "@pytest.mark.deadline(0.01)\nasync def test_it():\n    await asyncio.Event().wait()"

    assert outcomes(suite, code) == {"failed": 1}


def test_a_task_left_behind_is_a_failure(suite: pytest.Pytester) -> None:
    code = "async def test_it():\n    global kept\n    kept = asyncio.create_task(asyncio.Event().wait())"

    assert outcomes(suite, code) == {"failed": 1}


def test_a_task_cancelled_in_the_last_line_is_no_leak(suite: pytest.Pytester) -> None:
    code = "async def test_it():\n    asyncio.create_task(asyncio.sleep(99)).cancel()"

    assert outcomes(suite, code) == {"passed": 1}
