"""``stepflow generate typescript``: into a file, on stdout, or compared with what is there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.cli.terminal import Here, stepflow

PROGRAM = """
from dataclasses import dataclass
from enum import Enum

from stepflow import Event, Stepflow, workflow


class Pair(Enum):
    ONE = (1, 2)


@dataclass(slots=True)
class Order:
    id: str
    express: bool = False


paid = Event("paid/{id}", Order)


@workflow
async def sell(order: Order) -> str:
    '''Sells one.'''


@workflow(id="count-up")
async def count_up(pair: Pair) -> None:
    pass


app = Stepflow("memory://", workflows=[sell, count_up])
other = Stepflow("memory://", workflows=[sell])
"""
SELL = "  /** Sells one. */\n  sell: { input: OrderInput; output: string };\n"


@pytest.fixture
def program(here: Here) -> Path:
    return here.write("typed.py", PROGRAM)


@pytest.mark.usefixtures("program")
def test_the_file_is_written_and_what_is_in_it_is_told(here: Here) -> None:
    done = here("generate", "typescript", "typed:other", "-o", "workflows.ts")

    text = (here.folder / "workflows.ts").read_text(encoding="utf-8")
    assert (done.code, done.out) == (0, "")
    assert done.err == "workflows.ts is written: 1 workflow, 1 event\n"
    assert SELL in text
    assert "[id: `paid/${string}`]: OrderInput;" in text
    assert 'declare module "@stepflow/client" {' in text


@pytest.mark.usefixtures("program")
def test_on_stdout_there_is_nothing_but_the_text(here: Here) -> None:
    done = here("generate", "typescript", "typed:other", "-o", "-")

    assert SELL in done.out
    assert (done.code, done.err) == (0, "")
    assert not list(here.folder.glob("*.ts"))


@pytest.mark.usefixtures("program")
def test_what_typescript_can_not_express_is_a_warning(here: Here) -> None:
    done = here("generate", "typescript", "typed:app", "-o", "workflows.ts", "--quiet")

    assert done.code == 0
    assert (
        done.err
        == "warning: the input of workflow 'count-up': Pair.ONE: (1, 2) has no JSON form; it is `unknown`\n"
    )


@pytest.mark.usefixtures("program")
def test_a_file_that_is_up_to_date_is_left_alone(here: Here) -> None:
    here("generate", "typescript", "typed:other", "-o", "workflows.ts")
    os.utime("workflows.ts", (1, 1))

    again = here("generate", "typescript", "typed.py:other", "-o", "workflows.ts")

    assert again.err == "workflows.ts is up to date: 1 workflow, 1 event\n"
    assert (here.folder / "workflows.ts").stat().st_mtime == 1


def test_check_fails_with_the_difference_when_the_file_is_stale(here: Here, program: Path) -> None:
    here("generate", "typescript", "typed:other", "-o", "workflows.ts")
    assert here("generate", "typescript", "typed:other", "-o", "workflows.ts", "--check").code == 0

    program.write_text(PROGRAM.replace("express: bool", "express: int"), encoding="utf-8")
    stale = stepflow(
        "generate", "typescript", "typed:other", "-o", "workflows.ts", "--check", cwd=here.folder
    )

    assert (stale.returncode, stale.stdout) == (1, "")
    assert stale.stderr.startswith("error: workflows.ts is not what typed:other says now\n")
    assert "  -  express?: boolean;\n  +  express?: number;\n" in stale.stderr
    assert stale.stderr.endswith(
        "hint: `stepflow generate typescript typed:other -o workflows.ts` writes it; commit what it wrote\n"
    )
    assert "express?: boolean;" in (here.folder / "workflows.ts").read_text(encoding="utf-8")


@pytest.mark.usefixtures("program")
def test_the_difference_is_short(here: Here) -> None:
    here.write("workflows.ts", "\n".join(f"line {number}" for number in range(100)))

    stale = here("generate", "typescript", "typed:other", "-o", "workflows.ts", "--check")

    assert stale.code == 1
    assert "more lines" in stale.err
    assert len(stale.err.splitlines()) < 30


@pytest.mark.usefixtures("program")
def test_check_does_not_mind_how_lines_end(here: Here) -> None:
    here("generate", "typescript", "typed:other", "-o", "workflows.ts")
    file = here.folder / "workflows.ts"
    file.write_bytes(file.read_bytes().replace(b"\n", b"\r\n"))

    assert here("generate", "typescript", "typed:other", "-o", "workflows.ts", "--check").code == 0


@pytest.mark.usefixtures("program")
def test_check_of_a_file_that_is_not_there_fails(here: Here) -> None:
    missing = here("generate", "typescript", "typed:other", "-o", "src/workflows.ts", "--check")

    assert missing.code == 1
    assert missing.err.startswith("error: there is no file src/workflows.ts\nhint: `stepflow generate")


@pytest.mark.usefixtures("program")
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["typed:other", "-o", "-", "--check"], "--check compares with a file"),
        (["typed:other"], "Missing option '--output'"),
        (["typed:other", "-o", "nowhere/workflows.ts"], "hint: create the folder nowhere"),
        (["typed:other", "-o", "."], "can't be read"),
        (["typed:other", "-o", "typed.py"], "typed.py is there, and was not written by this command"),
        (["typed:sell", "-o", "workflows.ts"], "this command takes the app that holds it"),
        (["missing:app", "-o", "workflows.ts"], "there is no module 'missing'"),
    ],
)
def test_what_is_wrong_is_told_with_what_to_do(here: Here, arguments: list[str], said: str) -> None:
    before = (here.folder / "typed.py").read_bytes()

    done = here("generate", "typescript", *arguments)

    assert (done.code, done.out) == (2, "")
    assert said in done.err
    assert "\nhint: " in done.err
    assert not list(here.folder.rglob("*.ts"))
    assert (here.folder / "typed.py").read_bytes() == before


def test_generate_alone_shows_its_help(here: Here) -> None:
    assert "stepflow generate typescript shop:app -o src/workflows.ts" in here("generate").out
