"""Rules: every rule of the replay loop, the mutants that leave it out, and what notices each of them.

This is the table that the specification is read with: a rule without a mutant is not tested, a mutant without a rule
is fussy. What a rule says is said once, here; the docstring of a mutant says what goes on without it. The driver's part
(claims, slices by the clock, warnings, the children of a run that ended) is tested in ``tests/runtime``.
"""

from __future__ import annotations

import sys

from tests.fundamentals import (
    test_attempts,
    test_deploys,
    test_divergence,
    test_endings,
    test_eviction,
    test_loop,
    test_primitives_steps,
    test_scopes,
    test_surface,
    test_time,
)
from tests.fundamentals.hunts import (
    Hunt,
    Mutant,
    Notices,
    case,
    crowds,
    deploys,
    futures,
    next_attempts,
    replays,
)
from tests.fundamentals.mutants import (
    attempts,
    delivery,
    endings,
    events,
    eviction,
    keys,
    lookup,
    order,
    surroundings,
    timing,
)

KEYS = test_scopes.test_a_key_is_the_path_of_tasks_the_name_and_its_ordinal
REFUSED = test_surface.test_reaching_out_of_a_workflow_is_refused_with_advice
DIVERGES = test_divergence.test_another_kind_under_a_recorded_key_pauses_the_run

# ------------------------------------------------------------------ the table
RULES: dict[str, dict[Mutant, Notices]] = {
    # -------------------------------------------------------------- delivery
    "Entries are delivered one by one, in the journal's order, and the code runs dry after each.": {
        delivery.deliver_without_running_dry: Hunt(replays),
        delivery.deliver_the_last_first: Hunt(replays),
    },
    "While more entries follow no command comes out: each one is delivered or set aside before.": {
        delivery.hand_out_commands_while_more_entries_follow: Hunt(replays),
    },
    "An advance tells what the code newly asks for and what it gave up.": {
        delivery.keep_quiet_about_withdrawn_commands: Hunt(replays),
        delivery.hand_out_what_was_given_up: case(
            test_loop.test_what_is_asked_and_given_up_in_one_go_is_never_handed_out
        ),
    },
    "Delivery is the decision: an entry whose command ended earlier is dropped, not journaled, and moves no cursor.": {
        delivery.accept_late_results: Hunt(replays),
        delivery.move_the_cursor_for_dropped_events: Hunt(crowds),
        delivery.forget_what_was_given_up: case(
            test_deploys.test_a_recorded_result_that_comes_too_late_is_not_given_to_another_task
        ),
    },
    # -------------------------------------------------------------- keys
    "A key is taken when the primitive is called, in the caller's scope.": {
        keys.take_keys_when_awaited: case(
            test_scopes.test_a_key_belongs_to_the_task_that_called_not_to_the_one_that_awaits
        ),
    },
    "A key is the scope, the name and the ordinal under that name.": {
        keys.forget_ordinals: Hunt(replays),
        keys.forget_scopes: Hunt(deploys),
    },
    "A scope is the path of tasks: each one's own name, else its coroutine's, and its ordinal under that.": {
        keys.ignore_the_names_of_tasks: Hunt(deploys),
        keys.number_tasks_as_asyncio_does: Hunt(replays),
        keys.forget_the_ordinals_of_tasks: Hunt(replays),
        keys.keep_the_number_of_a_renamed_task: case(KEYS, test_scopes.in_renamed_tasks),
        keys.move_a_task_that_runs: case(KEYS, test_scopes.in_renamed_tasks),
        keys.take_tasks_made_by_hand: case(
            test_scopes.test_a_task_made_without_the_loop_has_no_scope_and_is_refused
        ),
    },
    "The task that wait_for makes on 3.11 is transparent.": {
        keys.give_wait_for_a_scope: Hunt(replays),
    },
    "A callback without a task has a scope of its own.": {
        keys.give_callbacks_no_scope: case(KEYS, test_scopes.in_callbacks),
    },
    "Idempotency keys and the ids of children follow from keys.": {
        keys.draw_ids: Hunt(replays),
        keys.give_steps_of_one_name_one_idempotency_key: case(
            test_primitives_steps.test_idempotency_keys_differ_by_step_and_not_by_attempt
        ),
    },
    "A started child's id is read from its entry.": {
        keys.derive_the_id_of_a_child_that_started: case(
            test_deploys.test_a_child_that_was_started_in_a_renamed_task_keeps_its_id
        ),
    },
    # -------------------------------------------------------------- lookup
    "An entry is looked up by its exact key; asked for by nobody, it is set aside until its exact key is.": {
        lookup.drop_what_nobody_asked_for: Hunt(deploys),
        lookup.adopt_whatever_the_ordinal: case(test_deploys.test_with_keys_repeated_steps_may_change_places),
        delivery.forget_that_events_set_aside_were_consumed: case(
            test_divergence.test_an_event_that_is_not_waited_for_any_more_stays_consumed
        ),
    },
    "If exactly one pending command of that kind and name has no entry of its own, it takes it: its scope was renamed.": {
        lookup.never_adopt: case(
            test_deploys.test_a_step_in_flight_when_its_task_was_renamed_runs_once_more_and_no_other_does
        ),
        lookup.adopt_from_scopes_that_are_there: Hunt(deploys),
        lookup.count_candidates_with_entries_of_their_own: case(
            test_deploys.test_of_two_candidates_one_with_an_entry_of_its_own_is_none, 1
        ),
        lookup.decide_before_all_is_known: case(
            test_deploys.test_of_two_candidates_one_with_an_entry_of_its_own_is_none, 100
        ),
        lookup.count_candidates_with_entries_set_aside: case(
            test_deploys.test_of_two_candidates_one_with_an_entry_set_aside_is_none
        ),
        lookup.forget_who_took_over: case(
            test_deploys.test_a_renamed_task_that_took_over_is_not_mistaken_for_another
        ),
    },
    "Two or more: the run is paused, never a guess.": {
        lookup.guess_when_ambiguous: case(test_deploys.test_what_may_belong_to_two_tasks_is_never_guessed),
    },
    "A renamed step is a new step.": {
        lookup.adopt_whatever_the_name: case(
            test_deploys.test_a_renamed_step_runs_anew_and_the_old_one_is_reported
        ),
    },
    "What is left over is reported once, when the run ends.": {
        lookup.report_nothing: Hunt(deploys),
        lookup.report_only_what_was_read: case(
            test_deploys.test_steps_removed_from_the_end_let_the_run_end_and_are_reported
        ),
        lookup.report_what_was_delivered: Hunt(deploys),
    },
    "Same key, other kind: the run is paused; another function is another kind, wherever it is defined.": {
        lookup.believe_every_kind: case(
            test_divergence.test_another_kind_under_the_key_of_a_result_set_aside_pauses_the_run
        ),
        lookup.believe_every_function: case(DIVERGES, "step", "function"),
        lookup.go_on_after_a_contradiction: case(DIVERGES, "step", "sleep"),
        lookup.tell_modules_apart: case(
            test_deploys.test_a_function_that_moved_to_another_module_is_the_same
        ),
    },
    # -------------------------------------------------------------- order
    "Tasks and futures have a hash that follows from the run and the order of their creation.": {
        order.hash_tasks_by_address: Hunt(replays),
        order.hash_futures_by_address: Hunt(futures),
        order.number_tasks_over_all_runs: Hunt(replays),
        order.give_every_run_the_same_numbers: case(
            test_loop.test_tasks_and_futures_hash_alike_on_every_replay
        ),
    },
    "as_completed over bare coroutines is refused.": {
        order.take_bare_coroutines_as_completed: case(
            test_loop.test_as_completed_takes_tasks_but_no_bare_coroutines, 3
        ),
    },
    # -------------------------------------------------------------- time
    "loop.time() is logical: the instant of the last entry that moves time, and never steps back.": {
        timing.ask_a_clock: Hunt(replays),
        timing.step_back_in_time: Hunt(deploys),
    },
    "Failed attempts and intents move no time.": {
        timing.let_failed_attempts_move_time: case(test_time.test_failed_attempts_move_no_time),
        timing.let_intents_move_time: case(test_time.test_intents_move_no_time),
    },
    "What happens is recorded at the clock's instant, but not before what was recorded last.": {
        timing.record_what_the_clock_says: case(
            test_time.test_nothing_is_recorded_before_what_was_recorded_last
        ),
        timing.record_timers_at_their_deadline: case(
            test_time.test_a_timer_that_fires_late_is_recorded_when_it_does
        ),
    },
    "Deadlines are whole microseconds.": {
        timing.cut_fractions_of_microseconds_off: case(
            test_time.test_a_plain_timer_is_due_after_exactly_the_microseconds_asked_for, 2.01
        ),
    },
    "Zero is when the first claim started the run; every claim moves time, so it goes on while nobody holds the run.": {
        timing.begin_time_anew_with_every_claim: Hunt(replays),
        timing.stand_still_at_a_claim: case(test_time.test_nothing_is_recorded_before_what_was_recorded_last),
    },
    "Due timers become entries one at a time, by deadline and order of arming, looked at anew after each.": {
        timing.fire_timers_in_the_order_of_arming: Hunt(replays),
        timing.fire_timers_of_one_instant_backwards: Hunt(replays),
        timing.fire_timers_early: case(
            test_time.test_a_takeover_holds_timers_off_until_their_delay_or_five_seconds_have_passed
        ),
        timing.decide_what_is_due_at_once: Hunt(replays, seed=95),
    },
    "Against a step at the same instant the journal's order decides.": {
        timing.put_timers_before_steps_of_one_instant: Hunt(replays),
    },
    "A plain timer's key is its scope, '@timer' and an ordinal; with another delay it is not asked for, never a match.": {
        keys.count_timers_over_all_tasks: case(
            test_time.test_a_takeover_holds_timers_off_until_their_delay_or_five_seconds_have_passed
        ),
        lookup.ignore_the_delay_of_timers: case(
            test_divergence.test_a_plain_timer_with_another_delay_is_another_timer
        ),
        lookup.pause_over_another_delay: case(
            test_divergence.test_a_plain_timer_with_another_delay_is_another_timer
        ),
    },
    "At a takeover, and only then, pending timers are not due before its instant and their delay, at most five seconds.": {
        timing.expire_timers_at_a_takeover: Hunt(replays),
        timing.hold_every_timer_off_for_five_seconds: Hunt(replays),
        timing.hold_timers_off_for_their_whole_delay: Hunt(replays, seed=63),
        timing.hold_timers_off_at_every_claim: Hunt(replays),
    },
    # -------------------------------------------------------------- surroundings
    "The world is out of reach.": {
        surroundings.let_threads_in: case(REFUSED, "to_thread"),
        surroundings.let_threads_call_in: case(REFUSED, "threadsafe"),
    },
    "Other runs are out of reach too: a lock, a coroutine or a task of another one is refused.": {
        surroundings.let_others_touch_the_loop: case(
            test_surface.test_a_lock_that_another_run_waits_for_can_not_be_released_into_it
        ),
        surroundings.let_others_make_tasks: case(test_scopes.test_a_task_can_not_be_made_from_outside),
        surroundings.await_in_any_run: case(
            test_scopes.test_a_coroutine_that_was_called_in_one_run_can_not_be_awaited_in_another
        ),
    },
    "A task factory is refused; what newer Pythons add to create_task is passed on.": {
        surroundings.let_a_task_factory_be_set: case(REFUSED, "a task factory"),
        surroundings.ignore_what_newer_pythons_add: case(
            test_loop.test_a_task_may_be_given_what_newer_pythons_add
        ),
    },
    "An execution begins in a fresh context.": {
        surroundings.share_the_hosts_context: case(
            test_loop.test_an_execution_begins_in_a_fresh_context_and_keeps_its_own
        ),
    },
    "Nothing is logged again on replay.": {
        surroundings.log_again_on_replay: case(
            test_loop.test_an_error_that_nobody_looked_at_is_logged_once_and_not_on_replay
        ),
    },
    # -------------------------------------------------------------- the end
    "When main ended, the tasks that are left are cancelled, once, and waited for; only then its outcome counts.": {
        endings.leave_tasks_behind: Hunt(replays),
        endings.cancel_what_cleans_up: case(
            test_endings.test_tasks_that_clean_up_after_main_ended_are_not_cancelled
        ),
        endings.cancel_again_and_again: Hunt(replays),
    },
    "What is outstanding when the run ends is given up.": {
        endings.go_on_with_what_is_outstanding: case(
            test_endings.test_what_is_outstanding_when_a_run_can_not_go_on_is_given_up
        ),
    },
    "SystemExit in workflow code fails the run, not the host.": {
        endings.let_a_system_exit_through: case(
            test_endings.test_a_system_exit_fails_the_run_and_not_the_host
        ),
    },
    # -------------------------------------------------------------- ownership of coroutines
    "No coroutine is left to the collector, after an eviction and after the end.": {
        eviction.evict_by_forgetting: Hunt(replays),
        eviction.give_up_on_those_who_swallow_it: case(
            test_eviction.test_a_task_that_swallows_its_eviction_comes_to_a_stop_and_is_ended
        ),
    },
    "Async generators are held by their execution and closed with it; the host's hooks are put back.": {
        endings.leave_generators_to_the_collector: Hunt(replays),
        endings.close_generators_only_when_evicted: Hunt(replays),
        surroundings.leave_the_hooks_behind: case(
            test_surface.test_the_world_is_the_same_after_a_workflow_ran
        ),
    },
    "A primitive finds its execution by the loop that runs its task.": {
        surroundings.find_the_run_that_was_driven_last: case(
            test_surface.test_after_a_workflow_ran_its_thread_is_in_no_run
        ),
    },
    # -------------------------------------------------------------- eviction
    "An eviction is no Exception.": {
        eviction.let_except_exception_catch_an_eviction: case(
            test_eviction.test_except_exception_never_sees_an_eviction
        ),
    },
    "Once evicting, the outcome, commands and noise are discarded.": {
        eviction.listen_to_what_is_evicted: Hunt(replays),
        eviction.keep_what_an_eviction_says: case(
            test_eviction.test_nothing_that_happens_during_an_eviction_has_an_effect
        ),
        eviction.evict_without_marking: Hunt(replays),
    },
    "A task's first primitive may raise Evicted, its second never completes: whoever swallows it comes to a stop.": {
        eviction.raise_at_every_primitive: case(
            test_eviction.test_a_task_that_swallows_its_eviction_comes_to_a_stop_and_is_ended
        ),
    },
    "Tasks are ended with their loop set as the running one.": {
        eviction.evict_from_outside: case(test_eviction.test_no_step_runs_while_an_execution_is_evicted),
    },
    # -------------------------------------------------------------- further attempts, events
    "A new attempt keeps what succeeded, and nothing else; what it does not ask for is no divergence.": {
        attempts.keep_nothing: Hunt(next_attempts),
        attempts.keep_failures: case(test_attempts.test_steps_that_failed_are_run_again),
        attempts.keep_plain_timers: case(
            test_attempts.test_sleeps_that_ended_are_kept_and_plain_timers_are_not
        ),
        attempts.keep_lost_children: case(
            test_attempts.test_children_that_ended_well_and_detached_ones_are_kept_and_others_begin_anew
        ),
        attempts.report_what_is_kept: case(
            test_attempts.test_a_kept_result_is_delivered_when_it_is_asked_for_and_unused_ones_are_no_divergence
        ),
    },
    "Every event sent since the run began reaches it once, in order: first asked, first served.": {
        events.serve_the_last_wait_first: Hunt(replays),
        events.deliver_events_from_before_the_run: Hunt(replays),
        events.deliver_events_twice: Hunt(replays, seed=65),
    },
}
ELSEWHERE = {
    keys.give_wait_for_a_scope: sys.version_info >= (3, 12),  # no task is made there any more
    surroundings.ignore_what_newer_pythons_add: sys.version_info < (3, 12),
}
"""Mutants of rules that other Pythons need, and whether this is none of them."""

MUTANTS: dict[Mutant, Notices] = {
    mutant: notices
    for mutants in RULES.values()
    for mutant, notices in mutants.items()
    if not ELSEWHERE.get(mutant, False)
}
