"""Clients of a Stepflow app that is served over HTTP (extra ``client``): the app's own methods, types and errors, from another program."""

from __future__ import annotations

from stepflow.client.async_client import AsyncStepflowClient
from stepflow.client.exchange import ClientOptions
from stepflow.client.runs import AsyncRemoteRun, RemoteRun
from stepflow.client.streams import AsyncEventStream, EventStream
from stepflow.client.sync_client import StepflowClient
from stepflow.wire.records import (
    Health,
    Run,
    RunFailure,
    RunItem,
    RunPage,
    RunState,
    RunToken,
    Step,
    StepPage,
    Wait,
    WorkflowInfo,
)
from stepflow.wire.streams import (
    ExecutionCancelled,
    ExecutionComplete,
    ExecutionFailed,
    Log,
    RunCancelling,
    RunContinued,
    RunPaused,
    RunResumed,
    RunRetrying,
    RunSnapshot,
    RunSuspended,
    StepComplete,
    StepFailed,
    StepRetry,
    StepStart,
    StreamEvent,
)

__all__ = [
    "AsyncEventStream",
    "AsyncRemoteRun",
    "AsyncStepflowClient",
    "ClientOptions",
    "EventStream",
    "ExecutionCancelled",
    "ExecutionComplete",
    "ExecutionFailed",
    "Health",
    "Log",
    "RemoteRun",
    "Run",
    "RunCancelling",
    "RunContinued",
    "RunFailure",
    "RunItem",
    "RunPage",
    "RunPaused",
    "RunResumed",
    "RunRetrying",
    "RunSnapshot",
    "RunState",
    "RunSuspended",
    "RunToken",
    "Step",
    "StepComplete",
    "StepFailed",
    "StepPage",
    "StepRetry",
    "StepStart",
    "StepflowClient",
    "StreamEvent",
    "Wait",
    "WorkflowInfo",
]
