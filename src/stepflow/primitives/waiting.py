"""Waiting: sleeps, and events that come from outside."""

from __future__ import annotations

import string
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar, overload
from uuid import UUID

import msgspec

from stepflow._engine.commands import SendEvent, StartTimer, WaitForEvent
from stepflow._engine.current import require_execution
from stepflow._engine.execution import Execution
from stepflow.durations import parse_duration
from stepflow.errors import (
    DefinitionError,
    DeserializationError,
    DurationError,
    EventTimeoutError,
    InputError,
    InvalidIdError,
)
from stepflow.model.ids import check_event_id, check_id, check_name
from stepflow.primitives.steps import UNSET, named
from stepflow.types import Duration, EventId, RunId, StepKey

if TYPE_CHECKING:
    from typing_extensions import TypeForm

T = TypeVar("T")
D = TypeVar("D")
T_co = TypeVar("T_co", covariant=True)

Coro: TypeAlias = Coroutine[Any, Any, T]

_MICROSECOND = timedelta(microseconds=1)
_OPTIONS = frozenset({"name", "timeout", "default"})


# ------------------------------------------------------------------ sleeping
@overload
def sleep(name: str, duration: Duration, /) -> Coro[None]: ...
@overload
def sleep(duration: Duration, /) -> Coro[None]: ...
def sleep(name: Any, duration: Any = UNSET, /) -> Coro[None]:
    """Sleep durably, from seconds to years: the run leaves memory meanwhile. The time counts from when it is awaited."""
    if duration is UNSET:
        name, duration = "sleep", name
    execution = require_execution("sleep")
    delta = parse_duration(duration)
    key = execution.scope.key(check_name("sleep", name))
    return named(_sleep(execution, key, name, delta), name)


@overload
def sleep_until(name: str, when: datetime, /) -> Coro[None]: ...
@overload
def sleep_until(when: datetime, /) -> Coro[None]: ...
def sleep_until(name: Any, when: Any = UNSET, /) -> Coro[None]:
    """Sleep durably until an instant; one that has passed is over at once. ``InputError`` for a datetime without a zone."""
    if when is UNSET:
        name, when = "sleep-until", name
    execution = require_execution("sleep_until")
    if not isinstance(when, datetime):
        raise InputError(f"sleep_until({when!r:.100}): a datetime is needed; sleep() takes durations")
    if when.utcoffset() is None:
        raise InputError(
            f"sleep_until({when!r}): it has no time zone; add tzinfo=datetime.UTC, or the one you mean"
        )
    key = execution.scope.key(check_name("sleep", name))
    return named(_sleep(execution, key, name, when.astimezone(UTC)), name)


async def _sleep(execution: Execution, key: StepKey, name: str, until: datetime | timedelta) -> None:
    now = execution.now
    deadline = until if isinstance(until, datetime) else _later(now, until)
    delay = max(timedelta(0), deadline - now) // _MICROSECOND
    await execution.perform(StartTimer(key=key, name=name, deadline=deadline, delay=delay, sleep=True))


def _later(now: datetime, delta: timedelta) -> datetime:
    try:
        return now + delta
    except OverflowError:
        raise DurationError(f"{delta.days} days from now is beyond the year 9999") from None


# ------------------------------------------------------------------ events
class EventAddress(msgspec.Struct, Generic[T_co], frozen=True):
    """Where an event goes, and what type its payload has. Made by calling an ``Event``."""

    id: EventId
    type: Any = Any

    def __str__(self) -> str:
        return self.id


def event_address(event: Any) -> tuple[EventId, Any]:
    """The id and the payload's type (None: not declared) of what a user gave as an event; ``InvalidIdError``."""
    if isinstance(event, EventAddress):
        return check_event_id(event.id), event.type
    if isinstance(event, Event):
        raise InputError(f"{event!r} has to be called with its fields: {event.usage}")
    return check_event_id(event), None


class Event(Generic[T_co]):
    """An event declared once, for those who wait and those who notify: ``Event("shipped/{id}", Shipment)``.

    Fields of the template are filled by keyword. Whatever is special in an id is percent-encoded in them, so that no value
    can reach another event.
    """

    @overload
    def __init__(self: Event[Any], template: str, /) -> None: ...
    @overload
    def __init__(self: Event[T], template: str, type: type[T], /) -> None: ...
    @overload
    def __init__(self: Event[T], template: str, type: TypeForm[T], /) -> None: ...
    def __init__(self, template: str, type: Any = Any, /) -> None:
        self.template = template
        self.type = type
        self._fields = _fields_of(template)

    @property
    def usage(self) -> str:
        """How it is called."""
        return f"({', '.join(f'{field}=...' for field in self._fields)})"

    def __call__(self, **fields: str | int | UUID) -> EventAddress[T_co]:
        """The address with these values: for ``app.notify`` and ``step.send_event``."""
        if fields.keys() != set(self._fields):
            raise InputError(f"event {self.template!r} is called as {self.usage}, not with {sorted(fields)}")
        values = {name: _encode_field(self.template, name, value) for name, value in fields.items()}
        return EventAddress(check_event_id(self.template.format(**values)), self.type)

    @overload
    def wait(
        self, *, name: str | None = None, timeout: Duration | None = None, **fields: str | int | UUID
    ) -> Coro[T_co]: ...
    @overload
    def wait(
        self, *, default: D, timeout: Duration, name: str | None = None, **fields: str | int | UUID
    ) -> Coro[T_co | D]: ...
    def wait(self, *, name: Any = None, timeout: Any = None, default: Any = UNSET, **fields: Any) -> Any:
        """``wait_for_event`` for the event with these fields."""
        execution = require_execution("Event.wait")
        address = self(**fields)
        return _wait(execution, address.id, name, timeout, default, address.type)

    def __repr__(self) -> str:
        return f"Event({self.template!r})"


def _fields_of(template: Any) -> tuple[str, ...]:
    try:
        parts = list(string.Formatter().parse(template))
    except (TypeError, ValueError) as error:
        raise DefinitionError(f"Event({template!r:.220}): {error}") from error
    fields: list[str] = []
    for _, field, spec, conversion in parts:
        if field is None:
            continue
        if not field.isidentifier() or spec or conversion:
            raise DefinitionError(f"Event({template!r}): {{{field}}} must be a plain name, like {{id}}")
        if field in _OPTIONS:
            raise DefinitionError(
                f"Event({template!r}): {{{field}}} is an option of wait(); call it otherwise"
            )
        fields.append(field)
    try:
        check_event_id(template.format(**dict.fromkeys(fields, "x")))
    except InvalidIdError as error:
        raise DefinitionError(f"Event({template!r}): {error}") from error
    return tuple(dict.fromkeys(fields))


def _encode_field(template: str, name: str, value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | UUID):
        raise InputError(
            f"event {template!r}: {name}={value!r:.100} must be a text, a whole number or a UUID"
        )
    from urllib.parse import quote  # noqa: PLC0415 - not every program has events with fields

    try:
        encoded = quote(str(value), safe="")
    except UnicodeEncodeError:
        raise InputError(f"event {template!r}: {name}={value!r:.100} is no text that can be stored") from None
    if not encoded:
        raise InputError(f"event {template!r}: {name} is empty")
    return encoded.replace(".", "%2E") if encoded in (".", "..") else encoded


@overload
def wait_for_event(
    event_id: str, /, *, name: str | None = None, timeout: Duration | None = None
) -> Coro[Any]: ...
@overload
def wait_for_event(
    event_id: str, /, *, default: object, timeout: Duration, name: str | None = None
) -> Coro[Any]: ...
@overload
def wait_for_event(
    event_id: str, /, *, type: type[T], name: str | None = None, timeout: Duration | None = None
) -> Coro[T]: ...
@overload
def wait_for_event(
    event_id: str, /, *, type: type[T], default: D, timeout: Duration, name: str | None = None
) -> Coro[T | D]: ...
@overload
def wait_for_event(
    event_id: str, /, *, type: TypeForm[T], name: str | None = None, timeout: Duration | None = None
) -> Coro[T]: ...
@overload
def wait_for_event(
    event_id: str, /, *, type: TypeForm[T], default: D, timeout: Duration, name: str | None = None
) -> Coro[T | D]: ...
def wait_for_event(
    event_id: str, /, *, name: Any = None, timeout: Any = None, default: Any = UNSET, type: Any = Any
) -> Any:
    """Wait for an event, and return its payload as ``type`` (by default decoded JSON).

    Every event sent since the run was triggered reaches it once, in order, one per wait, also if it was sent before the
    wait began. ``timeout`` counts from when it is awaited; when it passes, ``EventTimeoutError`` (a ``TimeoutError``) is raised,
    or ``default`` returned if there is one. Without it the wait may last for ever.
    """
    execution = require_execution("wait_for_event")
    return _wait(execution, check_event_id(event_id), name, timeout, default, type)


def _wait(
    execution: Execution,
    event_id: EventId,
    name: str | None,
    timeout: Duration | None,
    default: Any,
    type: Any,
) -> Coro[Any]:
    if timeout is None and default is not UNSET:
        raise InputError("default= is what a wait returns when its timeout= passes: give one")
    limit = None if timeout is None else parse_duration(timeout)
    name = check_name("wait", event_id if name is None else name)
    key = execution.scope.key(name)
    return named(_wait_until(execution, key, name, event_id, limit, default, type), name)


async def _wait_until(
    execution: Execution,
    key: StepKey,
    name: str,
    event_id: EventId,
    limit: timedelta | None,
    default: Any,
    type: Any,
) -> Any:
    command = WaitForEvent(
        key=key,
        name=name,
        event_id=event_id,
        after=0,
        timeout=limit,
        deadline=None if limit is None else _later(execution.now, limit),
        result_type=type,
    )
    try:
        return await execution.perform(command)
    except EventTimeoutError:
        if default is UNSET:
            raise
        return default


def send_event(event: Any, payload: Any, *, run_id: RunId | None, name: str | None) -> Coro[None]:
    """``step.send_event``; the key is taken now."""
    execution = require_execution("step.send_event")
    event_id, type_ = event_address(event)
    encoded = execution.encode(payload, f"the payload of event {event_id!r}")
    if type_ is not None:
        try:
            execution.decode(encoded, type_)
        except DeserializationError as error:
            raise InputError(f"the payload of event {event_id!r} does not fit: {error}") from error
    if run_id is not None:
        check_id("run id", run_id)
    name = check_name("event", event_id if name is None else name)
    command = SendEvent(
        key=execution.scope.key(name), name=name, event_id=event_id, payload=encoded, run_id=run_id
    )
    return named(execution.perform(command), name)
