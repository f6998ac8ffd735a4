"""The program that every adapter serves in the contract: workflows that do one thing each, and options with narrow limits.

Its storage is what ``STEPFLOW_CONTRACT_STORAGE`` says, so that servers and workers meet in one.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from stepflow.app import Stepflow
from stepflow.auth.combining import any_of
from stepflow.auth.keys import api_key_auth, public_key_auth
from stepflow.auth.tokens import run_token_auth
from stepflow.http.options import ApiOptions
from stepflow.primitives import step, wait_for_event
from stepflow.workflows import workflow

SECRET = "sf_contract_secret_0123456789"  # noqa: S105 - of the tests
PUBLIC = "sf_pub_contract_0123456789"
ORIGIN = "https://app.example.com"
MAX_BODY = 64 * 1024
MAX_STREAMS = 6
HEARTBEAT = 0.3


@dataclass
class Order:
    id: str
    lines: list[int]


@step
async def note(value: Any) -> Any:
    return value


@workflow
async def echo(value: Any = None) -> Any:
    """Give back what it was given."""
    return value


@workflow
async def order(placed: Order) -> int:
    """Add the lines up."""
    total: int = await note(sum(placed.lines))
    return total


@workflow
async def talk(count: int) -> int:
    """As many steps, one after the other."""
    for number in range(count):
        await note(number)
    return count


@workflow
async def wait(event_id: str) -> Any:
    """Wait for one event, and give back its payload."""
    return await wait_for_event(event_id)


@workflow
async def two_waits(event_id: str) -> Any:
    """A step, an event, a step, another event, a step."""
    await note("first")
    await wait_for_event(f"{event_id}/1")
    await note("second")
    await wait_for_event(f"{event_id}/2")
    return await note("third")


@workflow
async def fail(message: str) -> None:
    raise ValueError(message)


@workflow
async def large(size: int) -> str:
    return "x" * size


def make_app() -> Stepflow:
    """The app; a worker of its own only if ``STEPFLOW_WORKER`` says so."""
    return Stepflow(
        os.environ.get("STEPFLOW_CONTRACT_STORAGE", "memory://"),
        workflows=[echo, order, talk, wait, two_waits, fail, large],
    )


def options() -> ApiOptions:
    """What an adapter is made with."""
    return ApiOptions(
        auth=any_of(
            api_key_auth(SECRET),
            public_key_auth(PUBLIC, workflows=["echo"]),
            run_token_auth(),
        ),
        cors=[ORIGIN],
        max_body=MAX_BODY,
        max_streams=MAX_STREAMS,
        heartbeat=HEARTBEAT,
    )


app = make_app()
