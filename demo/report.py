"""The report: Markdown to read, HTML to look at, one chart drawn as SVG. Pure text in, text out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from operator import itemgetter

from demo.flights import Delays, Sums, Tally

BAR, GAP, LEFT, WIDTH = 22, 8, 170, 720


@dataclass(slots=True)
class AirportPage:
    """What the report says of one New York airport: its most delayed destinations, worst first."""

    code: str
    name: str
    destinations: list[tuple[str, Delays]] = field(default_factory=list[tuple[str, Delays]])


def worst(sums: Sums, number: int, at_least: int = 1) -> list[tuple[str, Delays]]:
    """The names with the highest average delay, among those with ``at_least`` so many flights."""
    enough = [(name, delays) for name, delays in sums.items() if delays.flights >= at_least]
    return sorted(enough, key=lambda pair: (-pair[1].average, pair[0]))[:number]


def markdown(
    year: Tally,
    pages: Sequence[AirportPage],
    airlines: Mapping[str, str],
    checksums: Mapping[str, str],
    approved_by: str,
) -> str:
    """The whole report as Markdown."""
    all_flights = year.total
    carriers = [(airlines.get(code, code), delays) for code, delays in worst(year.by_carrier, 16)]
    parts = [
        "# Flights from New York, 2013",
        (
            f"{all_flights.flights:,} flights, {all_flights.cancelled:,} of them cancelled; those that left were "
            f"{all_flights.average:.1f} minutes late on average, {all_flights.late:,} of them by 15 minutes or more. "
            f"{sum(year.refused.values()):,} rows were refused. Published by {approved_by}."
        ),
        "## Month by month",
        table("month", sorted(year.by_month.items(), key=itemgetter(0))),
        "## Weather when they were to leave",
        table("weather", worst(year.by_weather, 6)),
        "## Airlines",
        table("airline", carriers),
        "## The worst days",
        table("day", worst(year.by_day, 7)),
    ]
    for page in pages:
        parts += [f"## {page.name} ({page.code}): where to expect to wait", table("to", page.destinations)]
    parts += [
        "## Sources",
        "\n".join(f"- `{name}` sha256 `{checksum}`" for name, checksum in sorted(checksums.items())),
    ]
    return "\n\n".join(parts) + "\n"


def table(first: str, rows: Sequence[tuple[str, Delays]]) -> str:
    """One Markdown table: name, flights, cancelled, late, average delay."""
    lines = [f"| {first} | flights | cancelled | late | average delay |", "|---|---:|---:|---:|---:|"]
    for name, delays in rows:
        late = delays.late / max(delays.flights - delays.cancelled, 1)
        lines.append(
            f"| {name} | {delays.flights:,} | {delays.cancelled:,} | {late:.0%} | {delays.average:.1f} min |"
        )
    return "\n".join(lines)


def html(text: str, charts: Sequence[str]) -> str:
    """The Markdown as it stands in a page, below its charts."""
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Flights from New York, 2013</title>'
        "<style>body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
        "pre{white-space:pre-wrap}</style>" + "".join(charts) + f"<pre>{escape(text)}</pre></html>\n"
    )


def chart(title: str, rows: Sequence[tuple[str, Delays]]) -> str:
    """Average delays as horizontal bars, in SVG."""
    longest = max((delays.average for _, delays in rows), default=0) or 1
    height = 40 + len(rows) * (BAR + GAP)
    bars: list[str] = []
    for place, (name, delays) in enumerate(rows):
        y = 36 + place * (BAR + GAP)
        length = max(delays.average, 0) / longest * (WIDTH - LEFT - 80)
        bars.append(
            f'<text x="{LEFT - 8}" y="{y + 16}" text-anchor="end">{escape(name)}</text>'
            f'<rect x="{LEFT}" y="{y}" width="{length:.1f}" height="{BAR}" rx="3" fill="#3b6ea5"/>'
            f'<text x="{LEFT + length + 6:.1f}" y="{y + 16}">{delays.average:.1f} min</text>'
        )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
        f'font-family="system-ui,sans-serif" font-size="13" role="img" aria-label="{escape(title)}">'
        f'<text x="0" y="18" font-size="16">{escape(title)}</text>{"".join(bars)}</svg>'
    )
