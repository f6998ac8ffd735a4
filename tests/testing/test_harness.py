"""The harness runs workflows on the real engine; time, steps and crashes are in the test's hands."""

from __future__ import annotations

import asyncio
import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from stepflow import (
    BlockingCallError,
    DefinitionError,
    EventTimeoutError,
    InputError,
    Retry,
    RunCancelledError,
    RunFailedError,
    RunPausedError,
    Stepflow,
    StepTimeoutError,
    continue_as,
    current_run,
    sleep,
    step,
    wait_for_event,
    workflow,
)
from stepflow.codecs.compressed import Compressed
from stepflow.testing import Harness

SLOW = Retry(attempts=3, delay="1h", max_delay="1d", jitter=False)


@step(retry=SLOW)
async def charge(amount: int) -> str:
    raise OSError("this would really charge somebody")


@step(timeout="30s", retry=1)
async def ask_the_bank(amount: int) -> bool:
    return amount < 1000


@step
def write_receipt(payment: str) -> str:
    current_run().log.debug("writing %s", payment)
    return f"receipt: {payment}"


@workflow
async def month(amount: int) -> str:
    current_run().log.info("a month begins")
    payment = await charge(amount)
    await sleep("rest", "30d")
    try:
        payment = await wait_for_event("refund", timeout="7d", type=str)
    except EventTimeoutError:
        current_run().log.info("no refund")
    return await write_receipt(payment)


def test_a_month_with_sleeps_retries_and_timeouts_passes_at_once() -> None:
    with Harness(month) as harness:
        harness.fake("charge", returns="paid")
        harness.fake("charge", raises=OSError("down"), times=2)

        run = harness.start(month, 42)
        result = harness.result(run)

        assert result == "receipt: paid"
        assert harness.now == datetime(2030, 2, 7, 3, tzinfo=UTC)  # 1 h and 2 h of retries, 30 days, 7 days
        assert [(call.attempt, call.args) for call in harness.calls("charge")] == [
            (1, (42,)),
            (2, (42,)),
            (3, (42,)),
        ]


def test_each_thing_happens_at_its_own_instant_however_far_time_is_moved() -> None:
    with Harness(month) as harness:
        harness.fake("charge", returns="paid")
        harness.fake("charge", raises=OSError("down"), times=1)
        run = harness.start(month, 1)

        harness.advance("60d")

        ended = {each.key: each.ended_at for each in run.steps}
        begun = datetime(2030, 1, 1, tzinfo=UTC)
        assert ended["charge"] == begun + timedelta(hours=1)
        assert ended["rest"] == begun + timedelta(hours=1, days=30)
        assert ended["write_receipt"] == begun + timedelta(hours=1, days=37)
        assert harness.now == begun + timedelta(days=60)


def test_time_passes_up_to_what_was_asked_and_no_further() -> None:
    with Harness(month) as harness:
        harness.fake("charge", returns="paid")
        run = harness.start(month, 1)

        harness.advance("29d 23h")
        assert run.step_keys == ["charge"]
        assert run.wakes_at == datetime(2030, 1, 31, tzinfo=UTC)
        harness.advance("1h")

        run.assert_waits_for("refund")
        harness.run_until(datetime(2030, 2, 6, tzinfo=UTC))
        run.assert_status("suspended")
        harness.run_until(lambda: run.ended)
        run.assert_completed("receipt: paid")


def test_an_event_reaches_the_run_at_the_clock_s_time() -> None:
    with Harness(month) as harness:
        harness.fake("charge", returns="paid")
        run = harness.start(month, 1)
        harness.run_until(lambda: bool(run.waits))

        woken = harness.notify("refund", "paid back")

        assert woken == 1
        run.assert_completed("receipt: paid back")
        run.assert_steps("charge", "write_receipt")


def test_what_runs_and_steps_log_is_seen_once_though_they_are_replayed() -> None:
    with Harness(month) as harness:
        harness.fake("charge", returns="paid")
        run = harness.start(month, 1)
        harness.result(run)

        assert run.logs == ["a month begins", "no refund", "writing paid"]
        assert harness.logs == run.logs


# ================================================================ fakes
@workflow
async def twice(amount: int) -> list[str]:
    return [await charge(amount), await charge(amount + 1)]


def test_a_step_is_faked_by_its_name_its_key_or_its_function() -> None:
    with Harness(twice) as harness:
        by_function = harness.fake(charge, returns="function")
        assert harness.run(twice, 1) == ["function", "function"]
        harness.fake("charge", returns="name")
        assert harness.run(twice, 1) == ["name", "name"]
        harness.fake("charge:2", returns="key")
        assert harness.run(twice, 1) == ["name", "key"]

        assert by_function.used == 2
        assert len(harness.calls(charge)) == 6
        assert [call.key for call in harness.calls("charge:2")] == ["charge:2"] * 3
        assert all(call.faked for call in harness.calls())


def test_a_fake_may_be_a_function_plain_or_not() -> None:
    async def slowly(amount: int) -> str:
        await asyncio.sleep(0)
        return f"paid {amount} slowly"

    with Harness(twice) as harness:
        harness.fake("charge", lambda amount: f"paid {amount}")
        harness.fake("charge:2", slowly)

        assert harness.run(twice, 7) == ["paid 7", "paid 8 slowly"]


def test_what_a_fake_returns_is_held_to_the_step_s_own_type() -> None:
    with Harness(twice) as harness:
        harness.fake("charge", returns=3)

        with pytest.raises(RunPausedError, match="charge"):
            harness.run(twice, 1)


class Gateway:
    @step
    async def ship(self, parcel: str) -> str:
        raise OSError("this would really ship something")


gateway = Gateway()


@workflow
async def shipping() -> str:
    return await gateway.ship("book")


def test_a_method_is_faked_like_a_function() -> None:
    with Harness(shipping) as harness:
        harness.fake(Gateway.ship, returns="shipped")

        assert harness.run(shipping) == "shipped"


@workflow
async def credit(amount: int) -> str:
    try:
        return "granted" if await ask_the_bank(amount) else "refused"
    except StepTimeoutError:
        return "ask again"


def test_a_step_that_hangs_is_cut_off_by_its_own_timeout() -> None:
    with Harness(credit) as harness:
        harness.fake("ask_the_bank", hangs=True)
        run = harness.start(credit, 5)
        run.assert_status("running")

        assert harness.result(run) == "ask again"
        assert harness.now == datetime(2030, 1, 1, 0, 0, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    "fake",
    [{}, {"returns": 1, "hangs": True}, {"raises": OSError, "returns": None}, {"returns": 1, "times": 0}],
)
def test_a_fake_that_is_told_nothing_or_two_things_is_refused(fake: dict[str, Any]) -> None:
    with Harness(twice) as harness, pytest.raises(DefinitionError):
        harness.fake("charge", **fake)


# ================================================================ the real engine
@workflow
async def parent(names: list[str]) -> list[str]:
    return [await step.invoke(child, name) for name in names]


@workflow
async def child(name: str) -> str:
    await sleep("1d")
    return name.upper()


def test_children_are_runs_of_the_harness_too() -> None:
    with Harness(parent, child) as harness:
        assert harness.run(parent, ["a", "b"]) == ["A", "B"]

        children = harness.runs(child)
        assert [run.output for run in children] == ["A", "B"]
        assert len(harness.runs()) == 3
        assert harness.get(children[0].id, child).output == "A"


@workflow
async def countdown(left: int) -> str:
    await sleep("1d")
    if left:
        continue_as(left - 1)
    return "lift-off"


def test_a_run_that_continues_as_another_is_followed_to_its_end() -> None:
    with Harness(countdown) as harness:
        assert harness.run(countdown, 3) == "lift-off"
        assert harness.now == datetime(2030, 1, 5, tzinfo=UTC)


def test_runs_are_paused_resumed_cancelled_and_retried() -> None:
    with Harness(month) as harness:
        harness.fake("charge", returns="paid")
        harness.fake("charge", raises=OSError("down"), times=3)
        run = harness.start(month, 1)
        with pytest.raises(RunFailedError, match="down"):
            harness.result(run)
        run.assert_failed(OSError, match="down")

        harness.retry(run)
        run.assert_steps("charge")
        harness.pause(run)
        with pytest.raises(RunPausedError):
            harness.result(run)
        harness.resume(run)
        run.assert_status("suspended")
        harness.cancel(run)
        with pytest.raises(RunCancelledError):
            harness.result(run)


def test_a_delayed_run_begins_when_its_time_has_come() -> None:
    with Harness(credit) as harness:
        run = harness.start(credit, 5, delay="3d", id="later", tags={"a": "b"})
        assert (run.id, run.status.value, dict(run.record.tags)) == ("later", "queued", {"a": "b"})

        assert harness.result(run) == "granted"
        assert harness.now == datetime(2030, 1, 4, tzinfo=UTC)


def test_after_a_crash_the_run_goes_on_elsewhere_and_no_recorded_step_runs_again() -> None:
    with Harness(month) as harness:
        harness.fake("charge", returns="paid")
        run = harness.start(month, 1)

        harness.crash()

        assert harness.result(run) == "receipt: paid"
        assert len(harness.calls("charge")) == 1
        assert harness.crashes == 1


def test_an_app_brings_its_codecs_errors_and_queues_along() -> None:
    app = Stepflow(
        "sqlite:///never-made.db", workflows=[credit], codec=Compressed(smallest=1), queues=["default"]
    )
    with Harness(app) as harness:
        run = harness.start(credit, 5)

        assert harness.result(run) == "granted"
        assert run.record.output is not None
        assert run.record.output.codec != "json"


def test_two_harnesses_know_nothing_of_each_other() -> None:
    with Harness(credit) as one, Harness(credit) as other:
        one.fake("ask_the_bank", returns=False)

        assert (one.run(credit, 5), other.run(credit, 5)) == ("refused", "granted")


# ================================================================ what goes wrong is told
def test_a_run_that_waits_for_what_nobody_sends_is_shown_with_all_that_happened() -> None:
    @workflow
    async def forever() -> str:
        return await wait_for_event("godot", type=str)

    with Harness(forever) as harness:
        run = harness.start(forever)
        with pytest.raises(AssertionError) as told:
            harness.result(run)

    text = str(told.value)
    assert "nothing goes on by itself any more" in text
    assert "run 'run-1' of 'forever': suspended" in text
    assert "suspended until event godot" in text


def test_a_condition_that_does_not_come_in_time_is_told() -> None:
    with Harness(countdown) as harness:
        harness.start(countdown, 100)
        with pytest.raises(AssertionError, match="did not come within 10 days"):
            harness.run_until(lambda: False, limit="10d")


def test_an_assertion_that_fails_says_what_was_expected_and_what_happened() -> None:
    with Harness(twice) as harness:
        harness.fake("charge", returns="paid")
        run = harness.start(twice, 1)

        failures: list[str] = []
        for check in (
            lambda: run.assert_steps("charge"),
            lambda: run.assert_completed(["nothing"]),
            lambda: run.assert_failed(),
            lambda: run.assert_waits_for("x"),
        ):
            with pytest.raises(AssertionError) as told:
                check()
            failures.append(str(told.value))

    assert failures[0].startswith("expected the steps charge,\n     got the steps charge, charge:2\n")
    assert "expected the result ['nothing'], got ['paid', 'paid']" in failures[1]
    assert failures[2].startswith("expected the run to be failed\nrun 'run-1' of 'twice': completed")
    assert "expected it to wait for ['x'], it waits for []" in failures[3]
    assert all('step charge:2 → "paid"' in text for text in failures)


def test_a_step_that_takes_too_long_in_real_time_is_named() -> None:
    go = threading.Event()

    @step
    def stubborn() -> None:
        go.wait(20)

    @workflow
    async def stuck() -> None:
        await stubborn()

    with Harness(stuck, patience="50ms") as harness:
        with pytest.raises(
            AssertionError, match=r"still executing after 0\.05 s of real time: stubborn of run-1"
        ):
            harness.start(stuck)
        go.set()


async def test_on_a_running_loop_the_blocking_harness_says_which_one_to_take() -> None:
    with pytest.raises(BlockingCallError, match="async with AsyncHarness"), Harness(credit):
        pass


def test_a_harness_that_is_not_open_says_so() -> None:
    with pytest.raises(BlockingCallError, match="with Harness"):
        Harness(credit).settle()


def test_a_naive_instant_is_refused() -> None:
    with Harness(credit) as harness, pytest.raises(InputError, match="time zone"):
        harness.run_until(datetime(2030, 1, 2))  # noqa: DTZ001 - that is the point
