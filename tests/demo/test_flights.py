"""The demo's arithmetic: what counts, what is refused, and the real data's known totals."""

from __future__ import annotations

from pathlib import Path

import pytest

from demo import flights, sources
from demo.flights import Delays, Tally

FLIGHT = {
    "year": "2013",
    "month": "1",
    "day": "1",
    "dep_time": "517",
    "sched_dep_time": "515",
    "dep_delay": "2",
    "arr_time": "830",
    "carrier": "UA",
    "origin": "EWR",
    "dest": "IAH",
    "air_time": "227",
    "distance": "1400",
    "time_hour": "2013-01-01T10:00:00Z",
}
HOUR = {"precip": "0", "temp": "60", "visib": "10", "wind_gust": "NA"}


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({}, None),
        ({"dep_time": "5", "sched_dep_time": "2355", "dep_delay": "10"}, None),  # past midnight
        (
            {"dep_time": "2400", "sched_dep_time": "2359", "dep_delay": "1"},
            None,
        ),  # midnight, as the data writes it
        ({"dep_time": "NA", "dep_delay": "NA", "arr_time": "NA", "air_time": "NA"}, None),  # cancelled
        ({"origin": "BOS"}, "does not leave from New York"),
        ({"distance": "0"}, "goes nowhere"),
        ({"dep_time": "NA"}, "arrives without leaving"),
        ({"dep_delay": "NA"}, "leaves without a delay, early or late"),
        ({"dep_delay": "3"}, "its delay is not actual minus scheduled time"),
        ({"air_time": "-4"}, "arrives before it leaves"),
    ],
)
def test_rows_that_make_no_sense_are_refused_with_the_reason(
    changed: dict[str, str], reason: str | None
) -> None:
    assert flights.nonsense(FLIGHT | changed) == reason


@pytest.mark.parametrize(
    ("changed", "word"),
    [
        ({}, "fair"),
        ({"precip": "0.1"}, "rain"),
        ({"precip": "0.1", "temp": "30"}, "snow"),
        ({"visib": "1"}, "fog"),
        ({"wind_gust": "40"}, "storm"),
        ({"precip": "NA", "visib": "NA"}, "fair"),
    ],
)
def test_an_hour_s_weather_is_one_word(changed: dict[str, str], word: str) -> None:
    assert flights.sky(HOUR | changed) == word


def test_a_cancelled_flight_has_no_delay() -> None:
    delays = Delays()

    for delay in (30, 10, None):
        delays.count(delay)

    assert delays == Delays(flights=3, cancelled=1, late=1, minutes=40)
    assert delays.average == 20


def test_the_total_of_two_tallies_is_the_tally_of_both() -> None:
    first, second, both = Tally(), Tally(), Tally()
    first.count(FLIGHT, "rain")
    second.count(FLIGHT | {"dep_delay": "40", "carrier": "AA"}, "fair")
    for row, weather in ((FLIGHT, "rain"), (FLIGHT | {"dep_delay": "40", "carrier": "AA"}, "fair")):
        both.count(row, weather)

    assert flights.total([first, second]) == both


def test_the_real_data_has_the_months_it_is_known_to_have(tmp_path: Path) -> None:
    found = sources.find()

    [january, february] = sources.split_by_month(found.path("flights.csv.zip"), tmp_path, 2)
    tally = flights.tally(Path(january), found.path("weather.csv"))

    assert (Path(january).name, Path(february).name) == ("2013-01.csv", "2013-02.csv")
    assert (tally.total.flights, tally.total.cancelled, tally.refused) == (27_004, 521, {})
    assert sum(1 for _ in tmp_path.glob("*.csv")) == 12
    assert sum(len(path.read_text().splitlines()) - 1 for path in tmp_path.glob("*.csv")) == 336_776
