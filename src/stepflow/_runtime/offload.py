"""Offload: plain functions on threads, in processes, or wherever an executor takes them."""

from __future__ import annotations

import contextvars
import importlib
import multiprocessing
import os
import threading
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from multiprocessing import connection
from typing import Any, get_type_hints

import msgspec

from stepflow._engine.commands import RunStep
from stepflow.codecs.failures import ErrorRegistry, rebuild_failure, record_failure
from stepflow.codecs.json import Values
from stepflow.errors import DefinitionError, FatalError
from stepflow.model.failures import Failure
from stepflow.model.payloads import Payload


class Offload:
    """Calls the bodies of plain ``def`` steps off the event loop, with their context where the executor allows it."""

    def __init__(self, *, threads: int, errors: ErrorRegistry) -> None:
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="stepflow-step")
        self._processes: ProcessPoolExecutor | None = None
        self._errors = errors
        self._plain = Values()

    def submit(self, command: RunStep, context: contextvars.Context) -> Future[Any]:
        """Begin the body; the future ends when it has really ended, whatever its waiter does."""
        executor = command.options.executor
        call = partial(contained, partial(command.body, *command.args, **command.kwargs))
        if executor == "inline":
            return _done(call)
        if executor == "process":
            return self._in_process(command)
        if isinstance(executor, Executor):
            return executor.submit(call)
        return self._threads.submit(context.copy().run, call)

    def close(self) -> None:
        """Let go of threads and processes; a thread that still runs is not waited for."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        if self._processes is not None:
            self._processes.shutdown(wait=False, cancel_futures=True)

    def _in_process(self, command: RunStep) -> Future[Any]:
        module, _, name = command.function.partition(":")
        if "<" in name:
            raise DefinitionError(
                f"step {command.name!r} runs in another process, which finds its function by name: "
                f"{name} must be at the top level of its module"
            )
        arguments = self._plain.encode(
            [list(command.args), command.kwargs], what=f"the arguments of step {command.name!r}"
        )
        job = self._submit(module, name, bytes(arguments.data))
        answer: Future[Any] = Future()
        job.add_done_callback(lambda done: self._answer(done, answer, command.result_type))
        return answer

    def _submit(self, module: str, name: str, arguments: bytes) -> Future[bytes]:
        """To the pool; to a new one if a process of the former died, for that breaks a pool for good."""
        if self._processes is not None:
            try:
                return self._processes.submit(run_by_name, module, name, arguments)
            except BrokenExecutor:
                self._processes = None
        self._processes = ProcessPoolExecutor(
            mp_context=multiprocessing.get_context("spawn"), initializer=die_with_parent
        )
        return self._processes.submit(run_by_name, module, name, arguments)

    def _answer(self, job: Future[bytes], answer: Future[Any], type_: Any) -> None:
        """Turn what the other process sent into a value or an exception."""
        try:
            done = msgspec.json.decode(job.result(), type=_Answer)
            if done.failure is not None:
                raise rebuild_failure(done.failure, values=self._plain, find=self._errors.find)
            assert done.value is not None
            value = self._plain.decode(done.value, type_)
        except BaseException as error:
            answer.set_exception(error)
        else:
            answer.set_result(value)


def contained(call: Callable[[], Any]) -> Any:
    """``call()``. What would break the machinery that carries exceptions, or end the worker, becomes an ordinary failure."""
    try:
        return call()
    except StopIteration as error:
        raise RuntimeError(f"the step raised {error!r}") from error
    except SystemExit as error:
        raise FatalError(f"the step raised {error!r}") from error


def _done(call: Callable[[], Any]) -> Future[Any]:
    """A future that is done already, with what ``call`` gave."""
    future: Future[Any] = Future()
    try:
        future.set_result(call())
    except Exception as error:
        future.set_exception(error)
    return future


def die_with_parent() -> None:
    """In the other process: end when the worker's process is gone, also after ``kill -9``."""
    parent = multiprocessing.parent_process()
    assert parent is not None, "the pool started this process"

    def watch() -> None:
        connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, name="stepflow-parent", daemon=True).start()


class _Answer(msgspec.Struct):
    value: Payload | None = None
    failure: Failure | None = None


def run_by_name(module: str, name: str, arguments: bytes) -> bytes:
    """In the other process: import the function, decode its arguments by its annotations, call it, encode."""
    values = Values()
    errors = ErrorRegistry([module], [])
    try:
        function: Any = importlib.import_module(module)
        for part in name.split("."):
            function = getattr(function, part)
        function = getattr(function, "__wrapped__", function)
        args, kwargs = _typed(function, values, arguments)
        result = function(*args, **kwargs)
        answer = _Answer(value=values.encode(result, what=f"the result of {name}"))
    except Exception as error:
        answer = _Answer(failure=record_failure(error, values=values, allowed=errors.allows))
    return msgspec.json.encode(answer)


def _typed(
    function: Callable[..., Any], values: Values, arguments: bytes
) -> tuple[list[Any], dict[str, Any]]:
    args, kwargs = msgspec.json.decode(arguments, type=tuple[list[msgspec.Raw], dict[str, msgspec.Raw]])
    names = function.__code__.co_varnames[: function.__code__.co_argcount]
    hints = get_type_hints(function)

    def typed(name: str, raw: msgspec.Raw) -> Any:
        return values.decode(Payload(raw), hints.get(name, Any), what=f"argument {name!r}")

    positional = [typed(names[i] if i < len(names) else "", raw) for i, raw in enumerate(args)]
    return positional, {name: typed(name, raw) for name, raw in kwargs.items()}
