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
    "ignore_the_seq": 17,
    "fence_only_commits_that_move_the_run": 3,
    "apply_a_commit_twice": 182,
    "claim_without_a_row": 1,
    "force_cancel_without_a_row": 1,
    "suspend_over_events": 2,
    "suspend_over_a_cancel": 28,
    "suspend_over_a_pause": 1,
    "forget_a_cancel_with_any_commit": 7,
    "end_twice": 6,
    "lose_a_row_now_and_then": 1,
    "give_positions_twice": 5,
    "register_waits_after_looking": 2,
    "tell_no_parent": 1,
    "leave_children_alone": 6,
    "keep_waits_of_the_ended": 12,
    "wake_nobody": 1,
    "wake_only_the_first": 49,
    "store_an_event_twice": 1,
    "use_a_key_twice": 2,
    "resume_of_a_running_run_does_nothing": 2,
    "resume_nothing": 1,
    "cancel_nothing_that_runs": 2,
    "cancel_nothing_that_sleeps": 4,
    "pause_nothing_that_runs": 1,
    "retry_the_same_attempt": 1,
    "retry_what_has_completed": 2,
    "claim_from_the_living": 1,
    "let_leases_run_out_early": 3,
    "never_give_up_on_a_worker": 1,
    "forget_a_cancel_at_a_claim": 4,
    "list_a_run_twice": 1,
    "perform_before_it_is_durable": 1,
    "forget_retries": 2,
    "count_no_attempts": 1,
    "skip_the_next_event": 2,
    "fire_early": 1,
    "set_no_alarm": 3,
    "keep_nothing_of_earlier_attempts": 1,
    "continue_without_cursors": 2,
    "do_not_poll": 5,
    "adopt_nothing": 1128,
    "leave_no_intent": 47,
    "run_what_was_interrupted": 47,
    "go_on_when_fenced": 54,
    "suspend_while_steps_run": 263,
    "skip_the_rest_of_a_row": 1,
    "pause_although_it_was_taken_back": 22,
    "forget_the_cancel_of_a_run_that_pauses": 31,
    "create_over_what_is_there": 2,
    "resume_does_not_take_back_a_pause": 4,
    "retry_what_others_have_done": 11,
    "pass_events_over": 24,
    "read_no_requests": 50,
    "take_any_number": 2,
    "run_a_step_beside_itself": 2,
    "read_only_the_last_row": 11,
    "go_on_in_another_journal": 42,
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
