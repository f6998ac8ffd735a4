"""Retry: which failures are tried again, and after how long."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepflow.errors import (
    DefinitionError,
    FatalError,
    PayloadTooLargeError,
    RetryAfter,
    SerializationError,
    StepTimeoutError,
)
from stepflow.retry import RETRY_AFTER_LONGEST, RETRY_AFTER_SHORTEST, Retry

BROKEN = ValueError("broken")


def low() -> float:
    return 0.0


def high() -> float:
    return 1 - 2**-53


def delays(retry: Retry, *attempts: int) -> list[float | None]:
    """Seconds to wait after each of these attempts failed."""
    found = [retry.next_delay(attempt, BROKEN, random=low) for attempt in attempts]
    return [None if delay is None else delay.total_seconds() for delay in found]


def test_the_first_attempt_counts() -> None:
    assert delays(Retry(attempts=3, jitter=False), 1, 2, 3, 4) == [1.0, 2.0, None, None]


def test_one_attempt_is_no_retry() -> None:
    assert delays(Retry(attempts=1), 1) == [None]


def test_an_int_stands_for_the_number_of_attempts() -> None:
    policy = Retry(attempts=7)

    assert Retry.of(7) == policy
    assert Retry.of(policy) is policy


def test_delays_grow_up_to_the_longest() -> None:
    retry = Retry(attempts=None, delay="1s", backoff=3, max_delay="10s", jitter=False)

    assert delays(retry, 1, 2, 3, 4, 5) == [1, 3, 9, 10, 10]


def test_a_backoff_of_one_keeps_the_delay() -> None:
    assert delays(Retry(attempts=None, delay="2s", backoff=1, jitter=False), 1, 50) == [2, 2]


@pytest.mark.parametrize("attempt", [1_000, 10_000, 10**9])
def test_unlimited_attempts_never_overflow(attempt: int) -> None:
    retry = Retry(attempts=None, delay="1us", max_delay="1h", jitter=False)

    assert delays(retry, attempt) == [3600]


def test_no_delay_stays_no_delay() -> None:
    assert delays(Retry(attempts=None, delay=0), 1, 10_000) == [0, 0]


def test_jitter_draws_from_the_upper_half() -> None:
    retry = Retry(delay="10s")

    assert retry.next_delay(1, BROKEN, random=low) == timedelta(seconds=5)
    assert (
        timedelta(seconds=9.99)
        < (retry.next_delay(1, BROKEN, random=high) or timedelta(0))
        <= timedelta(seconds=10)
    )


@settings(deadline=None)
@given(
    attempt=st.integers(1, 10_000),
    delay=st.floats(0, 3600),
    backoff=st.floats(1, 1e6),
    drawn=st.floats(0, 1, exclude_max=True),
    jitter=st.booleans(),
)
def test_a_delay_is_never_negative_and_never_over_the_longest(
    attempt: int, delay: float, backoff: float, drawn: float, jitter: bool
) -> None:
    retry = Retry(attempts=None, delay=delay, backoff=backoff, max_delay="2h", jitter=jitter)

    found = retry.next_delay(attempt, BROKEN, random=lambda: drawn)

    assert found is not None
    assert timedelta(0) <= found <= timedelta(hours=2)


def test_only_the_named_failures_are_tried_again() -> None:
    retry = Retry(on=(OSError,), never_on=(PermissionError,), jitter=False)

    assert retry.next_delay(1, ConnectionError(), random=low) == timedelta(seconds=1)
    assert retry.next_delay(1, PermissionError(), random=low) is None
    assert retry.next_delay(1, ValueError(), random=low) is None


@pytest.mark.parametrize(
    "error",
    [
        FatalError("final"),
        SerializationError("a lock is no JSON"),
        PayloadTooLargeError("the result", size=2, limit=1),
        ExceptionGroup("several", [ValueError(), ExceptionGroup("inner", [FatalError("final")])]),
    ],
)
def test_what_would_end_the_same_way_is_final(error: Exception) -> None:
    assert Retry(attempts=None, on=(Exception, FatalError)).next_delay(1, error, random=low) is None


@pytest.mark.parametrize(
    "error", [KeyboardInterrupt(), SystemExit(), asyncio.CancelledError(), GeneratorExit()]
)
def test_what_is_no_exception_is_never_tried_again(error: BaseException) -> None:
    assert Retry(attempts=None).next_delay(1, error, random=low) is None


def test_groups_and_timeouts_are_tried_again() -> None:
    retry = Retry()

    assert retry.next_delay(1, ExceptionGroup("several", [ValueError()]), random=low) is not None
    assert retry.next_delay(1, StepTimeoutError("late"), random=low) is not None


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ("30s", timedelta(seconds=30)),
        (2.5, timedelta(seconds=2.5)),
        (timedelta(hours=1), timedelta(hours=1)),
        ("120", timedelta(seconds=120)),
        (0, RETRY_AFTER_SHORTEST),
        ("0", RETRY_AFTER_SHORTEST),
        (-5, RETRY_AFTER_SHORTEST),
        (timedelta(seconds=-5), RETRY_AFTER_SHORTEST),
        ("99999d", RETRY_AFTER_LONGEST),
        (1e300, RETRY_AFTER_LONGEST),
        (float("inf"), RETRY_AFTER_LONGEST),
        pytest.param("9" * 5000, RETRY_AFTER_LONGEST, id="many digits"),
        (timedelta.max, RETRY_AFTER_LONGEST),
    ],
)
def test_retry_after_sets_its_own_delay_within_limits(wanted: Any, expected: timedelta) -> None:
    assert Retry(max_delay="5s").next_delay(1, RetryAfter(wanted), random=low) == expected


@pytest.mark.parametrize("wanted", ["soon", "1y", "١٢", float("nan"), None, "", True, "-1s"])
def test_a_retry_after_that_can_not_be_read_leaves_the_policy_its_delay(wanted: Any) -> None:
    assert Retry(delay="4s", jitter=False).next_delay(1, RetryAfter(wanted), random=low) == timedelta(
        seconds=4
    )


def test_retry_after_uses_an_attempt() -> None:
    assert Retry(attempts=2).next_delay(2, RetryAfter("1s"), random=low) is None


def test_retry_after_needs_no_mention_in_on_but_heeds_never_on() -> None:
    assert Retry(on=(OSError,)).next_delay(1, RetryAfter("3s"), random=low) == timedelta(seconds=3)
    assert Retry(never_on=(RetryAfter,)).next_delay(1, RetryAfter("3s"), random=low) is None


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"attempts": 0}, "attempts=0"),
        ({"attempts": -1}, "attempts=-1"),
        ({"attempts": True}, "attempts=True"),
        ({"attempts": 2.0}, "attempts=2.0"),
        ({"attempts": "3"}, "attempts='3'"),
        ({"backoff": 0.5}, "backoff=0.5"),
        ({"backoff": float("nan")}, "backoff=nan"),
        ({"backoff": float("inf")}, "backoff=inf"),
        ({"backoff": True}, "backoff=True"),
        ({"backoff": "2"}, "backoff='2'"),
        ({"jitter": 1}, "jitter=1"),
        ({"delay": "soon"}, "delay='soon'.*not a duration"),
        ({"delay": -1}, "delay=-1.*negative"),
        ({"max_delay": "1y"}, "max_delay='1y'.*months or years"),
        ({"delay": "5m"}, "longer than max_delay"),
        ({"on": ValueError}, r"tuple of exception classes"),
        ({"on": [ValueError]}, r"tuple of exception classes"),
        ({"on": (KeyboardInterrupt,)}, "not a subclass of Exception"),
        ({"never_on": ("ValueError",)}, "not a subclass of Exception"),
    ],
)
def test_a_policy_that_makes_no_sense_is_refused_where_it_is_written(
    options: dict[str, Any], problem: str
) -> None:
    with pytest.raises(DefinitionError, match=problem):
        Retry(**options)


def test_policies_are_equal_by_what_they_mean() -> None:
    assert Retry(delay="1500ms") == Retry(delay=1.5)
    assert hash(Retry()) == hash(Retry(attempts=3))


def test_a_policy_can_not_be_changed() -> None:
    with pytest.raises(AttributeError):
        Retry().attempts = 5  # type: ignore[misc]
