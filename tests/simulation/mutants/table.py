"""Table: every mutant, the seed that is known to notice it, and why those that can't be noticed can't."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import ModuleType

import pytest

from tests.simulation.mutants import control, journal, runtime

Mutant = Callable[[pytest.MonkeyPatch], None]


def of(module: ModuleType) -> list[Mutant]:
    """The mutants of a module, as they stand in it."""
    return [
        function
        for name, function in vars(module).items()
        if inspect.isfunction(function)
        and function.__module__ == module.__name__
        and not name.startswith("_")
    ]


MUTANTS: tuple[Mutant, ...] = (*of(journal), *of(control), *of(runtime))

NOTICED_AT: dict[str, int] = {
    "ignore_the_seq": 10,
    "fence_only_commits_that_move_the_run": 19,
    "apply_a_commit_twice": 47,
    "claim_without_a_row": 1,
    "force_cancel_without_a_row": 1,
    "suspend_over_events": 2,
    "suspend_over_a_cancel": 88,
    "suspend_over_a_pause": 19,
    "forget_a_cancel_with_any_commit": 9,
    "end_twice": 6,
    "lose_a_row_now_and_then": 1,
    "give_positions_twice": 73,
    "register_waits_after_looking": 1,
    "tell_no_parent": 2,
    "leave_children_alone": 6,
    "keep_waits_of_the_ended": 4,
    "wake_nobody": 1,
    "wake_only_the_first": 20,
    "store_an_event_twice": 2,
    "use_a_key_twice": 1,
    "resume_of_a_running_run_does_nothing": 4,
    "resume_nothing": 1,
    "cancel_nothing_that_runs": 1,
    "cancel_nothing_that_sleeps": 1,
    "pause_nothing_that_runs": 2,
    "retry_the_same_attempt": 1,
    "retry_what_has_completed": 4,
    "claim_from_the_living": 1,
    "let_leases_run_out_early": 15,
    "never_give_up_on_a_worker": 3,
    "forget_a_cancel_at_a_claim": 1,
    "list_a_run_twice": 1,
    "perform_before_it_is_durable": 1,
    "forget_retries": 8,
    "count_no_attempts": 1,
    "skip_the_next_event": 2,
    "fire_early": 1,
    "set_no_alarm": 2,
    "keep_nothing_of_earlier_attempts": 1,
    "continue_without_cursors": 2,
    "do_not_poll": 12,
    "adopt_nothing": 25,
    "leave_no_intent": 29,
    "run_what_was_interrupted": 29,
    "go_on_when_fenced": 19,
    "suspend_while_steps_run": 39,
}
"""The first seed on memory that notices; others are tried if it does not, any more."""

EXPLAINED: dict[str, str] = {
    "ignore_the_owner": "every change of owner appends a row (claims, and what the store does for others), so whoever writes at the "
    "next seq is the owner: the journal is the fence, and the owner's name is a second look",
    "fence_a_commit_that_is_sent_again": "the worker drops the run, finds that it owns it, and goes on from the row that is there: "
    "what is lost is time",
    "read_no_events": "a run that has nothing else to do is suspended, and the store tells it then what is there",
}
"""Mutants that nothing can notice, and why."""
