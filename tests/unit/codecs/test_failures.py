"""Failures: what is recorded of an exception, what is raised for it later, and that no stored name is ever imported."""

from __future__ import annotations

import asyncio
import inspect
import json
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import msgspec
import pytest

from stepflow import errors
from stepflow.codecs.compressed import Compressed
from stepflow.codecs.failures import ErrorRegistry, rebuild_failure, record_failure
from stepflow.codecs.json import Values
from stepflow.errors import (
    DefinitionError,
    DeserializationError,
    EventTimeoutError,
    StepFailedError,
    StepflowError,
)
from stepflow.model.failures import MESSAGE_LIMIT, TRACEBACK_LIMIT, Failure
from stepflow.model.payloads import Payload

VALUES = Values()
HERE = ErrorRegistry(modules=[__name__])


class PlainError(Exception):
    """Its arguments make it again."""


class ComposedError(Exception):
    """Its text is composed from what it is called with, so its arguments do not make it again."""

    def __init__(self, code: int) -> None:
        super().__init__(f"code {code}")
        self.code = code


class KeywordError(ValueError):
    def __init__(self, *, code: int) -> None:
        super().__init__(f"code {code}")
        self.code = code


class ReducedError(Exception):
    """Says itself how it is made again, as one that is pickled has to."""

    def __init__(self, code: int) -> None:
        super().__init__(f"code {code}")
        self.code = code

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), (self.code,))


class BadlyReducedError(PlainError):
    def __reduce__(self) -> tuple[Any, ...]:
        raise RuntimeError("can't be reduced")


class UnprintableError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


class ChangefulError(Exception):
    """Its text is another one each time."""

    count = 0

    def __str__(self) -> str:
        ChangefulError.count += 1
        return f"{ChangefulError.count}"


class PickyError(Exception):
    """Can't be derived from."""

    def __init_subclass__(cls) -> None:
        raise TypeError("final")

    def __init__(self) -> None:
        super().__init__("made without arguments")


class ShiftingError(Exception):
    """Called with its arguments alone, it makes an exception of another class."""

    def __new__(cls, text: str, *, really: bool = False) -> Any:
        return super().__new__(cls, text) if really else PlainError(text)

    def __init__(self, text: str, *, really: bool = False) -> None:
        super().__init__(text)


class PickyStepError(StepFailedError):
    """A user's own kind of ``StepFailedError``."""

    def __init__(self, code: int) -> None:
        super().__init__(f"code {code}", type="T")


class Stop(StopIteration):
    pass


class Shop:
    class SoldOutError(Exception):
        pass


AliasError = PlainError


def recorded(error: BaseException, *, values: Values = VALUES, registry: ErrorRegistry = HERE) -> Failure:
    """The failure as it comes out of the storage, after the exception was really raised."""
    try:
        raise error
    except BaseException as caught:  # noqa: BLE001 - all kinds are recorded here
        failure = record_failure(caught, values=values, allowed=registry.allows)
    return msgspec.json.decode(msgspec.json.encode(failure), type=Failure)


def rebuilt(failure: Failure, *, values: Values = VALUES, registry: ErrorRegistry = HERE) -> Exception:
    return rebuild_failure(failure, values=values, find=registry.find)


def again(error: BaseException) -> Exception:
    return rebuilt(recorded(error))


# ------------------------------------------------------------------ raised again as themselves
@pytest.mark.parametrize(
    "error",
    [
        PlainError(),
        PlainError("a", 1, None),
        ReducedError(5),
        BadlyReducedError("a"),
        Shop.SoldOutError("socks"),
        KeyError("a"),
        KeyError(("a", 1)[0]),
        OSError(2, "No such file", "/tmp/x"),
        OSError(2, "No such file", "/tmp/x", None, "/tmp/y"),
        TimeoutError("late"),
        SyntaxError("bad", ("file.py", 1, 2, "text")),
        MemoryError(),
        RecursionError("too deep"),
        ZeroDivisionError("division by zero"),
        AssertionError("line\nbreak \x1b[31m"),
        ImportError("no module"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_known_class_whose_arguments_make_it_again_is_raised_as_itself(error: Exception) -> None:
    failure = recorded(error)
    found = rebuilt(failure)

    assert failure.rebuilt
    assert type(found) is type(error)
    assert (str(found), failure.message) == (str(error), str(error))


def test_an_os_error_keeps_its_number_and_file_names() -> None:
    found = again(OSError(2, "No such file", "/tmp/x", None, "/tmp/y"))

    assert isinstance(found, FileNotFoundError)
    assert (found.errno, found.filename, found.filename2) == (2, "/tmp/x", "/tmp/y")


def test_notes_and_attributes_are_kept_as_far_as_json_can_hold_them() -> None:
    error = PlainError("a")
    error.add_note("the third try")
    error.status = 503  # type: ignore[attr-defined]
    error.response = object()  # type: ignore[attr-defined]

    found = again(error)

    assert vars(found) == {"__notes__": ["the third try"], "status": 503}


def own_errors() -> list[StepflowError]:
    """One of every class in ``errors``, made with its own parameters."""
    samples: dict[str, Any] = {
        "action": "cancel", "child_id": "c", "delay": "3s", "event_id": "e", "extra": "x", "first": {"a": 1}, "hint": "h",
        "key": "k", "limit": 4, "message": "m", "nearest": ["a"], "path": "$.a", "reason": "why", "run_id": "r", "size": 5,
        "status": "s", "data": {"retryAfter": 3}, "timeout": 3.0, "traceback": "tb", "type": "T", "verb": "v", "what": "w", "workflow_id": "w",
    }  # fmt: skip
    found: list[StepflowError] = []
    for kind in vars(errors).values():
        if isinstance(kind, type) and issubclass(kind, StepflowError):
            parameters = list(inspect.signature(kind.__init__).parameters.values())[1:]
            named = [
                each.name
                for each in parameters
                if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)
            ]
            made: Callable[..., StepflowError] = kind
            found.append(made(**{name: samples[name] for name in named}) if named else made("a message"))
    return found


@pytest.mark.parametrize("error", own_errors(), ids=lambda error: type(error).__name__)
def test_every_error_of_stepflow_is_raised_as_itself_with_its_attributes(error: StepflowError) -> None:
    failure = recorded(error)
    found = rebuilt(failure)

    assert failure.rebuilt
    assert type(found) is type(error)
    assert str(found) == str(error)
    assert {**vars(found), "nearest": ()} == {**vars(error), "nearest": ()}


def test_arguments_go_through_the_codec() -> None:
    values = Values(Compressed())
    failure = recorded(PlainError("a"), values=values)

    assert failure.args is not None
    assert failure.args.codec == "zlib"
    assert rebuilt(failure, values=values).args == ("a",)


# ------------------------------------------------------------------ raised as a class of both kinds
@pytest.mark.parametrize(
    "error",
    [
        ComposedError(5),
        KeywordError(code=5),
        PickyStepError(5),
        PlainError({1, 2}, b"bytes are text when they come back"),
        PlainError(object()),
        ChangefulError(),
        ShiftingError("a", really=True),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"),
        UnicodeEncodeError("ascii", "\udc80", 0, 1, "bad"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_known_class_that_can_not_be_made_again_is_raised_as_one_that_derives_from_it(
    error: Exception,
) -> None:
    failure = recorded(error)
    found = rebuilt(failure)

    assert (failure.rebuilt, failure.allowed) == (False, True)
    assert isinstance(found, type(error))
    assert isinstance(found, StepFailedError)
    assert str(found) == found.message == failure.message
    assert found.type == failure.type
    assert "Traceback" in found.traceback
    assert type(found).__name__ == type(error).__name__


def test_the_attributes_of_a_class_that_can_not_be_made_again_are_there() -> None:
    found = again(KeywordError(code=5))

    assert isinstance(found, KeywordError)
    assert found.code == 5


def test_a_class_made_of_both_kinds_is_made_once() -> None:
    assert type(again(ComposedError(1))) is type(again(ComposedError(2)))


def test_a_failure_that_is_raised_again_by_the_workflow_keeps_its_name() -> None:
    first = recorded(ComposedError(5))

    second = recorded(rebuilt(first))

    assert (second.type, second.message) == (first.type, first.message)


# ------------------------------------------------------------------ raised as StepFailedError
@dataclass
class Foreign(Exception):
    """Defined here, but a registry without this module does not know it."""

    text: str


@pytest.mark.parametrize(
    ("error", "type_name"),
    [
        (json.JSONDecodeError("bad", "{", 0), "json.decoder.JSONDecodeError"),
        (asyncio.QueueEmpty(), "asyncio.queues.QueueEmpty"),
        (asyncio.CancelledError(), "asyncio.exceptions.CancelledError"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
        (StopIteration(1), "StopIteration"),
        (StopAsyncIteration(1), "StopAsyncIteration"),
        (Stop(1), f"{__name__}.Stop"),
        (PickyError(), f"{__name__}.PickyError"),
        (ExceptionGroup("several", [PlainError("leaf")]), "ExceptionGroup"),
    ],
    ids=lambda each: type(each).__name__,
)
def test_everything_else_is_a_step_failed_error_that_tells_what_it_was(
    error: BaseException, type_name: str
) -> None:
    failure = recorded(error)
    found = rebuilt(failure)

    assert (failure.rebuilt, failure.allowed, failure.args) == (False, False, None)
    assert type(found) is StepFailedError
    assert (found.type, found.message) == (type_name, failure.message)
    assert str(found) == f"{type_name}: {failure.message}"


def test_a_class_of_another_module_is_not_raised_as_itself() -> None:
    elsewhere = ErrorRegistry()

    assert type(rebuilt(recorded(Foreign("a"), registry=elsewhere), registry=elsewhere)) is StepFailedError
    assert type(again(Foreign("a"))) is Foreign


def test_the_leaves_of_a_group_are_in_the_recorded_traceback() -> None:
    found = again(ExceptionGroup("several", [PlainError("first leaf"), ValueError("second leaf")]))

    assert isinstance(found, StepFailedError)
    assert "first leaf" in found.traceback
    assert "second leaf" in found.traceback


def test_the_recorded_traceback_is_printed_as_the_cause() -> None:
    printed = "".join(traceback.format_exception(again(PlainError("a"))))

    assert "in recorded" in printed
    assert "direct cause of the following exception" in printed


def test_a_failure_without_a_traceback_has_no_cause() -> None:
    assert rebuilt(Failure(type="X", message="m")).__cause__ is None


# ------------------------------------------------------------------ hostile exceptions
def test_a_huge_message_is_cut_and_says_so() -> None:
    failure = recorded(ValueError("x" * 10_000_000))

    assert len(failure.message) <= MESSAGE_LIMIT
    assert "characters left out" in failure.message
    assert len(failure.traceback) <= TRACEBACK_LIMIT
    assert failure.traceback.startswith("Traceback (most recent call last)")
    assert failure.args is None
    assert isinstance(rebuilt(failure), ValueError)


def test_a_message_at_its_limit_is_whole() -> None:
    assert recorded(ValueError("x" * MESSAGE_LIMIT)).message == "x" * MESSAGE_LIMIT


def test_attributes_that_are_too_large_are_left_out() -> None:
    error = PlainError("a")
    error.body = "x" * 1_000_000  # type: ignore[attr-defined]
    for at in range(40):
        setattr(error, f"part{at}", "x" * 10_000)

    found = again(error)

    assert (type(found), found.args, vars(found)) == (PlainError, ("a",), {})


def test_an_unprintable_exception_is_recorded() -> None:
    found = again(UnprintableError("a"))

    assert isinstance(found, UnprintableError)
    assert str(found) == "<its text can't be shown: RuntimeError>"


def test_lone_surrogates_are_written_out() -> None:
    failure = recorded(ValueError("\ud800" * MESSAGE_LIMIT))

    assert failure.message.startswith("\\ud800\\ud800")
    assert len(failure.message) <= MESSAGE_LIMIT
    assert json.loads(msgspec.json.encode(failure))


def test_nul_and_escapes_come_back() -> None:
    assert str(again(PlainError("\x00 \x1b[0m"))) == "\x00 \x1b[0m"


def test_a_cyclic_cause_is_recorded() -> None:
    one, other = PlainError("one"), PlainError("other")
    one.__cause__, other.__cause__ = other, one

    assert "other" in recorded(one).traceback


def test_a_long_chain_of_causes_is_recorded() -> None:
    error = PlainError("first")
    for _ in range(5_000):
        following = PlainError("next")
        following.__cause__ = error
        error = following

    assert recorded(error).message == "next"


class HostileError(PlainError):
    @property
    def __notes__(self) -> list[str]:
        raise RuntimeError("no notes")


def test_an_exception_whose_notes_fail_is_recorded() -> None:
    failure = recorded(HostileError("a"))

    assert failure.message == "a"
    assert "HostileError" in failure.traceback


def test_a_deep_traceback_keeps_its_beginning_and_its_end() -> None:
    def ping(left: int) -> None:
        if not left:
            raise PlainError("the end")
        (ping if left % 2 else pong)(left - 1)

    def pong(left: int) -> None:
        ping(left)

    try:
        ping(500)
    except PlainError as error:
        failure = record_failure(error, values=VALUES, allowed=HERE.allows)

    assert len(failure.traceback) <= TRACEBACK_LIMIT
    assert "test_a_deep_traceback" in failure.traceback[:1000]
    assert failure.traceback.rstrip().endswith("the end")


def test_a_class_with_an_endless_name_is_recorded_under_the_beginning_of_it() -> None:
    endless = type("E" * 100_000, (PlainError,), {"__module__": __name__})
    registry = ErrorRegistry(errors=[endless])

    failure = recorded(endless("a"), registry=registry)

    assert len(failure.type) <= 500
    assert type(rebuilt(failure, registry=registry)) is StepFailedError


# ------------------------------------------------------------------ the closed list
@pytest.mark.parametrize(
    "name",
    ["os.system", "subprocess.Popen", "eval", "exec", "int", "print", "__import__", "KeyboardInterrupt", "SystemExit", "BaseException",
     "builtins.ValueError", "json.decoder.JSONDecodeError", "stepflow.errors.Any", "stepflow.errors.annotations", "", ".", "..",
     f"{__name__}.json.JSONDecodeError", f"{__name__}.AliasError", f"{__name__}.StepFailedError", f"{__name__}.recorded",
     f"{__name__}.PlainError.__init__", f"{__name__}.VALUES", f"{__name__}.VALUES._tag", f"{__name__}.json.loads", f"{__name__}.", f"{__name__}.Shop", f"{__name__}.Shop.Gone"],
)  # fmt: skip
def test_a_name_that_leads_elsewhere_finds_nothing(name: str) -> None:
    assert HERE.find(name) is None


def test_looking_up_a_name_imports_nothing() -> None:
    before = set(sys.modules)

    assert ErrorRegistry(modules=["antigravity"]).find("antigravity.GravityError") is None
    assert set(sys.modules) == before


def test_looking_up_a_name_runs_no_code_of_a_module() -> None:
    module = ModuleType("stepflow_test_module")
    module.__getattr__ = lambda name: pytest.fail("was asked")  # type: ignore[method-assign]
    sys.modules[module.__name__] = module
    try:
        assert ErrorRegistry(modules=[module.__name__]).find(f"{module.__name__}.Anything") is None
    finally:
        del sys.modules[module.__name__]


def test_the_known_classes_are_builtins_our_own_those_of_the_modules_and_the_given_ones() -> None:
    local = type("LocalError", (Exception,), {"__module__": "nowhere"})
    registry = ErrorRegistry(modules=[__name__], errors=[local, json.JSONDecodeError])

    assert registry.find("ValueError") is ValueError
    assert registry.find("stepflow.errors.EventTimeoutError") is EventTimeoutError
    assert registry.find(f"{__name__}.Shop.SoldOutError") is Shop.SoldOutError
    assert registry.find("nowhere.LocalError") is local
    assert registry.allows(json.JSONDecodeError)
    assert not registry.allows(asyncio.QueueEmpty)
    assert not HERE.allows(local)


def test_a_class_that_only_bears_the_name_of_a_known_one_is_not_known() -> None:
    impostor = type("PlainError", (Exception,), {"__module__": __name__})

    assert not HERE.allows(impostor)
    assert type(again(impostor("a"))) is StepFailedError


@pytest.mark.parametrize("given", [KeyboardInterrupt, int, "ValueError", ValueError()])
def test_only_exception_classes_can_be_given(given: Any) -> None:
    with pytest.raises(DefinitionError, match="not a subclass of Exception"):
        ErrorRegistry(errors=[given])


def test_two_given_classes_can_not_share_a_name() -> None:
    one, other = (type("E", (Exception,), {"__module__": "m"}) for _ in range(2))

    ErrorRegistry(errors=[one, one])
    with pytest.raises(DefinitionError, match=r"two classes have the name m\.E"):
        ErrorRegistry(errors=[one, other])


# ------------------------------------------------------------------ records that the code has outgrown
@pytest.mark.parametrize("error", [PlainError("a"), ComposedError(5)], ids=["rebuilt", "allowed"])
def test_a_class_that_is_gone_is_an_error_and_not_another_class(error: Exception) -> None:
    failure = recorded(error)

    with pytest.raises(DeserializationError, match=f"{type(error).__name__}, is not known here any more"):
        rebuilt(failure, registry=ErrorRegistry())


def test_a_class_that_does_not_take_its_arguments_any_more_is_an_error() -> None:
    failure = msgspec.structs.replace(recorded(PlainError("a")), type=f"{__name__}.KeywordError")

    with pytest.raises(DeserializationError, match="can't be made"):
        rebuilt(failure)


def test_a_class_that_can_not_be_derived_from_any_more_is_an_error() -> None:
    failure = msgspec.structs.replace(recorded(ComposedError(5)), type=f"{__name__}.PickyError")

    with pytest.raises(DeserializationError, match="can't be made"):
        rebuilt(failure)


def test_arguments_that_can_not_be_read_are_an_error() -> None:
    failure = msgspec.structs.replace(recorded(PlainError("a")), args=Payload(msgspec.Raw(b"[]")))

    with pytest.raises(DeserializationError, match="the arguments of a recorded exception"):
        rebuilt(failure)


def test_a_record_without_arguments_is_made_without() -> None:
    failure = msgspec.structs.replace(recorded(PlainError("a")), args=None)

    assert rebuilt(failure).args == ()


def test_what_the_registry_finds_must_be_an_exception() -> None:
    failure = recorded(PlainError("a"))

    with pytest.raises(DeserializationError):
        rebuild_failure(failure, values=VALUES, find=lambda name: KeyboardInterrupt)
