"""Sleeps and events in a workflow, live and from every prefix of the journal."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import pytest

from stepflow._engine.commands import ContinueAs, WasCancelled
from stepflow.errors import (
    DurationError,
    EventTimeoutError,
    InputError,
    InvalidIdError,
    NotDurableError,
)
from stepflow.model.journal import TimerFired
from stepflow.primitives import (
    Event,
    continue_as,
    now,
    random,
    sleep,
    sleep_until,
    step,
    uuid4,
    wait_for_event,
)
from tests.fundamentals.driving import T0, World, assert_replays, drive, resume


@dataclass
class Shipment:
    tracking: str


shipped = Event("shipped/{id}", Shipment)


# ------------------------------------------------------------------ sleeping
def test_a_sleep_takes_its_time_and_no_longer() -> None:
    async def main() -> str:
        await sleep("cool-off", "3d")
        return now().isoformat()

    history = drive(main)

    assert history.value == "2026-01-04T00:00:00+00:00"
    assert history.keys == ["cool-off"]
    assert_replays(history)


def test_a_sleep_without_a_name_is_called_sleep() -> None:
    async def main() -> None:
        await sleep(1)
        await sleep("1s")
        await sleep(timedelta(seconds=1))

    history = drive(main)

    assert history.keys == ["sleep", "sleep:2", "sleep:3"]
    assert [entry.delay for entry in history.entries if isinstance(entry, TimerFired)] == [1_000_000] * 3


def test_a_sleep_counts_from_when_it_is_awaited() -> None:
    async def main() -> str:
        later = sleep("later", "1h")
        await sleep("1h")
        await later
        return now().isoformat()

    assert drive(main).value == "2026-01-01T02:00:00+00:00"


def test_sleeping_until_an_instant_in_any_zone() -> None:
    tokyo = timezone(timedelta(hours=9))

    async def main() -> str:
        await sleep_until("new-year", datetime(2027, 1, 1, tzinfo=tokyo))
        return now().isoformat()

    history = drive(main)

    assert history.value == "2026-12-31T15:00:00+00:00"
    assert_replays(history)


def test_an_instant_that_has_passed_is_over_at_once() -> None:
    async def main() -> str:
        await sleep_until(datetime(1999, 1, 1, tzinfo=UTC))
        return now().isoformat()

    history = drive(main)

    assert history.value == T0.isoformat()
    assert [entry.delay for entry in history.entries if isinstance(entry, TimerFired)] == [0]
    assert_replays(history)


@pytest.mark.parametrize("when", [datetime(2030, 1, 1), "2030-01-01", 5, timedelta(1)])  # noqa: DTZ001  # that is it
def test_what_is_no_instant_with_a_zone_is_refused(when: Any) -> None:
    async def main() -> None:
        await sleep_until("x", when)

    assert isinstance(drive(main).error, InputError)


@pytest.mark.parametrize("duration", ["3 months", "-1s", None, float("nan"), timedelta.max])
def test_what_is_no_duration_is_refused(duration: Any) -> None:
    async def main() -> None:
        await sleep("x", duration)

    assert isinstance(drive(main).error, DurationError)


def test_sleeps_side_by_side_end_when_they_are_due() -> None:
    async def main() -> list[str]:
        order: list[str] = []

        async def nap(name: str, seconds: int) -> None:
            await sleep(name, seconds)
            order.append(name)

        await asyncio.gather(nap("long", 30), nap("short", 10), nap("middle", 20))
        return order

    history = drive(main)

    assert history.value == ["short", "middle", "long"]
    assert_replays(history)


# ------------------------------------------------------------------ events
def test_an_event_is_delivered_as_the_type_that_is_asked_for() -> None:
    async def main() -> Any:
        return [await wait_for_event("a", type=Shipment), await wait_for_event("b"), now().isoformat()]

    history = drive(main, world=World(events=[(5, "a", Shipment("t1")), (3, "b", {"x": 1})]))

    assert history.value == [Shipment("t1"), {"x": 1}, "2026-01-01T00:00:05+00:00"]
    assert_replays(history)


def test_each_wait_gets_the_next_event_in_the_order_of_asking() -> None:
    async def main() -> list[int]:
        return await asyncio.gather(*(wait_for_event("n", type=int) for _ in range(3)))

    history = drive(main, world=World(events=[(1, "n", 10), (1, "n", 20), (9, "n", 30)]))

    assert history.value == [10, 20, 30]
    assert_replays(history)


def test_without_an_event_a_wait_lasts_for_ever() -> None:
    async def main() -> None:
        await wait_for_event("never")

    history = drive(main)

    assert history.outcome is None
    assert history.waiting == ["never"]


def test_a_timeout_raises_an_error_that_is_a_timeout_error() -> None:
    async def main() -> str:
        try:
            await wait_for_event("a", timeout="1h")
        except TimeoutError as error:
            assert isinstance(error, EventTimeoutError)
            return f"{error.event_id} {error.timeout:g}"
        return ""

    history = drive(main)

    assert history.value == "a 3600"
    assert_replays(history)


def test_a_default_takes_the_place_of_the_timeout() -> None:
    async def main() -> Any:
        nothing = await wait_for_event("a", timeout="1h", default=None)
        return [nothing, await wait_for_event("a", timeout="1h", default="late", type=int)]

    history = drive(main, world=World(events=[(7300, "a", 1)]))

    assert history.value == [None, "late"]
    assert_replays(history)


def test_the_timeout_counts_from_when_the_wait_is_awaited() -> None:
    async def main() -> Any:
        wait = wait_for_event("a", timeout="1h", default="late")
        await sleep("2h")
        return await wait

    assert drive(main, world=World(events=[(8000, "a", "in time")])).value == "in time"


def test_an_event_that_came_before_the_wait_is_not_lost() -> None:
    async def main() -> Any:
        await sleep("1h")
        return await wait_for_event("a", timeout=0, default="lost")

    history = drive(main, world=World(events=[(1, "a", "kept")]))

    assert history.value == "kept"


def test_a_default_without_a_timeout_is_refused() -> None:
    async def main() -> None:
        await wait_for_event("a", default=None)  # type: ignore[call-overload]

    assert isinstance(drive(main).error, InputError)


@pytest.mark.parametrize("event_id", ["", "run/x", "a//b", "../a", "a\n", None])
def test_a_malformed_event_id_is_refused(event_id: Any) -> None:
    async def main() -> None:
        await wait_for_event(event_id)

    assert isinstance(drive(main).error, InvalidIdError)


def test_a_name_takes_the_place_of_the_event_id_in_the_key() -> None:
    async def main() -> None:
        await wait_for_event("order/17", name="order", timeout=1, default=None)
        await wait_for_event("order/17", timeout=1, default=None)

    assert drive(main).keys == ["order", "order~117"]


def test_a_payload_that_does_not_fit_stops_the_run_where_it_is() -> None:
    async def main() -> None:
        await wait_for_event("a", type=int)

    assert "Undecodable" in repr(drive(main, world=World(events=[(1, "a", "text")])).outcome)


# ------------------------------------------------------------------ declared events
def test_a_declared_event_is_waited_for_by_its_fields() -> None:
    async def main() -> Any:
        return [
            await shipped.wait(id="o/1", name="first"),
            await shipped.wait(id=2, timeout="1h", default=None),
        ]

    history = drive(main, world=World(events=[(1, "shipped/o%2F1", Shipment("t"))]))

    assert history.value == [Shipment("t"), None]
    assert history.keys == ["first", "shipped~12"]
    assert_replays(history)


def test_wait_and_send_share_the_address() -> None:
    unique = UUID(int=5)

    async def main() -> Any:
        await step.send_event(shipped(id=unique), Shipment("x"))
        return await shipped.wait(id=unique)

    history = drive(main)

    assert history.value == Shipment("x")
    assert_replays(history)


def test_a_payload_that_is_not_of_the_declared_type_is_not_sent() -> None:
    async def main() -> None:
        await step.send_event(shipped(id=1), {"wrong": 1})

    history = drive(main)

    assert isinstance(history.error, InputError)
    assert history.world.sent == {}


def test_an_event_is_sent_exactly_once() -> None:
    async def main() -> None:
        await step.send_event("a", 1)
        await step.send_event("a", 2, run_id="run_other")
        await sleep("1s")

    history = drive(main)
    sent = dict(history.world.sent)

    assert [(each.event_id, bytes(each.payload.data), each.run_id) for each in sent.values()] == [
        ("a", b"1", None),
        ("a", b"2", "run_other"),
    ]
    assert_replays(history)
    assert history.world.sent == sent


@pytest.mark.parametrize(("event", "run_id"), [("run/x", None), (shipped, None), ("a", "no such id")])
def test_a_malformed_address_is_not_sent_to(event: Any, run_id: str | None) -> None:
    async def main() -> None:
        await step.send_event(event, 1, run_id=run_id)

    assert isinstance(drive(main).error, InputError)


# ------------------------------------------------------------------ values
def test_random_values_are_the_same_on_replay_and_differ_by_run() -> None:
    async def main() -> list[Any]:
        drawn = [random().random(), str(uuid4()), str(uuid4())]
        await sleep("1s")
        return [*drawn, random().random()]

    history = drive(main)

    assert_replays(history)
    assert len(set(history.value)) == 4
    assert drive(main, run_id="run_other").value != history.value


def test_continue_as_ends_with_the_next_input() -> None:
    async def main(count: int) -> None:
        await sleep("1s")
        continue_as(count + 1)

    history = drive(main, 3)

    assert isinstance(history.outcome, ContinueAs)
    assert bytes(history.outcome.input.data) == b"4"
    assert_replays(history)


def test_nothing_that_says_except_exception_stops_continue_as() -> None:
    async def main() -> None:
        try:
            continue_as()
        except Exception:  # the point of it
            return

    assert isinstance(drive(main).outcome, ContinueAs)


def test_continue_as_is_refused_in_a_task_that_the_workflow_created() -> None:
    async def inner() -> None:
        continue_as()

    async def main() -> None:
        await asyncio.create_task(inner())

    assert isinstance(drive(main).error, NotDurableError)


# ------------------------------------------------------------------ cancelling
def test_a_cancelled_run_may_clean_up_durably() -> None:
    async def main() -> None:
        try:
            await wait_for_event("never")
        finally:
            await step.run("clean-up", lambda: 1)

    history = drive(main, world=World(cancel_after=10))

    assert isinstance(history.outcome, WasCancelled)
    assert history.keys == ["clean-up"]
    assert_replays(history)


def test_a_renamed_sleep_is_a_new_one() -> None:
    async def old() -> None:
        await sleep("before", "1h")

    async def new() -> None:
        await sleep("after", "1h")

    history = drive(old)

    again = resume(history, len(history.entries), main=new)

    assert again.left_over == ("- before: a sleep, recorded but not asked for any more",)
