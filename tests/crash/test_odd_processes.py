"""Odd processes: without assertions, short of memory, ended with work in flight, or with the app on another thread."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import asyncio, os, resource, sys, threading, time
from stepflow import Retry, RunFailedError, Stepflow, step, workflow

@step
def effect(name: str) -> str:
    with open("effects", "a") as file:
        file.write(name)
    return name

@step(retry=Retry(attempts=1))
def allocates(gigabytes: int) -> int:
    return len(bytearray(gigabytes * 1024**3))

@step
def hangs(seconds: float) -> None:
    open("hanging", "w").close()
    time.sleep(seconds)

@workflow
async def three() -> str:
    return "".join([await effect("a"), await effect("b"), await effect("c")])

@workflow
async def greedy() -> int:
    return await allocates(64)

@workflow
async def slow() -> str:
    await effect("s")
    await hangs(1.0)
    return await effect("e")

@step
async def once() -> str:
    before = os.path.exists("effects")
    with open("effects", "a") as file:
        file.write("1")
    if not before:
        await asyncio.Event().wait()
    return "well"

@workflow
async def waits() -> str:
    return await once()

def app() -> Stepflow:
    return Stepflow("sqlite:///odd.db", workflows=[three, greedy, slow, waits])

async def ends(flow, id):
    async with app() as opened:
        return await (await opened.trigger(flow, id=id)).result(timeout="20s")
"""


def run(
    directory: Path, program: str, *options: str, failpoint: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run the program and what it is to do, as a process of its own."""
    file = directory / "odd.py"
    file.write_text(PROGRAM + program)
    return subprocess.run(
        [sys.executable, *options, str(file)],
        cwd=directory,
        env={"STEPFLOW_FAILPOINT": failpoint, "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
    )


@pytest.mark.deadline(60)
@pytest.mark.parametrize("place", ["step.after_body:2", "checkpoint.after_commit:2"])
def test_a_process_without_assertions_is_as_safe_to_kill(tmp_path: Path, place: str) -> None:
    program = 'assert False; print(asyncio.run(ends(three, "r")))'

    killed = run(tmp_path, program, "-O", failpoint=place)
    ended = run(tmp_path, program, "-O")

    assert killed.returncode == 137
    assert (ended.stdout, ended.stderr) == ("abc\n", "")
    effects = (tmp_path / "effects").read_text()
    assert effects == ("abbc" if place.startswith("step") else "abc")


@pytest.mark.deadline(60)
def test_a_step_that_asks_for_too_much_memory_fails_and_others_go_on(tmp_path: Path) -> None:
    program = """
resource.setrlimit(resource.RLIMIT_AS, (4 * 1024**3, 4 * 1024**3))
try:
    asyncio.run(ends(greedy, "g"))
except RunFailedError as error:
    print(error.type)
print(asyncio.run(ends(three, "r")))
"""
    ended = run(tmp_path, program)

    assert ended.stdout == "MemoryError\nabc\n", ended.stderr


@pytest.mark.deadline(60)
def test_an_interpreter_that_ends_with_work_in_flight_ends_quietly_and_another_goes_on(
    tmp_path: Path,
) -> None:
    """Nobody closes the app: its loop is on a thread that dies with the process, which waits for the thread of the step."""
    program = """
async def works():
    opened = await app().__aenter__()
    await opened.trigger(slow, id="s")
    await asyncio.Event().wait()
threading.Thread(target=lambda: asyncio.run(works()), daemon=True).start()
while not os.path.exists("hanging"):
    time.sleep(0.01)
"""
    left = run(tmp_path, program)
    ended = run(tmp_path, 'print(asyncio.run(ends(slow, "s")))')

    assert (left.returncode, left.stderr) == (0, "")
    assert ended.stdout == "e\n", ended.stderr
    assert (tmp_path / "effects").read_text() == "se"


@pytest.mark.deadline(60)
def test_a_loop_that_ends_under_a_step_leaves_it_to_be_run_again_and_not_failed(tmp_path: Path) -> None:
    """``asyncio.run`` cancels every task there is: to a step that looked as if it had raised ``CancelledError`` by itself."""
    program = """
async def works():
    opened = await app().__aenter__()
    await opened.trigger(waits, id="w")
    while not os.path.exists("effects"):
        await asyncio.sleep(0)
asyncio.run(works())
"""
    left = run(tmp_path, program)
    ended = run(tmp_path, 'print(asyncio.run(ends(waits, "w")))')

    assert ended.stdout == "well\n", ended.stderr
    assert (tmp_path / "effects").read_text() == "11"
    assert left.returncode == 0
    assert "the task of step 'once' of run w was cancelled by something else" in left.stderr


@pytest.mark.deadline(60)
def test_an_app_works_on_the_loop_of_any_thread(tmp_path: Path) -> None:
    program = """
def elsewhere(id):
    print(asyncio.run(ends(three, id)))
threads = [threading.Thread(target=elsewhere, args=(f"r{n}",)) for n in range(3)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
"""
    ended = run(tmp_path, program)

    assert (ended.stdout, ended.stderr) == ("abc\n" * 3, "")
