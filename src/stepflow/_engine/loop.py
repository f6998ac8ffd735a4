"""ReplayLoop: asyncio without a world. A queue of ready handles, logical time, and nothing else.

Workflow code runs on it as ordinary tasks (CPython's own ``Task`` and ``Future``). The execution that owns the loop
runs the queue dry after each journal entry it delivers; nothing on this loop ever waits for anything by itself.
"""

from __future__ import annotations

import asyncio
import asyncio.events
import asyncio.tasks
import contextvars
import sys
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from types import CodeType
from typing import Any, NoReturn, Protocol, cast

from stepflow._engine.keys import Scope
from stepflow._engine.tasks import LoopHandle, LoopTimer, WorkflowFuture, WorkflowTask
from stepflow.errors import NotDurableError

_SPIN_LIMIT = 2_000_000
"""Handles run for one entry before the workflow counts as spinning; a 100,000-wide gather needs a tenth."""


class LoopOwner(Protocol):
    """What the loop asks of its execution."""

    @property
    def scope(self) -> Scope:
        """The scope of the task that is running now."""
        ...

    @property
    def evicting(self) -> bool: ...

    def time(self) -> float: ...

    def start_timer(self, handle: LoopTimer) -> None: ...

    def cancel_timer(self, handle: LoopTimer) -> None: ...

    def task_created(self, task: WorkflowTask) -> None: ...

    def log_loop_noise(self, context: dict[str, Any]) -> None: ...


class _Nobody:
    """The owner of a loop whose execution is over."""

    scope = Scope()
    evicting = True

    def time(self) -> float:
        return 0.0

    def start_timer(self, handle: LoopTimer) -> None:
        """It will never fire."""

    def cancel_timer(self, handle: LoopTimer) -> None:
        """It would not have fired."""

    def task_created(self, task: WorkflowTask) -> None:
        """It will never run."""

    def log_loop_noise(self, context: dict[str, Any]) -> None:
        """Nobody listens."""


_NOBODY = _Nobody()


class ReplayLoop(asyncio.AbstractEventLoop):
    """See the module. Everything that would touch the world raises ``NotDurableError``."""

    def __init__(self, owner: LoopOwner, *, hash_base: int) -> None:
        self.owner: LoopOwner = owner
        self.active = False
        self.closing = False
        self._ready: deque[Any] = deque()  # handles, whose private parts asyncio's own loops read too
        self._numbers = hash_base
        self._generators: dict[int, AsyncGenerator[Any, Any]] = {}
        self._prune_generators_at = 64
        self._outer: asyncio.AbstractEventLoop | None = None
        self._outer_hooks: Any = None

    # -------------------------------------------------------------- driven by the execution
    def run_dry(self, limit: int = _SPIN_LIMIT) -> None:
        """Run ready handles, and those they make ready, until none is left. Only while active."""
        ready = self._ready
        left = limit
        while ready:
            handle = ready.popleft()
            if not handle._cancelled:
                try:
                    handle._context.run(handle._callback, *handle._args)
                except (SystemExit, KeyboardInterrupt):
                    raise
                except BaseException as error:  # noqa: BLE001 - as asyncio's own loops
                    self._callback_failed(handle, error)
            left -= 1
            if not left:
                ready.clear()
                raise NotDurableError(
                    "the workflow spins without ever waiting (a loop around asyncio.sleep(0)?); "
                    "wait for a step, a sleep or an event instead"
                )

    def __enter__(self) -> None:
        """``with loop:`` makes this the running loop of the thread, with its own async-generator hooks; then puts back what was."""
        self._outer = asyncio.events._get_running_loop()
        self._outer_hooks = sys.get_asyncgen_hooks()
        sys.set_asyncgen_hooks(self.first_iteration, _keep)
        asyncio.events._set_running_loop(self)
        self.active = True

    def __exit__(self, *exc: object) -> None:
        self.active = False
        asyncio.events._set_running_loop(self._outer)
        sys.set_asyncgen_hooks(*self._outer_hooks)
        self._outer = None

    def let_go(self) -> None:
        """Nothing runs on it any more: without its owner, both are freed at once, and not by the collector."""
        self.owner = _NOBODY

    def drop_ready(self) -> None:
        """Forget what was ready to run."""
        self._ready.clear()

    def open_generators(self) -> list[AsyncGenerator[Any, Any]]:
        """The async generators that were begun and not finished, oldest first."""
        return [g for g in self._generators.values() if g.ag_frame is not None]  # type: ignore[attr-defined]

    def take_generators(self) -> list[AsyncGenerator[Any, Any]]:
        """The open generators, to be closed by the caller: the loop does not hold them any more."""
        generators = self.open_generators()
        self._generators.clear()
        return generators

    def first_iteration(self, generator: AsyncGenerator[Any, Any]) -> None:
        """Async-generator hook: hold it, so that it is closed with the execution, never by the collector."""
        if len(self._generators) >= self._prune_generators_at:
            self._generators = {id(g): g for g in self.open_generators()}
            self._prune_generators_at = max(64, 2 * len(self._generators))
        self._generators[id(generator)] = generator

    # -------------------------------------------------------------- what asyncio needs
    def call_soon(  # type: ignore[override]  # any arguments, as asyncio's own loops
        self, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        if not self.active:
            raise NotDurableError(
                "something outside this workflow touched it (a lock, queue or future shared between runs, "
                "or another thread); share through events or steps instead"
            )
        handle = LoopHandle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def call_soon_threadsafe(  # type: ignore[override]  # as above
        self, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        _refuse("calling into a workflow from a thread", "await a step that does the work")

    def call_later(  # type: ignore[override]  # as above
        self,
        delay: float,
        callback: Callable[..., object],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def call_at(  # type: ignore[override]  # as above
        self,
        when: float,
        callback: Callable[..., object],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        handle = LoopTimer(when, callback, args, self, context)
        handle.command = None
        if when <= self.time():
            self._ready.append(handle)
        else:
            self.owner.start_timer(handle)
        return handle

    def _callback_failed(self, handle: Any, error: BaseException) -> None:
        """A callback that is no task raised: it is reported, and the loop goes on."""
        name = getattr(handle._callback, "__qualname__", type(handle._callback).__qualname__)
        self.call_exception_handler({"message": f"exception in callback {name}", "exception": error})

    def make_ready(self, handle: asyncio.Handle) -> None:
        """Put a fired timer's handle in line."""
        self._ready.append(handle)

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        self.owner.cancel_timer(cast(LoopTimer, handle))

    def time(self) -> float:
        return self.owner.time()

    def create_future(self) -> asyncio.Future[Any]:
        self._numbers += 1
        return WorkflowFuture(number=self._numbers, loop=self)

    def create_task(
        self,
        coro: Generator[Any, None, Any] | Coroutine[Any, Any, Any],
        *,
        name: object = None,
        context: contextvars.Context | None = None,
        **options: Any,
    ) -> WorkflowTask:
        if not self.active:
            _refuse("creating a workflow's task from outside it", "create it in workflow code")
        if self.closing:
            coro.close()
            _refuse("starting a task", "this execution was dropped, and swallowed that more than once")
        if name is not None:
            options["name"] = str(name)
        if context is not None:
            options["context"] = context
        transparent = _made_by_wait_for_or_refused(sys._getframe(1))
        self._numbers += 1
        task = WorkflowTask(
            coro,
            number=self._numbers,
            parent=self.owner.scope,
            transparent=transparent,
            loop=self,
            **options,
        )
        self.owner.task_created(task)
        return task

    def get_debug(self) -> bool:
        return False

    def set_debug(self, enabled: bool) -> None:
        """Debug mode would only slow replay down; ignored."""

    def is_running(self) -> bool:
        return self.active

    def is_closed(self) -> bool:
        return False

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        self.owner.log_loop_noise(context)

    def default_exception_handler(self, context: dict[str, Any]) -> None:
        self.owner.log_loop_noise(context)

    def get_exception_handler(self) -> None:
        return None

    def get_task_factory(self) -> None:
        return None

    def set_task_factory(self, factory: Any) -> None:
        _refuse("set_task_factory()", "the engine names tasks itself")

    def set_exception_handler(self, handler: Any) -> None:
        _refuse("set_exception_handler()", "catch exceptions in the task that raises them")

    async def shutdown_asyncgens(self) -> None:
        _refuse("shutdown_asyncgens()", "the engine closes generators itself")


def _refuse(what: str, advice: str) -> NoReturn:
    raise NotDurableError(
        f"{what} is not possible inside a workflow, because it could not be replayed: {advice}"
    )


def _refusal(method: str, what: str) -> Callable[..., Any]:
    def refused(_self: ReplayLoop, *_args: Any, **_kwargs: Any) -> Any:
        _refuse(f"{what} (loop.{method})", "move it into a step")

    refused.__name__ = method
    return refused


_WORLD = {
    "network I/O": (
        "create_connection create_server create_unix_connection create_unix_server create_datagram_endpoint "
        "connect_accepted_socket start_tls sendfile sock_accept sock_connect sock_recv sock_recv_into "
        "sock_recvfrom sock_recvfrom_into sock_sendall sock_sendfile sock_sendto getaddrinfo getnameinfo "
        "add_reader remove_reader add_writer remove_writer connect_read_pipe connect_write_pipe"
    ),
    "a thread or an executor": "run_in_executor set_default_executor shutdown_default_executor",
    "a subprocess": "subprocess_exec subprocess_shell",
    "a signal handler": "add_signal_handler remove_signal_handler",
    "driving the loop": "run_forever run_until_complete stop close",
}
for _what, _methods in _WORLD.items():
    for _method in _methods.split():
        setattr(ReplayLoop, _method, _refusal(_method, _what))
# The methods above are made in a loop, after the class: tell ABCMeta that none is missing.
ReplayLoop.__abstractmethods__ = frozenset()  # type: ignore[attr-defined]


def _keep(generator: AsyncGenerator[Any, Any]) -> None:
    """Async-generator finalizer: nothing to do, the loop holds every generator that was begun."""


def current_scope(loop: ReplayLoop, callbacks: Scope) -> Scope:
    """The scope of the running task; that of ``callbacks`` outside of any."""
    task = asyncio.current_task(loop)
    if task is None:
        return callbacks
    if not isinstance(task, WorkflowTask):
        _refuse("a task made by asyncio.Task() itself", "make it with asyncio.create_task()")
    task.take_back = None  # it has asked for something: a new name does not move its scope any more
    return task.scope


# -------------------------------------------------------------- who is creating this task?
def _codes(*names: str) -> frozenset[CodeType]:
    found: list[CodeType] = []
    for name in names:
        target: Any = asyncio.tasks
        for part in name.split("."):
            target = getattr(target, part, None)
        if target is not None and hasattr(target, "__code__"):
            found.append(target.__code__)
    return frozenset(found)


_ENSURE_FUTURE = _codes("ensure_future", "_ensure_future")
_WAIT_FOR = _codes("wait_for")
_AS_COMPLETED = _codes("as_completed", "_AsCompletedIterator.__init__")
_SET_COMPREHENSION = "<setcomp>"


def _made_by_wait_for_or_refused(frame: Any) -> bool:
    """Whether ``wait_for`` makes this task (it does on 3.11): then its scope is that of the caller.

    ``as_completed`` puts bare coroutines in a set of its own, in the order of their addresses: refused.
    """
    if frame.f_code not in _ENSURE_FUTURE:
        return False
    while frame.f_code in _ENSURE_FUTURE or frame.f_code.co_name == _SET_COMPREHENSION:
        frame = frame.f_back
    if frame.f_code in _AS_COMPLETED:
        _refuse(
            "as_completed() over bare coroutines",
            "pass tasks, as_completed([asyncio.create_task(c) for c in coroutines])",
        )
    return frame.f_code in _WAIT_FOR
