"""The API of a workflow whose steps end when the test says so; it is executed elsewhere."""

from __future__ import annotations

import os
from pathlib import Path

from stepflow.app import Stepflow
from stepflow.http import allow_all, asgi_app
from stepflow.primitives import current_run, step, wait_for_event
from stepflow.retry import Retry
from stepflow.workflows import workflow

GO = "go"


@step(retry=Retry(attempts=2, delay="0s"))
def hold(pipe: str) -> str:
    """Fails once, then ends when somebody writes into the pipe."""
    current_run().log.warning("waiting", stage="hold")
    if current_run().step.attempt == 1:
        raise ValueError("not at first")
    return Path(pipe).read_text(encoding="utf-8")


@workflow
async def held(pipe: str) -> str:
    await wait_for_event(GO)
    return await hold(pipe)


app = Stepflow(os.environ.get("STEPFLOW_CONTRACT_STORAGE", "memory://"), workflows=[held])
application = asgi_app(app, auth=allow_all(), worker=False)
