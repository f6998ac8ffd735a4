"""The pytest plugin is found by itself, and its fixture serves plain tests; coroutine tests take ``AsyncHarness``."""

from __future__ import annotations

import pytest

pytest_plugins = ["pytester"]

FLOWS = """
from stepflow import sleep, step, workflow

@step
async def charge(amount: int) -> str:
    raise OSError("real")

@workflow
async def checkout(amount: int) -> str:
    await sleep("30d")
    return await charge(amount)
"""
QUIET = ("-p", "no:randomly", "-p", "no:cacheprovider")


def test_the_fixture_opens_harnesses_and_closes_them_with_the_test(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        flows=FLOWS,
        test_flows="""
        from flows import checkout

        seen = []

        def test_checkout(stepflow_harness):
            harness = stepflow_harness(checkout)
            other = stepflow_harness(checkout, replay=False)
            harness.fake("charge", returns="paid")
            seen.append(harness)
            assert harness.run(checkout, 42) == "paid"

        def test_it_is_closed_now():
            import pytest
            from stepflow import BlockingCallError
            with pytest.raises(BlockingCallError):
                seen[0].settle()
        """,
    )

    pytester.runpytest_subprocess(*QUIET).assert_outcomes(passed=2)


def test_a_failed_assertion_shows_the_timeline_and_no_inside_of_the_harness(
    pytester: pytest.Pytester,
) -> None:
    pytester.makepyfile(
        flows=FLOWS,
        test_flows="""
        from flows import checkout

        def test_checkout(stepflow_harness):
            harness = stepflow_harness(checkout)
            run = harness.start(checkout, 42)
            run.assert_steps("charge")
        """,
    )

    result = pytester.runpytest_subprocess(*QUIET)

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "E*expected the steps charge,",
            "E*run 'run-1' of 'checkout': suspended",
            "E*suspended until 2030-01-31*",
        ]
    )
    result.stdout.no_fnmatch_line("*harness/runs.py:*: in *")


def test_with_anyio_the_harness_works_on_the_test_s_loop(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        flows=FLOWS,
        test_flows="""
        import pytest
        from flows import checkout
        from stepflow.testing import AsyncHarness

        pytestmark = pytest.mark.anyio

        @pytest.fixture
        def anyio_backend():
            return "asyncio"

        async def test_checkout():
            async with AsyncHarness(checkout) as harness:
                harness.fake("charge", returns="paid")
                assert await harness.run(checkout, 42) == "paid"
        """,
    )

    pytester.runpytest_subprocess(*QUIET, "-W", "error").assert_outcomes(passed=1)


def test_the_plugin_loads_nothing_of_the_engine_before_it_is_used(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import sys

        def test_nothing():
            assert [name for name in sys.modules if name.startswith(("stepflow._", "msgspec"))] == []
        """
    )

    pytester.runpytest_subprocess(*QUIET, "-p", "no:hypothesispytest").assert_outcomes(passed=1)
