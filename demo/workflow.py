"""The demo's two workflows: sum up a year of flights, then publish a report once somebody says so.

Steps are ordinary functions. Each begins by noting in the ledger that it runs, which is how the demo shows, from
outside the engine, what was run again after the crash and what was not.
"""

from __future__ import annotations

import asyncio
import csv
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path

from demo import airports, flights, ledger, report, sources
from demo.flights import Delays, Tally
from demo.report import AirportPage
from demo.sources import Sources
from stepflow import Retry, current_run, sleep, step, wait_for_event, workflow


@dataclass(frozen=True, slots=True)
class Order:
    """What to report on: the first ``months`` of the year, into ``folder``."""

    folder: str
    months: int
    directory: str


@dataclass(frozen=True, slots=True)
class Month:
    name: str
    flights: str
    weather: str
    folder: str


@dataclass(frozen=True, slots=True)
class PageOrder:
    airport: str
    destinations: list[tuple[str, Delays]]
    folder: str
    directory: str


@dataclass(frozen=True, slots=True)
class Approval:
    by: str


@dataclass(frozen=True, slots=True)
class Report:
    """Where the report is, and the numbers that the demo checks."""

    markdown: str
    html: str
    flights: int
    cancelled: int


# ------------------------------------------------------------------------------------------------ the workflows
@workflow(id="flight-report")
async def flight_report(order: Order) -> Report:
    """From installed CSV files to a published report."""
    found = await find_sources(order.folder)
    months = await split_flights(found, order)

    tallies = await step(executor="process", timeout="2m").map(
        "tally", tally_month, months, concurrency=2, key=lambda month: month.name
    )
    year = flights.total(tallies)

    async with asyncio.TaskGroup() as group:  # plain asyncio: three child workflows at once
        drafts = [
            group.create_task(
                step.invoke(airport_page, page_order(code, year, order), name=f"page of {code}")
            )
            for code in flights.NEW_YORK
        ]
    pages = [draft.result() for draft in drafts]

    await sleep("let it settle", "6s")  # long enough to leave memory; a month works the same way
    approval = await wait_for_event(
        f"publish/{current_run().id}", name="approval", type=Approval, timeout="1h"
    )
    return await publish(order.folder, year, pages, found, approval)


@workflow(id="airport-page")
async def airport_page(order: PageOrder) -> AirportPage:
    """One airport's page. Names come from a directory that refuses a third of what it is asked."""
    codes = [order.airport, *(code for code, _ in order.destinations)]
    here, *there = await asyncio.gather(*(look_up(code, order.folder, order.directory) for code in codes))
    return AirportPage(
        order.airport,
        here,
        [(name, delays) for name, (_, delays) in zip(there, order.destinations, strict=True)],
    )


def page_order(airport: str, year: Tally, order: Order) -> PageOrder:
    """The airport's five worst destinations. Pure: a workflow may call it as it is, no step needed."""
    routes = {
        route.removeprefix(f"{airport}-"): delays
        for route, delays in year.by_route.items()
        if route.startswith(airport)
    }
    return PageOrder(airport, report.worst(routes, 5, at_least=20), order.folder, order.directory)


# ------------------------------------------------------------------------------------------------ their steps
@step
def find_sources(folder: str) -> Sources:
    ledger.note(folder, "find_sources")
    return sources.find()


@step(timeout="1m")
def split_flights(found: Sources, order: Order) -> list[Month]:
    ledger.note(order.folder, "split_flights")
    parts = sources.split_by_month(found.path("flights.csv.zip"), Path(order.folder) / "months", order.months)
    return [Month(Path(part).stem, part, str(found.path("weather.csv")), order.folder) for part in parts]


def tally_month(month: Month) -> Tally:
    ledger.note(month.folder, f"tally[{month.name}]")
    return flights.tally(Path(month.flights), Path(month.weather))


@step(
    retry=Retry(attempts=10, delay="200ms", max_delay="2s"),
    timeout="10s",
    key=lambda code, folder, directory: code,
)
def look_up(code: str, folder: str, directory: str) -> str:
    ledger.note(folder, f"look_up[{code}]")
    airport = airports.ask(directory, code)
    return airport.name if airport else code


@step(timeout="1m")
def publish(folder: str, year: Tally, pages: list[AirportPage], found: Sources, approval: Approval) -> Report:
    ledger.note(folder, "publish")
    with found.path("airlines.csv").open(encoding="utf-8", newline="") as lines:
        airlines = {row["carrier"]: row["name"] for row in csv.DictReader(lines)}
    text = report.markdown(year, pages, airlines, found.checksums, approval.by)
    charts = [
        report.chart("Average delay by month", sorted(year.by_month.items(), key=itemgetter(0))),
        report.chart("Average delay by weather", report.worst(year.by_weather, 6)),
    ]
    written = {
        "report.md": text,
        "report.html": report.html(text, charts),
        "delays-by-month.svg": charts[0],
    }
    for name, content in written.items():
        (Path(folder) / name).write_text(content, encoding="utf-8")
    return Report(
        str(Path(folder) / "report.md"),
        str(Path(folder) / "report.html"),
        year.total.flights,
        year.total.cancelled,
    )
