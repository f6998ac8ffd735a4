"""The demo: start a workflow on real data, kill its worker half-way, start another, and account for every step.

This process only triggers, watches and says "publish"; the work is done by ``demo.worker`` in processes of their own.
All three share nothing but a SQLite file.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path

from demo import airports, ledger, sources
from demo.account import Account, settle
from demo.picture import Line, State, draw
from demo.process import Worker
from demo.screen import Screen
from demo.timeline import DOWN, LEGEND, Span, render, rows
from demo.worker import storage_in
from demo.workflow import Approval, Order, Report, airport_page, flight_report
from stepflow import RunHandle, RunStatus, Stepflow

FOLDER = Path("build/demo")


async def demo(folder: Path, months: int, screen: Screen) -> bool:
    """The whole story, from the trigger to the account; True if that adds up."""
    with ExitStack() as cleanup:
        cleanup.enter_context(screen)
        directory = cleanup.enter_context(airports.directory(sources.find().path("airports.csv")))
        app = Stepflow(storage_in(str(folder)), workflows=[flight_report, airport_page], worker=False)
        async with app:
            run = await app.trigger(flight_report, Order(str(folder), months, directory))
            watch = Watch(app, run, folder, screen)

            first = Worker(folder)
            cleanup.callback(first.stop)
            screen.say(f"Run {run.id} triggered; worker {first.pid} takes it.")
            half = (months + 1) // 2
            await watch.until(lambda lines: done(lines, "tally") >= half, first)

            watch.killed_at = first.kill()
            finished = {line.label for line in await watch.look() if line.state is State.DONE}
            screen.say(
                f"[bold red]kill -9 {first.pid}[/]: half of the months are tallied, the worker is gone."
            )

            second = Worker(folder)
            cleanup.callback(second.stop)
            screen.say(f"Worker {second.pid} starts on the same file and knows nothing but what is in it.")
            await watch.until(lambda lines: waits(lines, "approval"), second)

            screen.say("The run waits for an approval. This process gives it: app.notify(…)")
            await app.notify(f"publish/{run.id}", Approval(by="the demo"))
            await watch.until(lambda lines: done(lines, "publish") == 1, second)
            report = await run.result(timeout="30s")
            lines = await watch.look()
    show_timeline(screen, lines, watch.killed_at)
    show_result(screen, report)
    return show_account(screen, settle(lines, finished, watch.killed_at))


class Watch:
    """Looks at the run from outside: the storage says what is recorded, the ledger what has started."""

    def __init__(self, app: Stepflow, run: RunHandle[Report], folder: Path, screen: Screen) -> None:
        self._app = app
        self._run = run
        self._folder = folder
        self._screen = screen
        self.killed_at: datetime | None = None

    async def look(self) -> list[Line]:
        """The lines of the run and its children, as they are now; raises what a run that did not succeed raises."""
        children = await self._app.list_runs(workflow=airport_page.id)
        runs = [
            await self._app.get_run(run_id)
            for run_id in (self._run.id, *(child.id for child in children.items))
        ]
        if runs[0].status in {RunStatus.FAILED, RunStatus.CANCELLED, RunStatus.PAUSED}:
            await self._run.result(timeout="1s")
        return draw(runs, ledger.read(str(self._folder)), self.killed_at)

    async def until(self, reached: Callable[[Sequence[Line]], bool], worker: Worker) -> None:
        """Show what happens until a point is reached; an error if the worker or the run ends before."""
        while True:
            lines = await self.look()
            self._screen.show(lines)
            if reached(lines):
                return
            worker.check()
            await asyncio.sleep(0.05)


def done(lines: Sequence[Line], group: str) -> int:
    """How many of a group are done."""
    return sum(line.group == group and line.state is State.DONE for line in lines)


def waits(lines: Sequence[Line], name: str) -> bool:
    """Whether the run waits for this event."""
    return any(line.group == name and line.state is State.WAITING for line in lines)


def show_timeline(screen: Screen, lines: Sequence[Line], killed_at: datetime) -> None:
    """Where the time went, with the crash drawn through."""
    starts = [line.started_at for line in lines if line.started_at]
    ends = [line.ended_at for line in lines if line.ended_at]
    revived = min(body.time for line in lines for body in line.bodies if body.time > killed_at)
    down = Span(killed_at, revived, DOWN)
    drawn = rows(lines, killed_at, together=frozenset({"look_up"}))
    screen.say(f"\n[bold]Where the time went[/]   {LEGEND}\n")
    for text in render(drawn, down, min(starts), max(ends), screen.console.width - 1):
        screen.console.print(text, markup=False, soft_wrap=True)
    seconds = (revived - killed_at).total_seconds()
    screen.say(
        f"\nFrom the kill to the next step's start: {seconds:.2f} s, the new interpreter's own start included."
    )


def show_result(screen: Screen, report: Report) -> None:
    """What came out of it."""
    screen.say(
        f"\n[bold]The result[/]   {report.flights:,} flights summed up, {report.cancelled:,} of them cancelled\n"
        f"  {report.html}\n  {report.markdown}"
    )


def show_account(screen: Screen, account: Account) -> bool:
    """How often each step's body ran, by the ledger that the bodies wrote themselves."""
    screen.say(
        "\n[bold]What the crash cost[/]\n"
        f"  finished before it   {len(account.survived):3} steps: none of them ran again\n"
        f"  in flight at it      {len(account.repeated):3} steps: ran a second time: {', '.join(account.repeated) or '-'}\n"
        f"  begun after it       {len(account.later):3} steps: ran as often as they had to\n"
        f"  besides, the airport directory refused {account.retried} times, and was asked again"
    )
    if account.unexplained:
        screen.say(
            f"[bold red]Steps that ran more or less often than that: {', '.join(account.unexplained)}[/]"
        )
    return not account.unexplained


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m demo", description="Kill a workflow half-way; watch it go on."
    )
    parser.add_argument("--months", type=int, default=12, choices=range(2, 13), metavar="2…12")
    parser.add_argument(
        "--folder", type=Path, help=f"a new folder for all output (default: {FOLDER}, made anew)"
    )
    options = parser.parse_args()
    if options.folder is None:
        shutil.rmtree(FOLDER, ignore_errors=True)
    folder: Path = options.folder or FOLDER
    folder.mkdir(parents=True)
    adds_up = asyncio.run(demo(folder.resolve(), options.months, Screen()))
    return 0 if adds_up else 1


if __name__ == "__main__":
    sys.exit(main())
