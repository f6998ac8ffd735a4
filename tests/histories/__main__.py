"""Records the golden histories: ``python -m tests.histories``. Only those that are missing; a recorded one is never written again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

from stepflow import RunFailedError
from stepflow.testing import Harness, HarnessRun
from stepflow.testing.harness.incarnation import immediately
from stepflow.testing.histories import file_name, histories_of, write_history
from tests.histories import workflows
from tests.histories.workflows import Order

RECORDED = Path(__file__).parent / "recorded"
ORDER = Order(id="o-1", total=42)


def record(harness: Harness) -> list[HarnessRun[object]]:
    """One run of each workflow, brought to where it is to be recorded."""
    harness.fake("charge", raises=OSError("down"), times=2)
    harness.result(harness.start(workflows.retried, ORDER, id="retried"))
    harness.fake("ready", returns="yes")
    harness.fake("ready", raises=OSError("not yet"), times=3)
    for workflow, given in (
        (workflows.in_sequence, ORDER),
        (workflows.with_sleeps, None),
        (workflows.at_once, ["a", "b", "c"]),
        (workflows.mapped, ["a", "b", "c"]),
        (workflows.compensating, ORDER),
        (workflows.with_children, ["a", "b"]),
        (workflows.continuing, 2),
        (workflows.tried_again, ORDER),
        (workflows.timed_out, None),
        (workflows.with_dice, None),
        (workflows.once, None),
    ):
        harness.result(harness.start(workflow, given, id=workflow.id))  # type: ignore[arg-type]
    failing = harness.start(workflows.failing, id="failing")
    try:
        harness.result(failing)
    except RunFailedError:
        failing.assert_failed(ValueError)
    events = harness.start(workflows.with_events, id="with-events")
    harness.notify("approval", "Ada")
    harness.advance("2h")
    harness.notify("third", "Grace")
    events.assert_completed(["Ada", "nobody", "Grace"])
    harness.cancel(harness.start(workflows.cancelled, id="cancelled"))
    harness.start(workflows.waiting, id="waiting")
    return harness.runs()


def main() -> None:
    with Harness(workflows) as harness:
        for run in record(harness):
            path = RECORDED / file_name(run.id)
            if not path.exists():
                history = immediately(first(histories_of(harness.storage, [run.id])))
                path.write_bytes(write_history(history))


async def first(histories: AsyncIterator[object]) -> object:
    async for history in histories:
        return history
    raise LookupError("no history")


if __name__ == "__main__":
    main()
