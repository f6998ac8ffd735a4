"""The demo on the terminal: a table that moves on a real one, plain lines anywhere else."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.table import Table

from demo.picture import Line, State
from stepflow import StepKind

COLOURS = {
    State.DONE: "green",
    State.RUNNING: "yellow",
    State.RETRYING: "magenta",
    State.WAITING: "cyan",
    State.KILLED: "red",
    State.FAILED: "red",
}
WORDS = {
    State.DONE: "done",
    State.RUNNING: "running",
    State.RETRYING: "retrying",
    State.WAITING: "waiting",
    State.KILLED: "killed",
    State.FAILED: "failed",
}


class Screen:
    """Shows pictures and says sentences. A sentence stays; within ``with``, a picture is replaced by the next."""

    def __init__(self) -> None:
        self.console = Console(highlight=False)
        self._live = Live(console=self.console, refresh_per_second=10) if self.console.is_terminal else None
        self._told: dict[str, State] = {}

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        if self._live:
            self._live.stop()

    def say(self, sentence: str) -> None:
        """Print a sentence above the picture."""
        self.console.print(sentence, soft_wrap=True)

    def show(self, lines: Sequence[Line]) -> None:
        """Show the present state; without a terminal, only what has changed."""
        if self._live:
            self._live.update(table(lines))
            return
        for line in lines:
            if self._told.get(line.label) != line.state:
                self._told[line.label] = line.state
                self.console.print(plain(line), soft_wrap=True)


def plain(line: Line) -> str:
    """One line's state as text."""
    took = f"  {line.seconds(line.ended_at):.2f} s" if line.ended_at else ""
    tries = f"  attempt {line.attempts}" if line.attempts > 1 else ""
    return f"  {line.state.value} {WORDS[line.state]:<9} {line.label}{tries}{took}"


def table(lines: Sequence[Line]) -> Table:
    """One row for each name: a sign for every member, the attempts and the time of all together."""
    now = datetime.now(UTC)
    grid = Table(expand=False, header_style="bold", border_style="dim")
    for column in ("step", "state", "each", "attempts", "time"):
        grid.add_column(column, justify="right" if column in {"attempts", "time"} else "left", no_wrap=True)
    for name, members in groups(lines).items():
        done = sum(line.state is State.DONE for line in members)
        worst = next((line.state for line in members if line.state is not State.DONE), State.DONE)
        state = WORDS[worst] if len(members) == 1 else f"{done} of {len(members)} done"
        signs = "".join(f"[{COLOURS[line.state]}]{line.state.value}[/]" for line in members)
        attempts = sum(max(line.attempts, len(line.bodies)) for line in members)
        began = [line.started_at for line in members if line.started_at]
        ended = [line.ended_at or now for line in members]
        seconds = (max(ended) - min(began)).total_seconds() if began else 0.0
        is_step = members[0].kind is StepKind.STEP
        grid.add_row(
            name, f"[{COLOURS[worst]}]{state}[/]", signs, str(attempts) if is_step else "", f"{seconds:.1f} s"
        )
    return grid


def groups(lines: Sequence[Line]) -> dict[str, list[Line]]:
    """The lines by name, members of a fan-out together and in order."""
    found: dict[str, list[Line]] = {}
    for line in lines:
        found.setdefault(line.group, []).append(line)
    return {name: sorted(members, key=lambda line: line.label) for name, members in found.items()}
