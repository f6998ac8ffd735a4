"""What users must not write: mypy and pyright have to reject every line with a mark, and no other one."""
# mypy: ignore-errors
# The line above is for `make check`. tests/typing/test_typing.py takes it away, and checks this file beside good.py.

from __future__ import annotations

from collections.abc import AsyncIterator

from good import Order, Service, charge, checkout, daily, label, nightly, shipped_event, survey, typed_dict_in

from stepflow import Stepflow, sleep, sleep_until, step, wait_for_event, workflow
from stepflow.testing import Harness


async def bad(app: Stepflow, order: Order) -> None:
    await charge("x")  # E
    await charge(order, currency=3)  # E
    await step.run("a", label, 3)  # E
    await step.run("a", label)  # E
    await step.run("a", label, order, extra=1)  # E
    await app.trigger(checkout, 42)  # E
    await app.trigger(checkout)  # E
    await app.trigger(nightly, 42)  # E
    await app.trigger(typed_dict_in, {"wrong": "x"})  # E
    await app.trigger(daily, 3)  # E
    app.sync.trigger(checkout, 42)  # E
    app.sync.notify(3)  # E
    await step.invoke(survey, 3)  # E
    await step.invoke(survey)  # E
    await step.map("m", label, [1, 2])  # E
    await step.map("m", label, order)  # E
    await Service().ship(3)  # E
    await step(name="x").run("y", label, order)  # E
    order.total = await wait_for_event("x", type=str)  # E
    await wait_for_event("x", type=str, default=None)  # E
    await sleep("a", order)  # E
    await sleep_until("2030-01-01")  # E
    await shipped_event.wait(id=order)  # E
    await step.map("m", label, [order], key=len)  # E
    await checkout()  # E
    await nightly(3)  # E


def harnessed(harness: Harness, order: Order) -> None:
    harness.run(checkout, 42)  # E
    harness.start(nightly, 42)  # E
    harness.run(checkout)  # E
    harness.advance(order)  # E


@workflow  # E
async def two(a: int, b: int) -> int:
    return 1


@workflow  # E
def notasync(a: int) -> int:
    return 1


@workflow  # E
async def gen(a: int) -> AsyncIterator[int]:
    yield 1


@workflow(id="k")  # E
async def two2(a: int, b: int) -> int:
    return 1


@workflow  # E
async def kw(*, a: int) -> int:
    return 1
