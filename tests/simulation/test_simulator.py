"""The simulator itself: what is dead stays dead, what is frozen sends late, and failures are made smaller."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from stepflow import Stepflow
from stepflow.errors import StorageUnavailableError
from stepflow.model.events import NewEvent
from stepflow.model.payloads import NULL
from stepflow.model.states import PauseReason, RunStatus
from stepflow.storage.writes import Action, Committed, ControlRun, Pause, SendEvent, Suspend
from stepflow.testing.storage_contract.building import LONG, T0, a_worker, commit, create, running
from tests.fundamentals.programs import Sequence, Step
from tests.simulation import shrinking
from tests.simulation.dials import Dials, active
from tests.simulation.meddling import Meddler
from tests.simulation.mutants.journal import wake_nobody
from tests.simulation.observer import Observer
from tests.simulation.processes import Process
from tests.simulation.proxy import at_once
from tests.simulation.requests import HEARD_WITHIN, Requests
from tests.simulation.shrinking import shrink, simpler
from tests.simulation.simulate import simulate
from tests.simulation.stores import Store, make
from tests.simulation.virtual import MICROSECONDS
from tests.simulation.workflows import pack
from tests.simulation.world import World


def small_world(**dials: float) -> tuple[World, Store, Process]:
    world = World(1, Dials(**dials))
    store = make("memory", lambda hints: None)
    world.observer = Observer(world, store)
    world.meddler = Meddler(world, store)
    process = Process(world, "one", lambda: store.inner, timedelta(0))
    world.processes.append(process)
    return world, store, process


def events(store: Store) -> int:
    return int(at_once(store.inner.info(now=World(0, Dials()).instant())).events)


async def send(process: Process, told: list[Any]) -> None:
    try:
        event = NewEvent(event_id="e", payload=NULL, dedup_id="1")
        told.append(await process.proxy.write([SendEvent(event=event)], now=process.clock.now()))
    except StorageUnavailableError as error:
        told.append(error)
    finally:
        told.append("left")


async def claim_in_vain(process: Process) -> None:
    with pytest.raises(StorageUnavailableError):
        await process.proxy.claim_runs("w1", queues={"default": 1}, known={}, limit=1, now=T0)


def test_a_killed_process_does_nothing_any_more_not_even_in_its_finally_blocks() -> None:
    world, store, process = small_world()
    told: list[Any] = []
    process.spawn(send(process, told))
    process.kill("by a test")

    world.run(10)

    assert events(store) == 0
    assert told == []
    process.bury()


def test_a_frozen_process_sends_its_request_when_it_goes_on() -> None:
    world, store, process = small_world()
    told: list[Any] = []
    process.spawn(send(process, told))
    process.freeze(5, "by a test")

    world.run(4.9)
    assert events(store) == 0
    world.run(1)

    assert events(store) == 1
    assert told[-1] == "left"


def test_a_process_that_thaws_before_its_time_sends_its_request_then() -> None:
    world, store, process = small_world()
    told: list[Any] = []
    process.freeze(500, "by a test")
    process.proxy.write(
        [SendEvent(event=NewEvent(event_id="e", payload=NULL, dedup_id="0"))], now=process.clock.now()
    )
    process.spawn(send(process, told))
    world.run(100)
    assert events(store) == 0

    process.thaw_now()
    world.run(1)

    assert events(store) == 2
    assert told[-1] == "left"


def test_a_lost_answer_belongs_to_something_that_was_done() -> None:
    world, store, process = small_world(lost_answers=1.0)
    told: list[Any] = []
    process.spawn(send(process, told))

    world.run(1)

    assert events(store) == 1
    assert isinstance(told[0], StorageUnavailableError)


def test_a_lost_request_was_never_done() -> None:
    world, store, process = small_world(lost_requests=1.0)
    told: list[Any] = []
    process.spawn(send(process, told))

    world.run(1)

    assert events(store) == 0
    assert isinstance(told[0], StorageUnavailableError)


def test_an_outsider_is_quicker_than_a_commit_that_moves_a_run() -> None:
    world, store, process = small_world(meddling=1.0)
    at_once(store.inner.register_worker(a_worker("w1", lease_until=T0 + LONG)))
    at_once(running(store.inner, "r1", "w1"))
    answer = process.proxy.write([commit("r1", 2, transition=Suspend())], now=T0)

    world.run(1)

    record = at_once(store.inner.get_run("r1"))
    assert world.faults["meddling"] >= 1
    assert answer.result() == [Committed(events_ready=False, woken=())]
    assert record.status is RunStatus.QUEUED, "what was asked before is not slept over"


@pytest.mark.parametrize("asked", [(), (Action.PAUSE, Action.RESUME)], ids=["never", "and taken back"])
def test_a_pause_that_nobody_wants_is_noticed(asked: tuple[Action, ...]) -> None:
    world, store, _ = small_world()
    at_once(store.inner.register_worker(a_worker("w1", lease_until=T0 + LONG)))
    at_once(running(store.inner, "r1", "w1"))
    at_once(store.inner.write([ControlRun(run_id="r1", action=Action.PAUSE)], now=T0))
    at_once(store.inner.write([commit("r1", 2, transition=Pause(reason=PauseReason.REQUESTED))], now=T0))
    for action in asked:
        world.observer.requests.done("r1", action)

    world.observer.look("r1")

    assert world.observer.wrong == ["0.000000 s: r1: it is paused, and the pause was taken back"]


def test_a_run_that_is_gone_is_noticed_unless_somebody_deleted_it() -> None:
    world, store, _ = small_world()
    for run_id in ("deleted", "lost"):
        at_once(store.inner.write([create(run_id)], now=T0))
        world.observer.look(run_id)
    world.observer.requests.done("deleted", Action.DELETE)
    for run_id in ("deleted", "lost"):
        for action in (Action.FORCE_CANCEL, Action.DELETE):
            at_once(store.inner.write([ControlRun(run_id=run_id, action=action)], now=T0))
        world.observer.look(run_id)

    assert world.observer.wrong == ["0.000000 s: lost: it is not there any more, and nobody deleted it"]


def test_a_healthy_owner_that_does_not_hear_of_a_cancel_is_noticed() -> None:
    world, store, process = small_world()
    requests = Requests(world)
    at_once(store.inner.register_worker(a_worker("w1", lease_until=T0 + LONG)))
    at_once(running(store.inner, "r1", "w1"))
    at_once(store.inner.write([ControlRun(run_id="r1", action=Action.CANCEL)], now=T0))
    record = at_once(store.inner.get_run("r1"))
    process.ready = True
    process.troubled_at = -HEARD_WITHIN - 1
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Process, "worker_id", "w1")
        assert requests.look(record) is None
        world.run(HEARD_WITHIN / MICROSECONDS)
        assert requests.look(record) is None
        world.run(1)
        assert requests.look(record) == "its cancel was not heard by w1 for 4.5 s"


def test_an_owner_that_was_not_told_of_its_claim_is_not_blamed_for_a_cancel() -> None:
    world, store, process = small_world(lost_answers=1.0)
    requests = world.observer.requests
    at_once(store.inner.register_worker(a_worker("w1", lease_until=T0 + LONG)))
    at_once(store.inner.write([create("r1")], now=T0))
    process.spawn(claim_in_vain(process))
    world.run(1)
    at_once(store.inner.write([ControlRun(run_id="r1", action=Action.CANCEL)], now=T0))
    process.ready = True
    process.troubled_at = -HEARD_WITHIN - 1
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Process, "worker_id", "w1")
        for _ in range(3):
            assert requests.look(at_once(store.inner.get_run("r1"))) is None
            world.run(10)
        at_once(store.inner.write([commit("r1", 2)], now=T0))
        assert requests.look(at_once(store.inner.get_run("r1"))) is None
        world.run(10)

        assert requests.look(at_once(store.inner.get_run("r1"))) is not None, "it has found out by now"


def test_a_worker_is_known_by_its_name_until_it_has_stopped() -> None:
    world, _, process = small_world(latency=1)
    app = Stepflow(process.proxy, workflows=[pack], clock=process.clock, retention=None, event_retention=None)
    process.begin(app, worker=True)
    world.run(5, lambda: process.ready)
    assert process.worker_id == "one.1"

    process.spawn(process.close())
    world.run(0.01)

    assert (process.worker_id, process.closed) == ("one.1", False), "its last bodies may run now"
    world.run(5, lambda: process.closed)
    assert (process.worker_id, process.closed) == (None, True)
    process.bury()


def test_time_passes_only_where_somebody_waits() -> None:
    world, _, process = small_world()
    seen: list[float] = []

    async def wait() -> None:
        for _ in range(3):
            await asyncio.sleep(1_000)
            seen.append(asyncio.get_running_loop().time())

    process.spawn(wait())
    world.run(10_000)

    assert seen == [1_000, 2_000, 3_000]


def test_a_failover_forgets_the_last_writes_and_no_others() -> None:
    store = make("redis-model", lambda hints: None)
    now = World(0, Dials()).instant()
    for number in range(100):
        event = NewEvent(event_id="e", payload=NULL, dedup_id=str(number))
        at_once(store.inner.write([SendEvent(event=event)], now=now))
    world = World(1, Dials())

    forgotten = store.fail_over(world.random)

    assert 1 <= forgotten <= 40
    assert events(store) == 100 - forgotten


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_failure_is_made_smaller_without_becoming_another(monkeypatch: pytest.MonkeyPatch) -> None:
    wake_nobody(monkeypatch)
    monkeypatch.setattr(shrinking, "TRIES", 20)
    seed = next(seed for seed in range(1, 50) if simulate(seed).failed)
    before = simulate(seed)

    smaller = shrink(seed, "memory")

    assert smaller.result.failed
    assert len(active(smaller.dials)) <= 3, "it fails without most of them"
    assert smaller.result.calls <= before.calls


def test_a_program_is_made_simpler_part_by_part() -> None:
    program = Sequence((Step("charge"), Sequence((Step("ship"), Step("mail")))))

    assert Step("charge") in list(simpler(program))
    assert Sequence((Step("charge"), Step("ship"))) in list(simpler(program))
