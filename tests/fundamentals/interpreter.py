"""Interpreter: runs a program as workflow code, and leaves a trace of every line it takes.

The trace is not durable: a rebuilt execution has to leave the very same one.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

from stepflow.errors import StepflowError
from stepflow.primitives import current_run, now, random, sleep, step, uuid4, wait_for_event
from tests.fundamentals.meetings import MEETINGS
from tests.fundamentals.programs import (
    AsCompleted,
    Backwards,
    Break,
    Callback,
    Catch,
    Finally,
    Futures,
    Gather,
    Group,
    Guard,
    Handle,
    Invoke,
    Look,
    Loop,
    Map,
    Node,
    Pipe,
    PlainSleep,
    Race,
    Receive,
    Resource,
    Send,
    Sequence,
    Shield,
    Sleep,
    Spawn,
    Step,
    Stream,
    Timeout,
    WaitFor,
)

Play = Coroutine[Any, Any, Any]
ONCE = step(at_most_once=True)


class BrokenError(Exception):
    """What nodes raise."""


def describe(error: BaseException) -> Any:
    """An exception as data that can be compared."""
    if isinstance(error, BaseExceptionGroup):
        return [type(error).__name__, [describe(inner) for inner in error.exceptions]]
    return [type(error).__name__, str(error)]


def body(fate: str) -> str:
    """What a step runs; the simulated world reads its argument and makes up the rest."""
    raise AssertionError("the simulated world runs no bodies")


class Block:
    """Counts the blocks that are entered and left. (No generator: the collector would leave that one, too.)"""

    def __init__(self, player: Interpreter) -> None:
        self._player = player

    def __enter__(self) -> None:
        self._player.opened += 1

    def __exit__(self, *exc: object) -> None:
        self._player.closed += 1


class Interpreter:
    """Plays the nodes of one program on one execution.

    ``opened`` and ``closed`` count the blocks that must be left, in whatever way, before the run may end.
    """

    def __init__(self, run: Any) -> None:
        self.run = run
        self.trace: list[Any] = []
        self.complaints: list[str] = []
        self.opened = 0
        self.closed = 0

    def note(self, *what: Any) -> None:
        self.trace.append((*what, asyncio.get_running_loop().time()))

    async def main(self, node: Node) -> Any:
        try:
            result = await self.start(node)
        except BaseException as error:
            self.note("main raised", describe(error))
            raise
        self.note("main returned", result)
        return result

    def start(self, node: Node) -> Play:
        """The node as a coroutine; what touches the world takes its key now."""
        match node:
            case Step(name, fate, once):
                return (ONCE if once else step).run(name, body, fate)
            case Sleep(name, seconds):
                return sleep(name, seconds)
            case Receive(event_id, seconds):
                return wait_for_event(event_id, timeout=seconds)
            case Send(event_id):
                return step.send_event(event_id, None, name=f"send-{event_id}")
            case Invoke(workflow_id):
                return step.invoke(workflow_id, None)
        return self.play(node)

    async def play(self, node: Node) -> Any:
        name = type(node).__name__
        self.note("begin", name)
        try:
            result = await PLAYS[type(node)](self, node)
        except BaseException as error:
            self.note("raise", name, describe(error))
            raise
        self.note("end", name, result)
        return result

    def expect(self, holds: bool, otherwise: str) -> None:
        """Something that must hold; workflow code would swallow an assertion."""
        if not holds:
            self.complaints.append(otherwise)

    def block(self) -> Block:
        """A block that has to be left before the run ends."""
        return Block(self)

    # -------------------------------------------------------------- one node each
    async def map(self, node: Map) -> Any:
        results = await step.map(
            node.name, body, node.fates, concurrency=node.concurrency, return_exceptions=node.collect_errors
        )
        for index, result in enumerate(results):
            self.expect(
                f"{node.name}" in str(result) and f"[{index}]" in str(result), f"{index} got {result}"
            )
        return [describe(result) if isinstance(result, BaseException) else result for result in results]

    async def handle(self, node: Handle) -> Any:
        handle = await step.start(node.workflow_id, None)
        try:
            return await asyncio.wait_for(handle.result(), node.patience)
        except TimeoutError:
            if node.impatient:
                await handle.cancel()
            results = await asyncio.gather(handle.result(), handle.result(), return_exceptions=True)
            return [describe(result) if isinstance(result, BaseException) else result for result in results]

    async def plain_sleep(self, node: PlainSleep) -> Any:
        return await asyncio.sleep(node.seconds, "slept")

    async def look(self, node: Look) -> Any:
        run = current_run()
        run.log.info("looked")
        return [random().random(), str(uuid4()), (now() - run.started_at).total_seconds()]

    async def fail(self, node: Break) -> Any:
        raise BrokenError("break")

    async def sequence(self, node: Sequence) -> Any:
        return [await self.start(part) for part in node.parts]

    async def loop(self, node: Loop) -> Any:
        return [await self.start(node.body) for _ in range(node.times)]

    async def gather(self, node: Gather) -> Any:
        parts = [self.start(part) for part in node.parts]
        results = await asyncio.gather(*parts, return_exceptions=node.collect_errors)
        return [describe(result) if isinstance(result, BaseException) else result for result in results]

    async def backwards(self, node: Backwards) -> Any:
        """A part that was called and not awaited, because one before it failed, is closed as a careful user would."""
        parts = [self.start(part) for part in node.parts]
        try:
            return [await part for part in reversed(parts)]
        finally:
            for part in parts:
                part.close()

    async def group(self, node: Group) -> Any:
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(
                    self.start(part), name=node.names[index % len(node.names)] if node.names else None
                )
                for index, part in enumerate(node.parts)
            ]
        return [task.result() for task in tasks]

    async def race(self, node: Race) -> Any:
        tasks = [asyncio.create_task(self.start(part)) for part in node.parts]
        try:
            done, pending = await asyncio.wait(tasks, timeout=node.seconds, return_when=node.until)
        except asyncio.CancelledError:
            if node.rest != "leave":
                for task in tasks:
                    task.cancel()
            raise
        for task in pending:  # in the order of the set, which has to be the same every time
            self.note("pending", tasks.index(task))
            if node.rest == "cancel":
                task.cancel()
        order = [tasks.index(task) for task in done]
        if node.rest == "join":
            await asyncio.gather(*pending, return_exceptions=True)
        errors = [describe(task.exception()) for task in done if not task.cancelled() and task.exception()]
        return [
            order,
            errors,
            [task.result() for task in done if not task.cancelled() and not task.exception()],
        ]

    async def futures(self, node: Futures) -> Any:
        loop = asyncio.get_running_loop()
        futures = [loop.create_future() for _ in node.parts]

        async def resolve(future: asyncio.Future[Any], part: Node) -> None:
            try:
                result = await self.start(part)
            finally:
                if not future.done():
                    future.set_result("resolved")
            self.note("resolved", result)

        async with asyncio.TaskGroup() as group:
            for future, part in zip(futures, node.parts, strict=True):
                group.create_task(resolve(future, part))
            done, pending = await asyncio.wait(futures, return_when="FIRST_COMPLETED")
            return [[futures.index(future) for future in some] for some in (done, pending)]

    async def as_completed(self, node: AsCompleted) -> Any:
        tasks = [asyncio.create_task(self.start(part)) for part in node.parts]
        results: list[Any] = []
        try:
            for completed in asyncio.as_completed(tasks, timeout=node.seconds):
                try:
                    results.append(await completed)
                except (BrokenError, StepflowError) as error:
                    results.append(describe(error))
        finally:
            for task in tasks:
                task.cancel()
        return results

    async def wait_for(self, node: WaitFor) -> Any:
        scope = self.run.scope.path

        async def in_the_same_scope() -> Any:
            self.expect(self.run.scope.path == scope, "the task that wait_for makes has a scope of its own")
            return await self.start(node.part)

        try:
            return await asyncio.wait_for(in_the_same_scope(), node.seconds)
        except TimeoutError:
            return "timed out"

    async def timeout(self, node: Timeout) -> Any:
        try:
            async with asyncio.timeout(node.seconds) as limit:
                results = [await self.start(node.body)]
                if node.then is not None:
                    limit.reschedule(asyncio.get_running_loop().time() + node.then)
                results.append(await self.start(node.rest))
                return results
        except TimeoutError:
            return "timed out"

    async def shield(self, node: Shield) -> Any:
        task = asyncio.create_task(self.start(node.part))
        try:
            return await asyncio.wait_for(asyncio.shield(task), node.seconds)
        except TimeoutError:
            return ["late", await task]

    async def pipe(self, node: Pipe) -> Any:
        queue: asyncio.Queue[Any] = asyncio.Queue(node.size)
        results: list[Any] = []

        async def produce(part: Node) -> None:
            await queue.put(await self.start(part))

        async def consume() -> None:
            while True:
                item = await queue.get()
                if item is queue:
                    return
                results.append([item, await self.start(Step("consume"))])

        async with asyncio.TaskGroup() as group:
            consumers = [group.create_task(consume()) for _ in range(node.consumers)]
            await asyncio.gather(*(produce(part) for part in node.producers))
            for _ in consumers:
                await queue.put(queue)
        return results

    async def guard(self, node: Guard) -> Any:
        return await asyncio.gather(*MEETINGS[node.kind](self.start, node.parts))

    async def do_finally(self, node: Finally) -> Any:
        with self.block():
            try:
                return await self.start(node.body)
            finally:
                self.note("finally")
                await self.start(node.cleanup)

    async def catch(self, node: Catch) -> Any:
        with self.block():
            try:
                return await self.start(node.body)
            except Exception as error:
                if node.kind == "CancelledError":
                    raise
                self.note("caught", describe(error))
                return ["caught", await self.start(node.handler)]
            except asyncio.CancelledError:
                if node.kind == "Exception":
                    raise
                self.note("caught a cancel")
                result = await self.start(node.handler)
                if node.kind == "CancelledError":
                    return ["swallowed", result]
                raise

    async def spawn(self, node: Spawn) -> Any:
        task = asyncio.create_task(self.start(node.part), name=node.name)
        result = await self.start(node.meanwhile)
        if node.later == "leave":
            return result
        if node.later == "cancel":
            task.cancel("not needed any more")
        try:
            return [result, await task]
        except asyncio.CancelledError:
            if not task.cancelled():
                raise
            return [result, "was cancelled"]

    async def stream(self, node: Stream) -> Any:
        async def items() -> AsyncIterator[Any]:
            with self.block():
                try:
                    for part in node.parts:
                        yield await self.start(part)
                finally:
                    self.note("stream ends")
                    await self.start(node.cleanup)

        stream = items()
        results: list[Any] = []
        async for item in stream:
            results.append(item)
            if node.leave != "all":
                break
        if node.leave == "close":
            await stream.aclose()  # type: ignore[attr-defined]
        return results

    async def resource(self, node: Resource) -> Any:
        @contextlib.asynccontextmanager
        async def opened() -> AsyncIterator[Any]:
            entered = await self.start(node.enter)
            with self.block():
                try:
                    yield entered
                finally:
                    self.note("leave")
                    await self.start(node.leave)

        async with opened() as entered:
            return [entered, await self.start(node.body)]

    async def callback(self, node: Callback) -> Any:
        loop = asyncio.get_running_loop()
        ended = loop.create_future()

        def fire() -> None:
            self.note("callback")
            task = loop.create_task(self.start(node.part))
            task.add_done_callback(lambda task: ended.done() or ended.set_result(task))

        handle = loop.call_later(node.seconds, fire)
        try:
            task = await ended
        finally:
            handle.cancel()
        return await task


PLAYS: dict[type, Callable[[Interpreter, Any], Play]] = {
    Map: Interpreter.map,
    Handle: Interpreter.handle,
    PlainSleep: Interpreter.plain_sleep,
    Look: Interpreter.look,
    Break: Interpreter.fail,
    Sequence: Interpreter.sequence,
    Loop: Interpreter.loop,
    Gather: Interpreter.gather,
    Backwards: Interpreter.backwards,
    Group: Interpreter.group,
    Race: Interpreter.race,
    Futures: Interpreter.futures,
    AsCompleted: Interpreter.as_completed,
    WaitFor: Interpreter.wait_for,
    Timeout: Interpreter.timeout,
    Shield: Interpreter.shield,
    Pipe: Interpreter.pipe,
    Guard: Interpreter.guard,
    Finally: Interpreter.do_finally,
    Catch: Interpreter.catch,
    Spawn: Interpreter.spawn,
    Stream: Interpreter.stream,
    Resource: Interpreter.resource,
    Callback: Interpreter.callback,
}
