"""A test of a workflow that takes 37 days: it is over in milliseconds, and says what happened when. Prints::

run 'run-1' of 'trial': completed
          +0:00:00  step invite → "mail sent"
          +0:00:00  suspended until 2030-01-31 00:00:00+00:00
      +30d 0:00:00  sleep trial is over
      +30d 0:00:00  suspended until 2030-02-07 00:00:00+00:00, or event upgraded
      +37d 0:00:00  event upgraded did not come in time
      +37d 0:00:00  step say_goodbye → "goodbye, Ada"
      +37d 0:00:00  completed
"""

from __future__ import annotations

from stepflow import EventTimeoutError, sleep, step, wait_for_event, workflow
from stepflow.testing import Harness


@step
async def invite(name: str) -> str:
    raise OSError(f"this would really send a mail to {name}")


@step
def say_goodbye(name: str) -> str:
    return f"goodbye, {name}"


@workflow
async def trial(name: str) -> str:
    await invite(name)
    await sleep("trial", "30d")
    try:
        return await wait_for_event("upgraded", timeout="7d", type=str)
    except EventTimeoutError:
        return await say_goodbye(name)


def test_a_trial_that_nobody_upgrades_ends_after_37_days() -> None:
    with Harness(trial) as harness:
        harness.fake("invite", returns="mail sent")
        run = harness.start(trial, "Ada")

        harness.advance("37d")

        run.assert_completed("goodbye, Ada")
        run.assert_steps("invite", "say_goodbye")
        print(run.timeline)


test_a_trial_that_nobody_upgrades_ends_after_37_days()  # pytest would call it
