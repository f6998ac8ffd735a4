"""What users write, and the types that mypy and pyright have to see in it: both accept every line, in strict mode."""

from __future__ import annotations

import asyncio
import functools
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypedDict, assert_type

from stepflow import (
    ChildHandle,
    Event,
    Retry,
    Run,
    RunHandle,
    Stepflow,
    SyncRunHandle,
    Workflow,
    current_run,
    sleep,
    sleep_until,
    step,
    wait_for_event,
    workflow,
)
from stepflow.client import AsyncRemoteRun, AsyncStepflowClient, RemoteRun, StepflowClient, StreamEvent
from stepflow.primitives import EventAddress
from stepflow.testing import (
    AsyncHarness,
    Comparison,
    Crash,
    CrashReport,
    Fake,
    Harness,
    HarnessRun,
    History,
    StepCall,
    Verdict,
    check_histories,
    crash_everywhere,
    explore_crashes,
    read_histories,
)
from stepflow.testing.pytest_plugin import OpenHarness


@dataclass
class Order:
    id: str
    total: int


@dataclass
class Payment:
    ref: str


@dataclass
class Receipt:
    payment: Payment


class Shipment(TypedDict):
    tracking: str


@step(retry=Retry(attempts=5, delay="500ms"), timeout="30s")
async def charge(order: Order, /, *, currency: str = "EUR") -> Payment:
    return Payment(current_run().step.idempotency_key)


@step
def score_sync(order: Order, weight: float = 1.0) -> float:
    return weight


@step
async def label(order: Order) -> str:
    return "x"


@step(name="other")
def renamed(order: Order) -> int:
    return 1


def plain_sync(order: Order, *, name: str) -> int:
    return 1


async def plain_async(order: Order) -> bool:
    return True


@step(key=lambda order: order.id)
async def keyed(order: Order) -> str:
    return order.id


shipped_event = Event("shipped/{id}", Shipment)


class Adder:
    def __init__(self, by: int) -> None: ...
    async def __call__(self, x: int) -> int:
        return x


class SyncAdder:
    def __call__(self, x: int) -> int:
        return x


class Service:
    @step
    async def ship(self, order: Order) -> str:
        return order.id

    @step(retry=2)
    def pack(self, order: Order) -> bytes:
        return b""


@workflow(id="survey")
async def survey(customer: str) -> int:
    return 1


@workflow
async def nightly() -> list[str]:
    return []


@workflow
async def daily(day: str = "today") -> str:
    return day


@workflow
async def typed_dict_in(s: Shipment) -> str:
    return ""


@workflow
async def floaty(x: float) -> str:
    return ""


@workflow
async def listy(x: list[Order]) -> str:
    return ""


@workflow
async def nothing(x: int) -> None:
    return None


@workflow(id="checkout")
async def checkout(order: Order) -> Receipt:
    payment = await charge(order)
    assert_type(payment, Payment)
    assert_type(await score_sync(order, weight=2.0), float)
    assert_type(await step.run("fraud", plain_sync, order, name="n"), int)
    assert_type(await step.run("fraud", plain_async, order), bool)
    assert_type(await step(retry=3, timeout="3s").run("fraud", plain_async, order), bool)
    assert_type(await step.run("lam", lambda: plain_async(order)), bool)
    assert_type(await step.run("lam", lambda: order.total + 1), int)
    assert_type(await step.run("part", functools.partial(plain_async, order)), bool)
    assert_type(await step.run("obj", Adder(2), 3), int)
    assert_type(await step.run("obj", SyncAdder(), 3), int)
    assert_type(await step.run("step", charge, order, currency="USD"), Payment)
    async with asyncio.TaskGroup() as group:
        a = group.create_task(label(order))
        b = group.create_task(score_sync(order))
        c = group.create_task(step.run("x", plain_async, order))
        d = group.create_task(wait_for_event("x", type=Order))
        e = group.create_task(sleep("1s"))
        f = group.create_task(step.invoke(survey, "c"))
    assert_type(a, asyncio.Task[str])
    assert_type(b, asyncio.Task[float])
    assert_type(c, asyncio.Task[bool])
    assert_type(d.result(), Order)
    assert_type(e, asyncio.Task[None])
    assert_type(f.result(), int)
    g = await asyncio.gather(label(order), score_sync(order), nightly())
    assert_type(g, tuple[str, float, list[str]])
    done, _pending = await asyncio.wait(
        {asyncio.create_task(label(order))}, return_when=asyncio.FIRST_COMPLETED
    )
    assert_type(done, set[asyncio.Task[str]])
    assert_type(await asyncio.wait_for(label(order), 3), str)
    async with asyncio.timeout(3):
        await label(order)
    shipped = await wait_for_event(f"shipped/{order.id}", timeout="7d", type=Shipment)
    assert_type(shipped, Shipment)
    assert_type(await wait_for_event("a", timeout="7d", type=Order, default=None), Order | None)
    assert_type(await wait_for_event("a"), Any)
    assert_type(await wait_for_event("a", type=bool, default="x", timeout=1), bool | str)
    u = await wait_for_event("a", type=int | str)
    assert_type(u, int | str)
    li = await wait_for_event("a", type=list[int])
    assert_type(li, list[int])
    assert_type(await step.invoke(survey, "c"), int)
    assert_type(await step.invoke(nightly), list[str])
    assert_type(await step.invoke("survey", {"a": 1}), Any)
    assert_type(await step.invoke("survey", {"a": 1}, type=Receipt), Receipt)
    assert_type(await step.invoke(nothing, 1), None)
    h = await step.start(survey, "c")
    assert_type(h, ChildHandle[int])
    assert_type(await step.map("m", plain_async, [order]), list[bool])
    assert_type(await step.map("m", label, [order], concurrency=4), list[str])
    assert_type(await step.map("m", len, ["a"]), list[int])
    assert_type(await step.map("m", lambda o: o.total, [order]), list[int])
    # mypy sees two overloads fit while it does not know `o` yet, and settles for Any.
    assert_type(await step.map("m", lambda o: plain_async(o), [order]), list[bool])  # type: ignore[assert-type]
    assert_type(await step.map("m", plain_async, [order], return_exceptions=True), list[bool | Exception])
    assert_type(await step.map("m", functools.partial(plain_sync, name="x"), [order]), list[int])
    assert_type(await step.parallel("p", lambda: label(order), lambda: order.total), tuple[Any, ...])
    assert_type(
        await step.parallel("p", lambda: score_sync(order), lambda: charge(order)), tuple[float, Payment]
    )
    s = Service()
    assert_type(await s.ship(order), str)
    assert_type(await s.pack(order), bytes)
    assert_type(await Service.ship(s, order), str)
    await step.send_event("x", payment)
    assert_type(await keyed(order), str)
    assert_type(await step.map("m", label, [order], key=lambda o: o.id), list[str])
    assert_type(await step(key="k").run("x", label, order), str)
    assert_type(shipped_event(id=order.id), EventAddress[Shipment])
    assert_type(await shipped_event.wait(id=order.id), Shipment)
    assert_type(await shipped_event.wait(id=order.id, timeout="7d", default=None), Shipment | None)
    assert_type(await Event("any").wait(), Any)
    await step.send_event(shipped_event(id="x"), shipped)
    await sleep("cool-off", "3d")
    await sleep_until(datetime(2030, 1, 1, tzinfo=UTC))
    await sleep_until("new-year", datetime(2030, 1, 1, tzinfo=UTC))
    return Receipt(payment=payment)


async def main(order: Order) -> None:
    app = Stepflow("postgresql://localhost/shop", workflows=[checkout, survey, nightly])
    async with app:
        run = await app.trigger(checkout, order)
        assert_type(run, RunHandle[Receipt])
        assert_type(await run.result(), Receipt)
        assert_type(await (await app.trigger(checkout, order)).result(timeout="3s"), Receipt)
        assert_type(await app.trigger(nightly), RunHandle[list[str]])
        assert_type(await app.trigger(nightly, id="x"), RunHandle[list[str]])
        assert_type(await app.trigger(daily), RunHandle[str])
        assert_type(await app.trigger(daily, "monday"), RunHandle[str])
        assert_type(await app.trigger("checkout", {"id": 1}), RunHandle[Any])
        # mypy takes the literal for a dict[str, str] here; a Shipment(tracking="x") suits both.
        await app.trigger(typed_dict_in, {"tracking": "x"})  # type: ignore[misc]
        await app.trigger(typed_dict_in, Shipment(tracking="x"))
        await app.trigger(floaty, 3)
        await app.trigger(listy, list[Order]())
        await app.trigger(listy, [order])
        r = app.sync.trigger(checkout, order)
        assert_type(r, SyncRunHandle[Receipt])
        assert_type(r.result(), Receipt)
        app.sync.notify("x", 3, id="a")
        assert_type(app.sync.notify("x"), int)
        assert_type(app.sync.get_run("x"), Run)
        assert_type(app.sync.create_run_token("x", expires="1h", notify=["approval/1"]), str)
        assert_type(await app.create_run_token("x"), str)
        assert_type(await app.handle("x", checkout).result(), Receipt)
        assert_type(await nightly(), list[str])
        assert_type(await checkout(order), Receipt)
        assert_type(await daily(), str)
        assert_type(await daily("x"), str)
        assert_type(checkout, Workflow[Order, Receipt])
        assert_type(nightly, Workflow[None, list[str]])


async def remote(order: Order, client: AsyncStepflowClient, blocking: StepflowClient) -> None:
    assert_type(await client.trigger(checkout, order), AsyncRemoteRun[Receipt])
    assert_type(await (await client.trigger(checkout, order, id="x")).result(timeout="3s"), Receipt)
    assert_type(await client.trigger(nightly), AsyncRemoteRun[list[str]])
    assert_type(await client.trigger(daily), AsyncRemoteRun[str])
    assert_type(await client.trigger(daily, "monday"), AsyncRemoteRun[str])
    assert_type(await client.trigger("checkout", {"id": 1}), AsyncRemoteRun[Any])
    assert_type(await client.handle("x", checkout).result(), Receipt)
    assert_type(await client.notify("x", 3), int)
    assert_type([event async for event in client.stream("x", after="0")], list[StreamEvent])
    assert_type(blocking.trigger(checkout, order), RemoteRun[Receipt])
    assert_type(blocking.trigger(checkout, order).result(), Receipt)
    assert_type(blocking.trigger(nightly), RemoteRun[list[str]])
    assert_type(blocking.handle("x", nightly).result(), list[str])
    assert_type(blocking.notify("x"), int)
    assert_type(blocking.wait("x", timeout=3).status, str)
    assert_type(list(blocking.subscribe("x", "y")), list[StreamEvent])


def harnessed(order: Order) -> None:
    with Harness(checkout, nightly, daily, replay=False) as harness:
        assert_type(harness.run(checkout, order), Receipt)
        assert_type(harness.run(nightly), list[str])
        assert_type(harness.run(daily, "monday"), str)
        run = harness.start(checkout, order, id="x")
        assert_type(run, HarnessRun[Receipt])
        assert_type(harness.result(run, limit="3d"), Receipt)
        assert_type(run.output, Receipt)
        assert_type(harness.notify(shipped_event(id="x"), Shipment(tracking="x")), int)
        assert_type(harness.advance("3d"), None)
        assert_type(harness.get("x", nightly), HarnessRun[list[str]])
        assert_type(harness.fake("charge", returns=3), Fake)
        assert_type(harness.calls(charge), list[StepCall])


async def harnessed_here(order: Order) -> None:
    async with AsyncHarness(checkout) as harness:
        assert_type(await harness.run(checkout, order), Receipt)
        assert_type(await harness.run(daily), str)
        assert_type(await harness.start(nightly), HarnessRun[list[str]])
        assert_type(await harness.result(await harness.start(checkout, order)), Receipt)


def with_the_fixture(stepflow_harness: OpenHarness, order: Order) -> None:
    assert_type(stepflow_harness(checkout).run(checkout, order), Receipt)


@crash_everywhere(checkout, repeatable={"charge"}, replay=False)
def scenario(harness: Harness, order: Order) -> Receipt:
    return harness.run(checkout, order)


def crashed(order: Order) -> None:
    assert_type(scenario(order), None)
    report = explore_crashes(lambda harness: harness.run(checkout, order), checkout)
    assert_type(report, CrashReport)
    assert_type(report.failures, tuple[Crash, ...])


def checked(app: Stepflow) -> None:
    histories = read_histories(Path("histories"))
    assert_type(histories, list[History])
    assert_type(check_histories(app, histories), list[Comparison])
    assert_type(check_histories(app, Path("histories"))[0].verdict, Verdict)
