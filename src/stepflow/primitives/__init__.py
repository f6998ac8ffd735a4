"""Primitives: what workflow code is written with. Each is durable in a workflow, and keeps its key from where it was called."""

from __future__ import annotations

from stepflow.primitives.children import ChildHandle
from stepflow.primitives.context import RunContext, RunLog, StepContext, current_run
from stepflow.primitives.steps import Step
from stepflow.primitives.transactions import transaction
from stepflow.primitives.values import continue_as, now, random, uuid4
from stepflow.primitives.verbs import StepOptions, step
from stepflow.primitives.waiting import (
    Event,
    EventAddress,
    event_address,
    sleep,
    sleep_until,
    wait_for_event,
)

__all__ = [
    "ChildHandle",
    "Event",
    "EventAddress",
    "RunContext",
    "RunLog",
    "Step",
    "StepContext",
    "StepOptions",
    "continue_as",
    "current_run",
    "event_address",
    "now",
    "random",
    "sleep",
    "sleep_until",
    "step",
    "transaction",
    "uuid4",
    "wait_for_event",
]
