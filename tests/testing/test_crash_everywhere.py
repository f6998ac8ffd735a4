"""Every crash is tried; what does not survive one is told, with the place and what ran twice."""

from __future__ import annotations

import asyncio

import pytest

from stepflow import DefinitionError, StepInterruptedError, current_run, sleep, step, workflow
from stepflow.testing import Harness, crash_everywhere, explore_crashes

charged: list[str] = []
keys: set[str] = set()
counts: dict[str, int] = {}


@step
async def charge(amount: int) -> str:
    charged.append(f"charged {amount}")  # nothing keeps it from being done twice
    return "paid"


@step
async def charge_once(amount: int) -> str:
    keys.add(current_run().step.idempotency_key)
    return "paid"


@step
def write_receipt(payment: str) -> str:
    return f"receipt: {payment}"


@step
async def count() -> int:
    counts["all"] = counts.get("all", 0) + 1
    return counts["all"]


@workflow
async def careless(amount: int) -> str:
    payment = await charge(amount)
    await sleep("1d")
    return await write_receipt(payment)


@workflow
async def careful(amount: int) -> str:
    payment = await charge_once(amount)
    await sleep("1d")
    async with asyncio.TaskGroup() as group:
        receipts = [group.create_task(write_receipt(payment)) for _ in range(2)]
    return receipts[0].result()


def pay_carelessly(harness: Harness) -> tuple[str, list[str]]:
    charged.clear()
    return harness.run(careless, 42), list(charged)


def pay_carefully(harness: Harness) -> tuple[str, int]:
    keys.clear()
    return harness.run(careful, 42), len(keys)


def test_planted_non_idempotence_is_found_and_its_place_is_named() -> None:
    report = explore_crashes(pay_carelessly, careless)

    assert report.result == ("receipt: paid", ["charged 42"])
    assert {crash.point.where for crash in report.failures} == {"after step", "before commit"}
    assert all(crash.repeated == {("run-1", "charge"): 1} for crash in report.failures)
    with pytest.raises(AssertionError) as told:
        report.assert_survived()
    text = str(told.value)
    assert "after step of run-1: charge (its function had run, and its result was not written yet)" in text
    assert "['charged 42', 'charged 42']) instead of ('receipt: paid', ['charged 42'])" in text
    assert "step charge ran again after 2 of the crashes" in text


def test_a_workflow_whose_steps_are_idempotent_survives_every_crash() -> None:
    report = explore_crashes(pay_carefully, careful)

    report.assert_survived()
    wheres = [crash.point.where for crash in report.crashes]
    assert wheres.count("before step") == wheres.count("after step") == 3
    assert wheres.count("before commit") == wheres.count("after commit") >= 3
    assert {"charge_once", "write_receipt"} <= {key.rpartition("/")[2] for key in report.repeated}


def test_steps_that_were_not_named_as_repeatable_must_be_executed_once() -> None:
    allowed = explore_crashes(pay_carefully, careful, repeatable={"charge_once", "write_receipt"})
    strict = explore_crashes(pay_carefully, careful, repeatable={"write_receipt"})

    allowed.assert_survived()
    with pytest.raises(AssertionError, match="step charge_once of run-1 was executed 2 times, instead of 1"):
        strict.assert_survived()


@workflow
async def at_most_once_in_it() -> str:
    try:
        return await step(at_most_once=True).run("charge", charge, 1)
    except StepInterruptedError:
        return "to be looked at"


def test_a_step_that_is_at_most_once_is_never_executed_twice() -> None:
    def scenario(harness: Harness) -> bool:
        charged.clear()
        return harness.run(at_most_once_in_it) in ("paid", "to be looked at") and len(charged) <= 1

    report = explore_crashes(scenario, at_most_once_in_it, repeatable=())

    report.assert_survived()
    assert report.repeated == frozenset()


@workflow
async def counting() -> int:
    await count()
    return await count()


def test_a_result_that_depends_on_a_crash_is_told() -> None:
    def scenario(harness: Harness) -> int:
        counts.clear()
        return harness.run(counting)

    with pytest.raises(AssertionError, match="the result differs: 3 instead of 2"):
        explore_crashes(scenario, counting).assert_survived()


def test_an_assertion_of_the_scenario_that_fails_after_a_crash_is_told() -> None:
    def scenario(harness: Harness) -> None:
        charged.clear()
        harness.run(careless, 1)
        assert len(charged) == 1, "charged twice"

    with pytest.raises(AssertionError, match="the scenario failed: AssertionError: charged twice"):
        explore_crashes(scenario, careless).assert_survived()


def test_a_scenario_that_fails_without_a_crash_fails_as_it_is() -> None:
    def scenario(harness: Harness) -> None:
        raise LookupError("a mistake")

    with pytest.raises(LookupError, match="a mistake"):
        explore_crashes(scenario, careless)


def test_a_scenario_that_is_never_the_same_is_told() -> None:
    plays: list[int] = []

    def scenario(harness: Harness) -> None:
        plays.append(1)
        if len(plays) == 1:
            harness.run(careless, 1)

    with pytest.raises(AssertionError, match="does not do the same each time"):
        explore_crashes(scenario, careless).assert_survived()


@pytest.fixture
def amount() -> int:
    return 42


@crash_everywhere(careful)
def test_the_decorator_makes_a_test_that_may_have_fixtures(harness: Harness, amount: int) -> str:
    return harness.run(careful, amount)


def test_the_decorator_s_test_fails_with_the_report() -> None:
    test = crash_everywhere(careless)(pay_carelessly)

    with pytest.raises(AssertionError, match="of them were not survived"):
        test()


def test_a_coroutine_is_no_scenario() -> None:
    async def scenario(harness: Harness) -> None: ...

    with pytest.raises(DefinitionError):
        explore_crashes(scenario, careless)
    with pytest.raises(DefinitionError):
        crash_everywhere(careless)(scenario)
