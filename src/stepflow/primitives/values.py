"""Values that differ each time they are asked for, made so that a replay gets the same; and going on with new ones."""

from __future__ import annotations

import random as random_module
import uuid
from datetime import datetime
from typing import Any, NoReturn

from stepflow._engine.current import current_execution, require_execution
from stepflow._engine.execution import ContinueSignal
from stepflow.clock import SystemClock
from stepflow.errors import NotDurableError

_clock = SystemClock()
_random = random_module.Random()


def now() -> datetime:
    """The present instant, in UTC. In a workflow it is that of the last thing that happened to the run, the same on replay."""
    execution = current_execution()
    return _clock.now() if execution is None else execution.now


def random() -> random_module.Random:
    """A source of random numbers. In a workflow it is the run's own, and gives the same ones on replay; not for secrets."""
    execution = current_execution()
    return _random if execution is None else execution.random()


def uuid4() -> uuid.UUID:
    """A random UUID; in a workflow the same one on replay."""
    execution = current_execution()
    return uuid.uuid4() if execution is None else execution.uuid4()


def continue_as(input: Any = None, /) -> NoReturn:
    """End this run's journal here, and begin the workflow again from the top, with ``input`` and an empty journal.

    It remains the same run, with its id. So a workflow that goes on for ever stays small. Call it from the workflow's own
    task, not from one that it created; ``finally`` blocks are run as on a return.
    """
    execution = require_execution("continue_as")
    if execution.scope.path:
        raise NotDurableError(
            "continue_as() ends the whole workflow, so call it in the workflow's own task; let this task return first"
        )
    raise ContinueSignal(execution.encode(input, "the input of continue_as"))
