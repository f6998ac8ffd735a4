"""Signals travel as short texts, whatever they are about."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from stepflow._runtime.lines import Line
from stepflow._runtime.signals import Origin, RunsWatched, Signal, read_signal, told, watched, write_signal
from stepflow.codecs.json import Values
from stepflow.hooks import StepRetried, StepStarted
from stepflow.model.failures import Failure
from stepflow.storage.broadcasting import LONGEST

AT = datetime(2030, 1, 1, tzinfo=UTC)
HERE = Origin("7-abc", 1, 2)
VALUES = Values()


def begun() -> StepStarted:
    return StepStarted(at=AT, run_id="r1", workflow_id="w", key="a/b:2", name="b", attempt=3)


def retried(message: str = "no", traceback: str = "") -> StepRetried:
    return StepRetried(
        at=AT,
        run_id="r1",
        workflow_id="w",
        key="k",
        name="k",
        attempt=1,
        duration=timedelta(seconds=1.5),
        error=Failure(type="ValueError", message=message, traceback=traceback),
        retry_at=AT,
    )


def there_and_back(signal: Signal, values: Values = VALUES) -> Signal | None:
    text = write_signal(signal, values)
    assert text is not None
    assert len(text.encode()) <= LONGEST
    return read_signal(text, values)


@pytest.mark.parametrize("fact", [begun(), retried(), Line("r1", AT, "info", "ü\0", {"a": [1], "b": None})])
def test_what_is_told_arrives_as_it_was(fact: StepStarted | StepRetried | Line) -> None:
    assert there_and_back(told(HERE, fact)) == told(HERE, fact)


def test_many_watched_runs_are_named_in_as_many_signals_as_they_need() -> None:
    run_ids = [f"{number:0200}" for number in range(500)]

    signals = list(watched(HERE, run_ids, seconds=60))

    assert [run_id for signal in signals for run_id in signal.run_ids] == run_ids
    assert [there_and_back(signal) for signal in signals] == signals
    assert len(list(watched(HERE, map(str, range(100)), seconds=60))) == 1


def test_an_error_that_is_too_long_is_cut_at_its_end_and_the_traceback_at_its_beginning() -> None:
    signal = there_and_back(told(HERE, retried("m" * 16_000 + "!", "t" * 60_000 + "raised here")))

    assert signal is not None
    assert not isinstance(signal, RunsWatched)
    assert isinstance(signal.fact, StepRetried)  # type: ignore[union-attr]
    error = signal.fact.error  # type: ignore[union-attr]
    assert len(error.message) >= 1_000
    assert error.traceback.endswith("raised here")


@pytest.mark.parametrize("character", ["x", '"', "🎈", "\0"])
def test_a_line_that_is_too_long_keeps_its_beginning(character: str) -> None:
    line = Line("r1", AT, "info", character * 4_000, {str(number): character * 500 for number in range(32)})

    signal = there_and_back(told(HERE, line))

    assert isinstance(signal.fact, Line)  # type: ignore[union-attr]
    assert signal.fact.message.startswith(character * 100)  # type: ignore[union-attr]


@pytest.mark.parametrize("text", ["", "x", "[]", '["json",{}]', '["json",{"what":"new"}]', '["unknown",""]'])
def test_what_another_release_says_is_not_understood_and_no_failure(text: str) -> None:
    assert read_signal(text, VALUES) is None
