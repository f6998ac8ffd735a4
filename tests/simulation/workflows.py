"""Workflows: what simulated runs execute. Programs are interpreted; each body leaves its mark in a ledger outside of the store."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor, Future
from hashlib import blake2b
from typing import Any

from stepflow import Retry, continue_as, sleep, step, wait_for_event, workflow
from stepflow._engine.current import current_execution, current_step
from tests.fundamentals.interpreter import BrokenError, Interpreter, Play, describe
from tests.fundamentals.programs import Invoke, Map, Node, PlainSleep, Receive, Send, Sleep, Step
from tests.simulation.ledger import Ledger
from tests.simulation.scenarios import Scenario


def _whose_turn_it_is() -> Any:
    loop: Any = asyncio.get_running_loop()
    return loop.process


class Stage:
    """What is played in this process, one scenario at a time. Real processes (tests/chaos) bring a scenario, ledger and self of their own."""

    scenario: Scenario
    ledger: Ledger
    process: Callable[[], Any] = staticmethod(_whose_turn_it_is)
    """The simulated process whose code is running."""


STAGE = Stage()


class SimulatedThreads(Executor):
    """Where plain functions run: at once, but they take their time to end, and are never to be cancelled."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        job: Future[Any] = Future()
        job.set_running_or_notify_cancel()
        loop: Any = asyncio.get_running_loop()
        result, error = None, None
        try:
            result = fn()
        except Exception as raised:  # noqa: BLE001 - it is the step's
            error = raised
        mark = STAGE.ledger.latest
        loop.call_later(STAGE.ledger.duration(STAGE.process()), self._end, job, mark, result, error)
        return job

    @staticmethod
    def _end(job: Future[Any], mark: Any, result: Any, error: Exception | None) -> None:
        STAGE.ledger.end(mark)
        if error is None:
            job.set_result(result)
        else:
            job.set_exception(error)


THREADS = SimulatedThreads()


async def body(fate: str, generation: int, seen: str) -> str:
    """What a step does: it takes a while, and fails as it was told."""
    process = STAGE.process()
    mark = STAGE.ledger.begin(process, current_step(), generation, seen)
    try:
        await asyncio.sleep(STAGE.ledger.duration(process))
        return _fate(fate, mark)
    finally:
        STAGE.ledger.end(mark)


async def once_body(fate: str, generation: int, seen: str) -> str:
    """The same for a step that may begin once."""
    process = STAGE.process()
    mark = STAGE.ledger.begin(process, current_step(), generation, seen, once=True)
    try:
        await asyncio.sleep(STAGE.ledger.duration(process))
        return _fate("ok" if fate == "flaky" else fate, mark)
    finally:
        STAGE.ledger.end(mark)


def plain_body(fate: str, generation: int, seen: str) -> str:
    """The same as a plain function, whose thread says when it has ended."""
    return _fate(fate, STAGE.ledger.begin(STAGE.process(), current_step(), generation, seen))


def _fate(fate: str, mark: Any) -> str:
    if fate == "broken" or (fate == "flaky" and mark.attempt == 1):
        raise BrokenError(f"{mark.key} broke")
    mark.returned = f"{mark.key}#{mark.number}"
    return str(mark.returned)


USUAL = step()
OPTIONS: dict[str, Any] = {
    "charge": step(retry=Retry(attempts=3, delay="1s")),
    "ship": step(retry=Retry(attempts=2, delay="8s", jitter=False)),
    # Its threads are left to end when they take too long, and the retry has to wait for them.
    "mail": step(executor=THREADS, retry=Retry(attempts=2, delay="200ms"), timeout="2s"),
    "consume": step(timeout="4s"),
}
ONCE = step(at_most_once=True)


class Player(Interpreter):
    """Plays a program in the simulated cluster. A body is told what its workflow had seen when it asked for it."""

    def __init__(self, run: Any, generation: int) -> None:
        super().__init__(run)
        self._generation = generation

    def seen(self) -> str:
        """What the code has seen so far; the same on every worker that gets here."""
        return blake2b(repr(self.trace).encode(), digest_size=6).hexdigest()

    def start(self, node: Node) -> Play:
        match node:
            case Step(name, fate, once):
                options = ONCE if once else OPTIONS.get(name, USUAL)
                function = once_body if once else plain_body if name == "mail" else body
                return self._observed(options.run(name, function, fate, self._generation, self.seen()))
            case Sleep(name, seconds):
                return self._timed(sleep(name, seconds), seconds)
            case Receive(event_id, seconds):
                return self._observed(wait_for_event(event_id, timeout=seconds))
            case Send(event_id):
                return step.send_event(event_id, "sent", name=f"send-{event_id}")
            case Invoke(workflow_id):
                return self._observed(step.invoke(workflow_id, None))
            case PlainSleep(seconds):
                return self._timed(asyncio.sleep(seconds, "slept"), seconds)
            case Map():
                return self._observed(self._map(node))
        return self.play(node)

    async def _timed(self, pause: Play, seconds: float) -> Any:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        result = await pause
        # (what an earlier attempt of the run has slept is not slept again)
        if loop.time() < begun + seconds - 0.000_01 and self.run.facts.attempt == 1:
            STAGE.ledger.complain(
                f"{self.run.facts.run_id}: a sleep of {seconds} s took {loop.time() - begun}"
            )
        return result

    async def _observed(self, play: Play) -> Any:
        """Note what the code gets to see of a step, a wait or a child."""
        try:
            result = await play
        except Exception as error:
            self.note("raised", describe(error))
            raise
        self.note("got", result)
        return result

    async def _map(self, node: Map) -> Any:
        members = [[fate, self._generation, self.seen()] for fate in node.fates]
        results = await step.map(
            node.name, mapped, members, concurrency=node.concurrency, return_exceptions=node.collect_errors
        )
        return [str(result) for result in results]


async def mapped(thunk: list[Any]) -> str:
    """A member of a ``step.map``."""
    fate, generation, seen = thunk
    return await body(fate, generation, seen)


async def _play(input: dict[str, int]) -> Any:
    plan = STAGE.scenario.plans[input["plan"]]
    generation = input["generation"]
    player = Player(current_execution(), generation)
    result = await player.main(plan.main)
    for complaint in player.complaints:
        STAGE.ledger.complain(complaint)
    if generation < plan.generations:
        await continue_as({"plan": plan.index, "generation": generation + 1})
    return result


@workflow(id="program")
async def program(input: dict[str, int]) -> Any:
    return await _play(input)


@workflow(id="patient-program", retry=Retry(attempts=3, delay="3s"), timeout="10m")
async def patient_program(input: dict[str, int]) -> Any:
    return await _play(input)


@workflow(id="bill")
async def bill() -> Any:
    return await USUAL.run("bill", body, "flaky", 0, "")


@workflow(id="pack")
async def pack() -> Any:
    await sleep("wrap", 2)
    return await USUAL.run("pack", body, "ok", 0, "")


WORKFLOWS = (program, patient_program, bill, pack)
