"""Timers of a process: alarms ring in order and at their time, and those that were cancelled are not held until theirs."""

from __future__ import annotations

import gc
from datetime import timedelta
from random import Random

from stepflow._runtime.timers import Alarm, ProcessTimers
from stepflow.testing.clock import FakeClock

HOUR = timedelta(hours=1)


def nothing() -> None:
    raise AssertionError("it was cancelled")


def alarms_in_memory() -> int:
    return sum(type(each) is Alarm for each in gc.get_objects())


def test_alarms_that_were_cancelled_do_not_pile_up_until_their_time_comes() -> None:
    clock = FakeClock()
    timers = ProcessTimers(clock)
    before = alarms_in_memory()
    timers.at(clock.now() + HOUR / 2, lambda: None)

    for _ in range(20_000):  # steps with a timeout of an hour, each of which takes no time
        timers.at(clock.now() + HOUR, nothing).cancel()

    assert alarms_in_memory() - before < 200


def test_alarms_that_are_wanted_are_kept_however_many_there_are() -> None:
    clock = FakeClock()
    timers = ProcessTimers(clock)
    random = Random(7)
    rung: list[int] = []
    expected: list[tuple[int, int]] = []

    for number in range(5_000):
        seconds = random.randrange(1, 1_000)
        alarm = timers.at(clock.now() + timedelta(seconds=seconds), lambda number=number: rung.append(number))
        if random.randrange(3):
            alarm.cancel()
        else:
            expected.append((seconds, number))
    clock.advance("1000s")

    assert rung == [number for _, number in sorted(expected)]


def test_an_alarm_rings_at_its_time_and_not_before_when_those_before_it_were_cancelled() -> None:
    clock = FakeClock()
    timers = ProcessTimers(clock)
    rung: list[str] = []
    for _ in range(100):
        timers.at(clock.now() + timedelta(seconds=1), nothing).cancel()
    timers.at(clock.now() + timedelta(seconds=2), lambda: rung.append("two"))
    for _ in range(100):
        timers.at(clock.now() + timedelta(seconds=1), nothing).cancel()

    clock.advance("1s")
    assert rung == []
    clock.advance("1s")
    assert rung == ["two"]
