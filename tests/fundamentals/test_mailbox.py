"""The mailbox: which wait the next event belongs to, and from which position on events are wanted."""

from __future__ import annotations

from typing import Any

from stepflow._engine.commands import AwaitChild, WaitForEvent
from stepflow._engine.mailbox import Mailbox


def wait(key: str, event_id: str = "paid", after: int = 0) -> WaitForEvent:
    return WaitForEvent(key=key, name=key, event_id=event_id, after=after, timeout=None, deadline=None)


def mailbox(*waits: Any, created_pos: int = 10) -> Mailbox:
    box = Mailbox(created_pos)
    for each in waits:
        box.add(each)
    box.changed.clear()
    return box


def test_the_first_who_asked_is_served_first() -> None:
    first, second = wait("first"), wait("second")
    box = mailbox(first, second)

    assert box.taker("paid", 11) is first
    box.remove(first)
    assert box.taker("paid", 11) is second
    box.remove(second)
    assert box.taker("paid", 11) is None


def test_events_from_before_the_run_concern_nobody() -> None:
    box = mailbox(wait("x"))

    assert box.taker("paid", 10) is None
    assert box.created_pos == 10
    assert box.after("paid") == 10


def test_a_run_learns_its_place_when_it_is_durable() -> None:
    box = mailbox(wait("x"), created_pos=0)

    box.created_at(20)

    assert box.taker("paid", 20) is None
    assert box.after("paid") == 20


def test_a_received_event_and_all_before_it_are_past() -> None:
    box = mailbox(wait("x"))

    box.received("paid", 15)
    box.received("paid", 12)

    assert [box.taker("paid", pos) is None for pos in (12, 15, 16)] == [True, True, False]
    assert box.after("paid") == 15
    assert box.changed == {"paid"}


def test_a_wait_with_a_bound_of_its_own_lets_earlier_events_pass_to_others() -> None:
    bounded, open_one = wait("bounded", after=20), wait("open")
    box = mailbox(bounded, open_one)

    assert box.taker("paid", 15) is open_one
    assert box.taker("paid", 25) is bounded
    assert box.after("paid") == 10
    box.remove(open_one)
    assert box.taker("paid", 15) is None
    assert box.after("paid") == 20


def test_nobody_wants_events_that_nobody_waits_for() -> None:
    box = mailbox(wait("x"))

    assert box.after("other") is None
    assert box.taker("other", 11) is None
    assert list(box.waits()) == ["paid"]


def test_removing_twice_is_harmless() -> None:
    gone, stays = wait("gone"), wait("stays")
    box = mailbox(gone, stays)

    box.remove(gone)
    box.changed.clear()
    box.remove(gone)
    box.remove(wait("never", "other"))

    assert box.changed == set()
    assert box.waits() == {"paid": [stays]}


def test_the_end_of_a_child_is_an_event_of_its_own() -> None:
    awaits = AwaitChild(key="bill~end", name="bill", child_id="run_1", workflow_id="bill", start_key="bill")
    box = mailbox(awaits)

    assert box.taker("run/run_1", 11) is awaits
    assert box.awaiting("run_1") == [awaits]
    assert box.awaiting("run_2") == []
