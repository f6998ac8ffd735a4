"""Steps: ``@step`` turns a function into one whose result is checkpointed when a workflow calls it."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import Executor
from enum import Enum
from typing import (
    Any,
    Concatenate,
    Final,
    Generic,
    Literal,
    ParamSpec,
    Self,
    TypeAlias,
    TypeVar,
    overload,
)

import msgspec

from stepflow._engine import commands
from stepflow._engine.callables import described, function_of, function_reference, is_coroutine_function
from stepflow._engine.commands import RunStep
from stepflow._engine.current import current_execution, current_step
from stepflow._engine.definition import positive_duration
from stepflow._engine.execution import Execution
from stepflow._engine.keys import member_key
from stepflow._engine.registry import register_step
from stepflow.errors import DefinitionError, DurationError, InvalidIdError
from stepflow.model.ids import check_name
from stepflow.model.names import escape
from stepflow.primitives.context import detached_step
from stepflow.retry import Retry
from stepflow.types import StepKey
from stepflow.workflows import Workflow

P = ParamSpec("P")
Q = ParamSpec("Q")
T = TypeVar("T")
S = TypeVar("S")
Out_co = TypeVar("Out_co", covariant=True)

Coro: TypeAlias = Coroutine[Any, Any, T]
ExecutorChoice: TypeAlias = Literal["thread", "process", "inline"] | Executor
# Spelled out, and not ``Callable[..., str]``, so that checkers know the parameters of a lambda.
KeyChoice: TypeAlias = (
    str
    | Callable[[Any], str | int]
    | Callable[[Any, Any], str | int]
    | Callable[[Any, Any, Any], str | int]
    | Callable[[Any, Any, Any, Any], str | int]
)
AnyKey: TypeAlias = str | Callable[..., Any]


class Unset(Enum):
    """The type of an option that was not given: ``None`` is a value for some of them."""

    UNSET = "unset"


UNSET: Final = Unset.UNSET
_ONCE = Retry(attempts=1)
_PLACES = ("thread", "process", "inline")


class Given(msgspec.Struct, frozen=True, kw_only=True):
    """The options of a step as they were written, checked, so that those of one place can go over those of another."""

    name: str | Unset = UNSET
    retry: Retry | Unset = UNSET
    timeout: Any = UNSET
    at_most_once: bool | Unset = UNSET
    executor: Any = UNSET
    key: AnyKey | Unset = UNSET

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Given:
        """The options of a call of ``step``; ``DefinitionError`` for what makes no sense."""
        if not options:
            return NOTHING_GIVEN
        unknown = set(options) - set(cls.__struct_fields__)
        if unknown:
            raise DefinitionError(f"step() has no option {', '.join(sorted(unknown))}")
        checked = dict(options)
        try:
            if "name" in options:
                check_name("step", options["name"])
            if "timeout" in options:
                checked["timeout"] = positive_duration("timeout", options["timeout"])
        except (InvalidIdError, DurationError) as error:
            raise DefinitionError(f"step(): {error}") from error
        if "retry" in options:
            checked["retry"] = Retry.of(options["retry"])
        if not isinstance(options.get("executor", "thread"), Executor) and (
            options.get("executor", "thread") not in _PLACES
        ):
            raise DefinitionError(
                f"step(executor={options['executor']!r}): 'thread', 'process', 'inline' or an Executor"
            )
        if "key" in options and not (isinstance(options["key"], str) or callable(options["key"])):
            raise DefinitionError(
                f"step(key={options['key']!r}): a text, or a function of the step's arguments"
            )
        given = cls(**checked)
        given.check()
        return given

    def check(self) -> None:
        """``DefinitionError`` if the options contradict each other."""
        if self.at_most_once is True and self.retry is not UNSET:
            raise DefinitionError(
                "step(at_most_once=True, retry=...): at most once means one attempt; leave one of them out"
            )

    def over(self, base: Given) -> Given:
        """These options, and those of ``base`` where nothing was given here."""
        chosen = {
            name: getattr(base if getattr(self, name) is UNSET else self, name)
            for name in self.__struct_fields__
        }
        if self.at_most_once is True:
            chosen["retry"] = self.retry  # once is stronger than how often the function itself would be tried
        merged = Given(**chosen)
        merged.check()
        return merged

    def options(self) -> commands.StepOptions:
        """All of them, with the defaults."""
        if self is NOTHING_GIVEN:
            return _DEFAULTS
        once = self.at_most_once is True
        retry = self.retry if isinstance(self.retry, Retry) else Retry()
        return commands.StepOptions(
            retry=_ONCE if once else retry,
            timeout=None if self.timeout is UNSET else self.timeout,
            at_most_once=once,
            executor="thread" if self.executor is UNSET else self.executor,
        )


_DEFAULTS = commands.StepOptions(retry=Retry())
_NO_KWARGS: dict[str, Any] = {}
NOTHING_GIVEN = Given()


class Plan(msgspec.Struct, frozen=True):
    """Everything about a step but its arguments and where it is called."""

    body: Callable[..., Any]
    reference: str
    result_type: Any
    options: commands.StepOptions
    key: AnyKey | Unset

    @classmethod
    def of(cls, fn: Any, given: Given) -> Plan:
        """How to run ``fn``, which may be a ``@step`` with options of its own."""
        if isinstance(fn, Step):
            own: Plan = fn.plan
            if given is NOTHING_GIVEN:
                return own
            merged = given.over(fn.given)
            return cls(own.body, own.reference, own.result_type, merged.options(), merged.key)
        if not callable(fn):
            given_text = f"a step runs a function, and was given {fn!r:.200}"
            if inspect.iscoroutine(fn):
                fn.close()  # it will not run: no warning that it was never awaited
                raise DefinitionError(f"{given_text}; pass the function itself, not its call")
            raise DefinitionError(given_text)
        reference, returns = described(fn)
        return cls(fn, reference, returns, given.options(), given.key)

    def call(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Coro[Any]:
        """The coroutine of one call: checkpointed in a workflow, the plain function in a step, and outside of any run."""
        execution = current_execution()
        if execution is None:
            return self.call_plain(name, args, kwargs)
        key = self._key_of(execution, name, args, kwargs)
        return named(execution.perform(self.command(key, name, args, kwargs)), name)

    def command(self, key: StepKey, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> RunStep:
        return RunStep(
            key=key,
            name=name,
            function=self.reference,
            body=self.body,
            args=args,
            kwargs=kwargs or _NO_KWARGS,
            options=self.options,
            result_type=self.result_type,
        )

    def call_plain(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Coro[Any]:
        """The call without a workflow around it: in a step, part of that; else a step by itself, without retry or timeout."""
        if current_step() is not None:
            return named(self._run_body(args, kwargs), name)
        return named(self._run_detached(name, args, kwargs), name)

    async def _run_body(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        here = self.options.executor == "inline" or is_coroutine_function(self.body)
        if here or asyncio._get_running_loop() is None:
            result = self.body(*args, **kwargs)
        else:
            result = await asyncio.to_thread(self.body, *args, **kwargs)
        return await result if inspect.isawaitable(result) else result

    async def _run_detached(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        with detached_step(name):
            return await self._run_body(args, kwargs)

    def _key_of(
        self, execution: Execution, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> StepKey:
        scope = execution.scope
        chosen = self.key
        if isinstance(chosen, Unset):
            return scope.key(name)
        member = checked_key(chosen if isinstance(chosen, str) else chosen(*args, **kwargs))
        return execution.unique(member_key(f"{scope.path}{escape(name)}", member))


def checked_key(key: Any) -> str:
    """What ``key=`` gave, as text: a text or a whole number is meant, anything else raises."""
    if isinstance(key, int) and not isinstance(key, bool):
        return str(key)
    if not isinstance(key, str):
        raise DefinitionError(f"key= gave {key!r:.200}; a text (or a whole number) is needed")
    return check_name("key", key)


def named(coroutine: Coro[T], name: str) -> Coro[T]:
    """``coroutine`` under the name that users know: in warnings, and as the scope of the task that runs it."""
    made: Any = coroutine
    made.__qualname__ = made.__name__ = name
    return coroutine


class Step(Generic[P, Out_co]):
    """What ``@step`` makes of a function: every call is a coroutine. ``Out_co`` is what the function itself returns.

    In a workflow the call is checkpointed under the step's name; in a step, and outside of any run, it is the plain function.
    """

    __name__: str
    __qualname__: str
    __wrapped__: Callable[..., Any]

    def __init__(self, function: Any, given: Given) -> None:
        if not _may_be_step(function):
            raise DefinitionError(f"@step was given {function!r:.200}; it decorates a function or a method")
        if inspect.isasyncgenfunction(function_of(function)) or inspect.isgeneratorfunction(
            function_of(function)
        ):
            raise DefinitionError(
                f"@step {function_reference(function)}: it yields; a step returns one result (return a list, or make each part a step)"
            )
        functools.update_wrapper(self, function)
        self.given = given
        self._function: Any = function
        self._name = given.name if isinstance(given.name, str) else _default_name(function)
        self._plan: Plan | None = None
        register_step(function)

    @property
    def name(self) -> str:
        """The name under which it is checkpointed."""
        return self._name

    @property
    def plan(self) -> Plan:
        """How it is run. Made with the first call: annotations may name what comes later in the module."""
        plan = self._plan
        if plan is None:
            reference, returns = described(self._function)
            plan = self._plan = Plan(self._function, reference, returns, self.given.options(), self.given.key)
        return plan

    @overload
    def __call__(self: Step[P, Coroutine[Any, Any, T]], *args: P.args, **kwargs: P.kwargs) -> Coro[T]: ...
    @overload
    def __call__(self: Step[P, T], *args: P.args, **kwargs: P.kwargs) -> Coro[T]: ...
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return (self._plan or self.plan).call(self._name, args, kwargs)

    @overload
    def __get__(self, instance: None, owner: type[Any], /) -> Self: ...
    @overload
    def __get__(
        self: Step[Concatenate[S, Q], T], instance: S, owner: type[Any] | None = None, /
    ) -> Step[Q, T]: ...
    def __get__(self, instance: Any, owner: Any = None, /) -> Any:
        bind = getattr(self._function.__class__, "__get__", None)
        if bind is None:
            return self  # a callable object is no method, as everywhere in Python
        function = bind(self._function, instance, owner)
        if function is self._function:
            return self
        plan = self.plan
        bound: Any = object.__new__(type(self))
        bound.__dict__.update(self.__dict__)
        bound._function = function
        bound._plan = Plan(
            function, plan.reference, plan.result_type, plan.options, _bound_key(plan.key, function)
        )
        return bound

    def __repr__(self) -> str:
        return f"<step {self._name!r} {self.plan.reference}>"


def _may_be_step(function: object) -> bool:
    if isinstance(function, Step | Workflow):
        return False
    return callable(function) or isinstance(function, staticmethod | classmethod)


def _bound_key(key: AnyKey | Unset, function: Any) -> AnyKey | Unset:
    """A ``key=`` function gets the arguments that the decorated function gets: of a method, ``self`` is the first."""
    if not callable(key) or not inspect.ismethod(function):
        return key
    return functools.partial(key, function.__self__)


def _default_name(function: Any) -> str:
    found: str = function_of(function).__name__
    return found
