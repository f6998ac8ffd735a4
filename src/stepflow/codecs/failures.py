"""Failures: exceptions to records and back, live and on replay by the very same rules."""

from __future__ import annotations

import builtins
import sys
from collections.abc import Callable, Iterable
from functools import lru_cache
from traceback import TracebackException
from typing import Any, TypeGuard, cast

import msgspec

from stepflow.codecs.faults import type_name
from stepflow.codecs.json import Values
from stepflow.errors import (
    DefinitionError,
    DeserializationError,
    PayloadTooLargeError,
    SerializationError,
    StepFailedError,
    StepflowError,
)
from stepflow.model.failures import MESSAGE_LIMIT, TRACEBACK_LIMIT, Failure
from stepflow.model.payloads import Payload

ARGS_LIMIT = 65_536
"""Arguments and attributes of an exception that are longer than this, encoded, are not kept."""

_NAME_LIMIT = 500

# asyncio can't carry these through a future, so no workflow may meet them as themselves.
_NEVER_REBUILT = (StopIteration, StopAsyncIteration)


class RecordedTraceback(Exception):
    """The cause of a rebuilt exception: prints the traceback that was recorded with the original one."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}" if self.args else ""


class _State(msgspec.Struct, frozen=True):
    args: list[Any]
    attributes: dict[str, Any] = {}


def record_failure(error: BaseException, *, values: Values, allowed: Callable[[type], bool]) -> Failure:
    """The exception as data. What will be raised for it is decided here, once, and stored with it.

    ``allowed`` tells the classes that may be raised again as themselves. Never fails, whatever the exception's own methods do;
    texts are cut to their limits.
    """
    name = type_name(type(error))
    failure = Failure(
        type=_cut(name, _NAME_LIMIT),
        message=_cut(_text_of(error), MESSAGE_LIMIT),
        # The first lines say where it began, the last ones what happened.
        traceback=_cut(_traceback_of(error), TRACEBACK_LIMIT, head=0.25),
    )
    if not isinstance(error, Exception) or isinstance(error, _NEVER_REBUILT):
        return failure
    if name != failure.type or not allowed(type(error)):
        return failure
    attributes = _storable_attributes(error, values)
    args = _constructor_args(error)
    state = _encoded_state(args, attributes, values) or _encoded_state(args, {}, values)
    if state is not None and _comes_back(error, state, values):
        return msgspec.structs.replace(failure, rebuilt=True, args=state)
    if _hybrid(type(error), failure, {}) is None:
        return failure
    # Its arguments are of no use without its __init__, its attributes are.
    state = _encoded_state((), attributes, values) if attributes else None
    return msgspec.structs.replace(failure, allowed=True, args=state)


def rebuild_failure(
    failure: Failure, *, values: Values, find: Callable[[str], type[BaseException] | None]
) -> Exception:
    """The exception to raise for a recorded failure, chained to the recorded traceback.

    Nothing is imported: ``find`` looks the class up by its recorded name. ``DeserializationError`` if the class or its arguments can't be
    had any more: raising another class would send the workflow down another path.
    """
    error: Exception | None
    if not failure.rebuilt and not failure.allowed:
        error = StepFailedError(failure.message, type=failure.type, traceback=failure.traceback)
    else:
        kind = _found(failure, find)
        args, attributes = _decoded_state(failure.args, values)
        error = (
            _reconstructed(kind, args, attributes) if failure.rebuilt else _hybrid(kind, failure, attributes)
        )
        if error is None:
            raise DeserializationError(f"a recorded {failure.type} can't be made from its record any more")
    if failure.traceback:
        error.__cause__ = RecordedTraceback(failure.traceback)
    return error


def _found(failure: Failure, find: Callable[[str], type[BaseException] | None]) -> type[Exception]:
    kind = find(failure.type)
    if kind is None or not issubclass(kind, Exception):
        raise DeserializationError(
            f"the class of a recorded failure, {failure.type}, is not known here any more; "
            "bring it back under this name, or give its successor in Stepflow(errors=[...]) the same module and name"
        )
    return kind


def _comes_back(error: Exception, state: Payload, values: Values) -> bool:
    """Whether the record alone gives the same class with the same text."""
    args, attributes = _decoded_state(state, values)
    try:
        again = _reconstructed(type(error), args, attributes)
        return again is not None and str(again) == str(error)
    except Exception:  # noqa: BLE001 - the class's own __str__; without a text it can't be the same
        return False


class ErrorRegistry:
    """Which exception classes may be raised again as themselves: a closed list, looked up by name.

    They are the built-in ones, Stepflow's own, those *defined in* the given modules (which must be imported already), and the given
    classes. Nothing is imported here, and no name leads out of these modules.
    """

    __slots__ = ("_given", "_modules")

    def __init__(self, modules: Iterable[str] = (), errors: Iterable[type[BaseException]] = ()) -> None:
        self._modules = (*dict.fromkeys(modules), StepflowError.__module__)
        self._given: dict[str, type[Exception]] = {}
        for error in errors:
            if not _is_exception_class(error):
                raise DefinitionError(f"errors=[...]: {error!r} is not a subclass of Exception")
            if self._given.setdefault(type_name(error), error) is not error:
                raise DefinitionError(f"errors=[...]: two classes have the name {type_name(error)}")

    def allows(self, kind: type) -> bool:
        """True if a failure of this very class may be raised again as that class."""
        return self.find(type_name(kind)) is kind

    def find(self, name: str) -> type[Exception] | None:
        """The class that a failure recorded under this name may be raised as; None if there is none any more."""
        given = self._given.get(name)
        if given is not None:
            return given
        if "." not in name:
            return _exception(vars(builtins).get(name), name)
        for module in self._modules:
            if name.startswith(f"{module}."):
                found = _exception(_defined_in(module, name[len(module) + 1 :]), name)
                if found is not None:
                    return found
        return None


def _is_exception_class(given: object) -> TypeGuard[type[Exception]]:
    return isinstance(given, type) and issubclass(given, Exception)


def _defined_in(module: str, qualname: str) -> object:
    """Looks only at what the module and its classes hold, so that no code of theirs runs."""
    place: object = sys.modules.get(module)
    for part in qualname.split("."):
        if place is None or not (isinstance(place, type) or place is sys.modules.get(module)):
            return None
        place = vars(place).get(part)
    return place


def _exception(found: object, name: str) -> type[Exception] | None:
    """The class, if it is an exception that calls itself by this name: an alias or an import is not a definition."""
    return found if _is_exception_class(found) and type_name(found) == name else None


# ------------------------------------------------------------------ what is stored of an exception
def _constructor_args(error: Exception) -> tuple[Any, ...]:
    """What its class is called with to make it again: an ``OSError`` keeps its file name apart from ``args``."""
    try:
        reduced: Any = error.__reduce__()
    except Exception:  # noqa: BLE001 - the class's own code; its plain arguments are still there
        return error.args
    if isinstance(reduced, tuple) and reduced[0] is type(error) and isinstance(reduced[1], tuple):
        return cast("tuple[object, ...]", reduced[1])
    return error.args


def _storable_attributes(error: Exception, values: Values) -> dict[str, Any]:
    """The instance's attributes that JSON can hold (notes are among them)."""
    kept: dict[str, Any] = {}
    for name, value in vars(error).items():
        try:
            values.encode({name: value}, what="an attribute of an exception", limit=ARGS_LIMIT)
        except (SerializationError, PayloadTooLargeError):
            continue  # one that can't be kept is no reason to lose the others
        kept[name] = value
    return kept


def _encoded_state(args: tuple[Any, ...], attributes: dict[str, Any], values: Values) -> Payload | None:
    """Arguments and attributes in one payload; None if they can't be stored."""
    state = {"args": args, "attributes": attributes} if attributes else {"args": args}
    try:
        return values.encode(state, what="the arguments of an exception", limit=ARGS_LIMIT)
    except (SerializationError, PayloadTooLargeError):
        return None


def _decoded_state(payload: Payload | None, values: Values) -> tuple[list[Any], dict[str, Any]]:
    if payload is None:
        return [], {}
    state = values.decode(payload, _State, what="the arguments of a recorded exception")
    return state.args, state.attributes


# ------------------------------------------------------------------ what is made of the record
def _reconstructed(kind: type[Exception], args: list[Any], attributes: dict[str, Any]) -> Exception | None:
    """The class called with the recorded arguments; None if it does not take them."""
    try:
        if kind.__module__ == StepflowError.__module__:
            # Ours compose their text from their parameters; the record holds the text and the attributes instead.
            error = _blank(kind, args)
            vars(error).update(attributes)
        else:
            error = kind(*args)
            vars(error).update({name: attributes[name] for name in attributes.keys() - vars(error).keys()})
    except Exception:  # noqa: BLE001 - the user's constructor; the caller says what follows
        return None
    return error if type(error) is kind else None


def _hybrid(kind: type[Exception], failure: Failure, attributes: dict[str, Any]) -> Exception | None:
    """A ``StepFailedError`` that also is a ``kind``, made without the latter's ``__init__``; None if the two don't go together."""
    try:
        error = _blank(_hybrid_class(cast("Any", kind)), [failure.message])
    except Exception:  # noqa: BLE001 - a metaclass, __init_subclass__ or __new__ of the user's; the caller says what follows
        return None
    own = {"type": failure.type, "message": failure.message, "traceback": failure.traceback}
    vars(error).update({**attributes, **own})
    return error


@lru_cache(maxsize=256)
def _hybrid_class(kind: Any) -> type[Exception]:
    bases: tuple[type, ...] = (kind,) if issubclass(kind, StepFailedError) else (StepFailedError, kind)
    body = {
        "__module__": kind.__module__,
        "__qualname__": kind.__qualname__,
        "__doc__": kind.__doc__,
        "__str__": _recorded_message,  # the class's own may need what its __init__ would have set
    }
    return type(kind.__name__, bases, body)


def _recorded_message(self: StepFailedError) -> str:
    return self.message


def _blank(kind: type[Exception], args: list[Any]) -> Exception:
    """An instance whose ``__init__`` was not called. The built-in base that decides the memory layout has to make it."""
    builtin: Any = max((base for base in kind.__mro__ if base.__module__ == "builtins"), key=_basic_size)
    error: Exception = builtin.__new__(kind)
    error.args = tuple(args)
    return error


def _basic_size(kind: type) -> int:
    return kind.__basicsize__


# ------------------------------------------------------------------ texts
def _text_of(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as problem:  # noqa: BLE001 - the exception's own code; what it raised is told
        return f"<its text can't be shown: {type_name(type(problem))}>"


def _traceback_of(error: BaseException) -> str:
    try:
        return "".join(TracebackException.from_exception(error).format())
    except Exception as problem:  # noqa: BLE001 - notes, causes and groups run the user's code; what it raised is told
        return f"<the traceback can't be shown: {type_name(type(problem))}>\n{type_name(type(error))}\n"


def _cut(text: str, limit: int, *, head: float = 1.0) -> str:
    """At most ``limit`` characters of valid Unicode; what is left out comes after the share ``head``, and is told."""
    if len(text) > limit:
        room = limit - 48
        first = int(room * head)
        text = (
            f"{text[:first]} … {len(text) - room:,} characters left out … {text[len(text) - room + first :]}"
        )
    try:
        text.encode()
    except UnicodeEncodeError:  # a lone surrogate, which no storage takes
        return text.encode(errors="backslashreplace").decode()[:limit]
    return text
