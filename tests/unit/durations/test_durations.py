"""Durations: every written form, exactly; every ambiguous one refused with a way out."""

from __future__ import annotations

import math
import time
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepflow.durations import format_duration, parse_duration
from stepflow.errors import DurationError

LONGEST_SECONDS = timedelta.max // timedelta(seconds=1)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("500ms", timedelta(milliseconds=500)),
        ("30s", timedelta(seconds=30)),
        ("15m", timedelta(minutes=15)),
        ("1h30m", timedelta(minutes=90)),
        ("1h 30m", timedelta(minutes=90)),
        ("  2 days ", timedelta(days=2)),
        ("1 hour 30 minutes", timedelta(minutes=90)),
        ("3d", timedelta(days=3)),
        ("2w", timedelta(weeks=2)),
        ("1W2D", timedelta(days=9)),
        ("1.5h", timedelta(minutes=90)),
        ("0.1s", timedelta(milliseconds=100)),
        ("250us", timedelta(microseconds=250)),
        ("250\u00b5s", timedelta(microseconds=250)),
        ("250\u03bcs", timedelta(microseconds=250)),
        ("0s", timedelta(0)),
        (
            "1w2d3h4m5s6ms7us",
            timedelta(days=9, hours=3, minutes=4, seconds=5, milliseconds=6, microseconds=7),
        ),
        ("P3D", timedelta(days=3)),
        ("P1W", timedelta(weeks=1)),
        ("PT1H30M", timedelta(minutes=90)),
        ("P1DT0.5S", timedelta(days=1, milliseconds=500)),
        ("PT0,5S", timedelta(milliseconds=500)),
        ("PT0S", timedelta(0)),
    ],
)
def test_a_text_is_read_exactly(text: str, expected: timedelta) -> None:
    assert parse_duration(text) == expected


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (0, timedelta(0)),
        (90, timedelta(seconds=90)),
        (0.1, timedelta(milliseconds=100)),
        (0.1 + 0.2, timedelta(milliseconds=300)),
        (1e-9, timedelta(microseconds=1)),
        (5e-324, timedelta(microseconds=1)),
        (1.4e-6, timedelta(microseconds=2)),
        (1.0006e-6, timedelta(microseconds=2)),
        (-0.0, timedelta(0)),
        (2_147_483.648, timedelta(milliseconds=2_147_483_648)),
        (315_360_000, timedelta(days=3650)),
    ],
)
def test_a_number_is_seconds(number: float, expected: timedelta) -> None:
    assert parse_duration(number) == expected


def test_a_number_of_another_library_counts_by_its_value_not_by_its_looks() -> None:
    class Float64(float):
        def __repr__(self) -> str:
            return f"np.float64({float(self)})"

    assert parse_duration(Float64(0.1)) == timedelta(milliseconds=100)


def test_a_timedelta_is_itself() -> None:
    assert parse_duration(timedelta.max) == timedelta.max


def test_what_is_finer_than_a_microsecond_is_rounded_up_so_that_nothing_is_early() -> None:
    assert parse_duration("0.0001us") == timedelta(microseconds=1)
    assert parse_duration("1.0000001s") == timedelta(seconds=1, microseconds=1)


@pytest.mark.parametrize("text", ["1mo", "3 months", "1y", "2 years", "P1M", "P1Y", "P1Y2M3D"])
def test_months_and_years_are_refused_with_a_way_out(text: str) -> None:
    with pytest.raises(DurationError, match=r"60d.*sleep_until"):
        parse_duration(text)


def test_a_capital_m_is_refused_because_it_could_be_a_month() -> None:
    with pytest.raises(DurationError, match="ambiguous"):
        parse_duration("5M")


@pytest.mark.parametrize("text", ["30", "1.5", "1h30"])
def test_a_number_in_a_text_needs_a_unit(text: str) -> None:
    with pytest.raises(DurationError, match="needs a unit"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["1m1h", "1h1h", "5s5s", "1ms1s"])
def test_units_are_named_once_and_the_largest_first(text: str) -> None:
    with pytest.raises(DurationError, match="largest first"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["", " ", "\n\t"])
def test_an_empty_text_is_refused(text: str) -> None:
    with pytest.raises(DurationError, match="empty"):
        parse_duration(text)


@pytest.mark.parametrize(
    "text",
    [
        "h",
        "1 fortnight",
        "1,5h",
        "+1h",
        "1h!",
        ".5s",
        "1.s",
        "1e3s",
        "٣s",
        "1_000s",
        "one day",
        "1h and 5m",
        "\x00",
        "1s\x00",
    ],
)
def test_what_is_not_a_duration_is_refused_with_the_forms_that_are(text: str) -> None:
    with pytest.raises(DurationError, match="'1h30m'"):
        parse_duration(text)


@pytest.mark.parametrize(
    "text", ["P", "PT", "P1DT", "P1H", "PT1D", "P1S", "P-1D", "P 1D", "PT1.S", "P1D2W", "P1", "PT1H\n1M"]
)
def test_a_malformed_iso_text_is_refused(text: str) -> None:
    with pytest.raises(DurationError, match="ISO-8601"):
        parse_duration(text)


def test_a_number_that_python_refuses_to_print_is_refused_like_any_other() -> None:
    with pytest.raises(DurationError, match="a huge number is too long"):
        parse_duration(10**9000)


@pytest.mark.parametrize("value", [-1, -0.5, "-1s", "-P1D", timedelta(microseconds=-1)])
def test_a_negative_duration_is_refused(value: Any) -> None:
    with pytest.raises(DurationError, match="negative"):
        parse_duration(value)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, True, False, None, b"1s", [1], 1j])
def test_what_is_no_number_of_seconds_is_refused(value: Any) -> None:
    with pytest.raises(DurationError, match="is not a duration"):
        parse_duration(value)


@pytest.mark.parametrize(
    "value", ["1000000000d", "9" * 90 + "w", 1e300, 10**4000, LONGEST_SECONDS + 1, "P1000000000D"]
)
def test_a_duration_over_what_a_timedelta_holds_is_refused(value: Any) -> None:
    with pytest.raises(DurationError, match="too long"):
        parse_duration(value)


def test_a_text_is_parsed_once() -> None:
    assert parse_duration("17m3s") is parse_duration("17m3s")


@pytest.mark.parametrize(
    "text",
    ["1" * 100_000, "1 " * 50_000, "1h" * 50_000, "P" + "1" * 100_000, "1." * 50_000, " " * 100_000],
    ids=lambda text: f"{text:.3}",
)
def test_a_hostile_text_is_refused_at_once(text: str) -> None:
    started = time.perf_counter()

    with pytest.raises(DurationError):
        parse_duration(text)

    assert time.perf_counter() - started < 0.5


def test_the_message_of_a_hostile_text_stays_short() -> None:
    with pytest.raises(DurationError) as caught:
        parse_duration("9" * 100_000 + "s")

    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("duration", "expected"),
    [
        (timedelta(0), "0s"),
        (timedelta(minutes=90), "1h30m"),
        (timedelta(days=3), "3d"),
        (timedelta(weeks=2), "14d"),
        (timedelta(milliseconds=1500), "1s500ms"),
        (timedelta(microseconds=1), "1us"),
    ],
)
def test_a_duration_is_written_as_people_do(duration: timedelta, expected: str) -> None:
    assert format_duration(duration) == expected


def test_a_negative_duration_is_not_written() -> None:
    with pytest.raises(DurationError, match="negative"):
        format_duration(timedelta(seconds=-1))


DURATIONS = st.timedeltas(min_value=timedelta(0), max_value=timedelta.max)


@settings(deadline=None)
@given(DURATIONS)
def test_what_is_written_is_read_back(duration: timedelta) -> None:
    assert parse_duration(format_duration(duration)) == duration


@settings(deadline=None)
@given(st.integers(min_value=0, max_value=LONGEST_SECONDS))
def test_whole_seconds_are_exact(seconds: int) -> None:
    assert parse_duration(seconds) == parse_duration(f"{seconds}s") == timedelta(seconds=seconds)


@settings(deadline=None)
@given(st.floats(min_value=0, max_value=1e9))
def test_a_float_is_never_early_by_more_than_its_own_noise(seconds: float) -> None:
    read = parse_duration(seconds).total_seconds()

    assert -1e-9 <= read - seconds + math.ulp(seconds) <= 1e-6 + 1e-9 + 3 * math.ulp(seconds)
    assert read > 0 or seconds == 0


@settings(deadline=None)
@given(st.text(max_size=120))
def test_any_text_is_a_duration_or_a_duration_error(text: str) -> None:
    try:
        assert parse_duration(text) >= timedelta(0)
    except DurationError as error:
        assert str(error)
