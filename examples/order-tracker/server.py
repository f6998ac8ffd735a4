"""An order that a page starts, follows live, and waits with until a person approves it. README.md says how to start it."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles

from stepflow import Event, Stepflow, step, workflow
from stepflow.http import any_of, public_key_auth, run_token_auth
from stepflow.integrations.fastapi import StepflowApp, stepflow_router


@dataclass(slots=True)
class Order:
    id: str
    items: list[str]
    shipping: Literal["standard", "express"] = "standard"


@dataclass
class Approval:
    by: str
    granted: bool


@dataclass
class Receipt:
    order: Order
    total: int
    outcome: str
    tracking: str | None = None


approval = Event("approval/{order_id}", Approval)


@step
async def work(answer: str) -> str:
    """Stands for a service that takes its time."""
    return await asyncio.sleep(0.2, answer)


@workflow
async def checkout(order: Order) -> Receipt:
    """Sell an order, once somebody has approved it."""
    await step.run("reserve-stock", work, f"{len(order.items)} items")
    total = 5 * len(order.items)
    await step.run("check-fraud", work, "fine")
    answer = await approval.wait(order_id=order.id, name="approval", timeout="3d")
    if not answer.granted:
        await step.run("release-stock", work, "released")
        return Receipt(order, total, f"refused by {answer.by}")
    await step.run("charge", work, f"paid {total}")
    tracking = await step.run("ship", work, f"{order.shipping}-{order.id}")
    await step.run("send-receipt", work, "sent")
    return Receipt(order, total, f"approved by {answer.by}", tracking)


shop = Stepflow("sqlite:///orders.db", workflows=[checkout])
page = public_key_auth(os.environ["STEPFLOW_PUBLIC_KEY"], workflows=[checkout.id])
api = FastAPI(title="Orders")
api.include_router(stepflow_router(shop, auth=any_of(page, run_token_auth())), prefix="/stepflow")


@api.post("/orders/{order_id}/approval")
async def approve(order_id: str, answer: Approval, app: StepflowApp) -> None:
    await app.notify(approval(order_id=order_id), answer)  # who may do this is the application's own matter


if (web := Path(__file__).with_name("web") / "dist").is_dir():
    api.mount("/", StaticFiles(directory=web, html=True))
