"""What the flight data says: rows are checked, joined with the weather and summed up. Knows nothing of workflows."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

NEW_YORK = ("EWR", "JFK", "LGA")
DAY = 24 * 60


@dataclass(slots=True)
class Delays:
    """A sum over flights. ``late``: left 15 minutes or more behind schedule; ``minutes``: of those that left."""

    flights: int = 0
    cancelled: int = 0
    late: int = 0
    minutes: int = 0

    def count(self, delay: int | None) -> None:
        """Add one flight; None if it never left."""
        self.flights += 1
        if delay is None:
            self.cancelled += 1
        else:
            self.minutes += delay
            self.late += delay >= 15

    def add(self, other: Delays) -> None:
        """Add all of another sum's flights."""
        self.flights += other.flights
        self.cancelled += other.cancelled
        self.late += other.late
        self.minutes += other.minutes

    @property
    def average(self) -> float:
        """Mean delay in minutes of the flights that left."""
        left = self.flights - self.cancelled
        return self.minutes / left if left else 0.0


Sums = dict[str, Delays]


@dataclass(slots=True)
class Tally:
    """Delays summed up in every way the report asks for, and the rows that did not make sense, by reason."""

    total: Delays = field(default_factory=Delays)
    by_month: Sums = field(default_factory=dict[str, Delays])
    by_day: Sums = field(default_factory=dict[str, Delays])
    by_carrier: Sums = field(default_factory=dict[str, Delays])
    by_weather: Sums = field(default_factory=dict[str, Delays])
    by_route: Sums = field(default_factory=dict[str, Delays])
    refused: dict[str, int] = field(default_factory=dict[str, int])

    def count(self, row: Mapping[str, str], weather: str) -> None:
        """Add one valid flight to every sum that it belongs to."""
        delay = None if row["dep_time"] == "NA" else int(row["dep_delay"])
        month = f"{row['year']}-{int(row['month']):02}"
        self.total.count(delay)
        for sums, name in (
            (self.by_month, month),
            (self.by_day, f"{month}-{int(row['day']):02}"),
            (self.by_carrier, row["carrier"]),
            (self.by_weather, weather),
            (self.by_route, f"{row['origin']}-{row['dest']}"),
        ):
            sums.setdefault(name, Delays()).count(delay)

    def add(self, other: Tally) -> None:
        """Add all of another tally."""
        self.total.add(other.total)
        for mine, theirs in (
            (self.by_month, other.by_month),
            (self.by_day, other.by_day),
            (self.by_carrier, other.by_carrier),
            (self.by_weather, other.by_weather),
            (self.by_route, other.by_route),
        ):
            for name, delays in theirs.items():
                mine.setdefault(name, Delays()).add(delays)
        for reason, rows in other.refused.items():
            self.refused[reason] = self.refused.get(reason, 0) + rows


def total(tallies: Iterable[Tally]) -> Tally:
    """The sum of many tallies."""
    year = Tally()
    for tally in tallies:
        year.add(tally)
    return year


def tally(flights: Path, weather: Path) -> Tally:
    """Check every flight of one file, look up the weather when it was to leave, and sum up."""
    skies = dict(read_weather(weather))
    found = Tally()
    with flights.open(encoding="utf-8", newline="") as lines:
        for row in csv.DictReader(lines):
            reason = nonsense(row)
            if reason:
                found.refused[reason] = found.refused.get(reason, 0) + 1
            else:
                found.count(row, skies.get((row["origin"], row["time_hour"]), "not recorded"))
    return found


def nonsense(row: Mapping[str, str]) -> str | None:
    """Why a row can't be right, or None."""
    if row["origin"] not in NEW_YORK:
        return "does not leave from New York"
    if int(row["distance"]) <= 0:
        return "goes nowhere"
    if row["dep_time"] == "NA":
        return None if row["arr_time"] == "NA" else "arrives without leaving"
    if row["dep_delay"] == "NA":
        return "leaves without a delay, early or late"
    if (minute(row["sched_dep_time"]) + int(row["dep_delay"]) - minute(row["dep_time"])) % DAY:
        return "its delay is not actual minus scheduled time"
    if row["air_time"] != "NA" and int(row["air_time"]) <= 0:
        return "arrives before it leaves"
    return None


def minute(clock: str) -> int:
    """``"1745"`` as the minute of its day."""
    hours, minutes = divmod(int(clock), 100)
    return (hours * 60 + minutes) % DAY


def read_weather(path: Path) -> Iterator[tuple[tuple[str, str], str]]:
    """(airport, hour) → what kind of hour it was."""
    with path.open(encoding="utf-8", newline="") as lines:
        for row in csv.DictReader(lines):
            yield (row["origin"], row["time_hour"]), sky(row)


def sky(row: Mapping[str, str]) -> str:
    """One word for an hour's weather."""

    def reading(name: str, missing: float) -> float:
        return missing if row[name] == "NA" else float(row[name])

    if reading("precip", 0) > 0:
        return "snow" if reading("temp", 50) <= 34 else "rain"
    if reading("visib", 10) < 3:
        return "fog"
    if reading("wind_gust", 0) > 30:
        return "storm"
    return "fair"
