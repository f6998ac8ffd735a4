"""Expenses that wait until somebody decides on them, on a phone. README.md says how to start it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI

from stepflow import Event, Stepflow, step, workflow
from stepflow.http import run_token_auth
from stepflow.integrations.fastapi import StepflowApp, stepflow_router


@dataclass(slots=True)
class Expense:
    id: str
    employee: str
    purpose: str
    amount: int


@dataclass
class Decision:
    by: str
    approved: bool


decision = Event("decision/{expense_id}", Decision)


@step
async def work(answer: str) -> str:
    """Stands for a service that takes its time."""
    return await asyncio.sleep(0.2, answer)


@workflow
async def reimburse(expense: Expense) -> str:
    """Pay an employee back, once somebody has approved it."""
    await step.run("check-budget", work, "within it")
    answer = await decision.wait(expense_id=expense.id, name="decision", timeout="7d")
    if answer.approved:
        await step.run("pay", work, f"paid {expense.amount}")
    await step.run("tell-employee", work, expense.employee)
    return f"{'approved' if answer.approved else 'rejected'} by {answer.by}"


office = Stepflow("sqlite:///expenses.db", workflows=[reimburse])
api = FastAPI(title="Expenses")
api.include_router(stepflow_router(office, auth=run_token_auth()), prefix="/stepflow")


@dataclass(slots=True)
class Waiting:
    run: str
    expense: Any
    token: str


@api.post("/expenses")
async def submit(expense: Expense, app: StepflowApp) -> str:
    return (await app.trigger(reimburse, expense, id=f"expense-{expense.id}")).id


# Who may see and decide on which expenses is the application's own matter: ask for its own sign-in here.
@api.get("/approvals")
async def approvals(app: StepflowApp) -> Sequence[Waiting]:
    """What waits for a decision, each with the right to watch that run and to send it that event."""
    page = await app.list_runs(workflow=reimburse, status="suspended")
    return [Waiting(run.id, run.input, await token(run.id, app)) for run in page.items if run.waits]


@api.post("/approvals/{run_id}/token")
async def token(run_id: str, app: StepflowApp) -> str:
    expense_id = run_id.removeprefix("expense-")
    return await app.create_run_token(run_id, notify=[decision(expense_id=expense_id)])
