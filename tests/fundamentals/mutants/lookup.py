"""Mutants of the lookup: which command a recorded entry answers after a deploy, and what becomes of the others."""

from __future__ import annotations

from typing import Any

import pytest

from stepflow._engine import divergence, lookup
from stepflow._engine.execution import Execution
from stepflow._engine.lookup import Contradiction, Lookup, Match, NotAsked

Patch = pytest.MonkeyPatch


def drop_what_nobody_asked_for(patch: Patch) -> None:
    """An entry whose command comes later is forgotten."""
    patch.setattr(Lookup, "set_aside", lambda self, entry, *, kept=False: None)


def never_adopt(patch: Patch) -> None:
    """A renamed task begins anew."""
    patch.setattr(Lookup, "_find_renamed", lambda self, entry, rest: NotAsked())


def guess_when_ambiguous(patch: Patch) -> None:
    """Of several candidates the first one takes the entry."""

    def find(self: Lookup, entry: Any, rest: Any) -> Any:
        candidates = [c for c in self.pending.values() if divergence.may_be_renamed(entry, c)]
        return Match(candidates[0]) if candidates else NotAsked()

    patch.setattr(Lookup, "_find_renamed", find)


def adopt_from_scopes_that_are_there(patch: Patch) -> None:
    """A task may take what another task, that was not renamed at all, has recorded."""
    patch.setattr(lookup, "scope_of", lambda key: "")


def adopt_whatever_the_ordinal(patch: Patch) -> None:
    """A repeated or keyed step may take what another one of its name has recorded."""

    def may_be_renamed(entry: Any, command: Any) -> bool:
        return command.name == entry.key.rpartition("/")[2].split("[")[0] and divergence.agrees(
            entry, command
        )

    patch.setattr(divergence, "may_be_renamed", may_be_renamed)


def count_candidates_with_entries_of_their_own(patch: Patch) -> None:
    """Every pending command of the name is a candidate."""
    find = Lookup._find_renamed
    patch.setattr(Lookup, "_find_renamed", lambda self, entry, rest: find(self, entry, list))


def believe_every_kind(patch: Patch) -> None:
    """What is recorded under a key answers whatever is asked under it."""
    patch.setattr(divergence, "agrees", lambda entry, command: True)


def ignore_the_delay_of_timers(patch: Patch) -> None:
    """A plain timer's entry answers a timer with another delay."""
    agrees = divergence.agrees
    patch.setattr(
        divergence,
        "agrees",
        lambda entry, command: divergence.is_other_timer(entry, command) or agrees(entry, command),
    )


def adopt_whatever_the_name(patch: Patch) -> None:
    """A step of another name may take what is recorded, if it runs the same function."""
    patch.setattr(divergence, "may_be_renamed", divergence.agrees)


def decide_before_all_is_known(patch: Patch) -> None:
    """While more entries follow, a candidate counts although its own entry may be among them."""
    find = Lookup._find_renamed
    patch.setattr(Lookup, "_find_renamed", lambda self, entry, rest: find(self, entry, rest or list))


def count_candidates_with_entries_set_aside(patch: Patch) -> None:
    """A pending command whose own entry was set aside is a candidate."""
    find = Lookup._find_renamed

    def blind(self: Lookup, entry: Any, rest: Any) -> Any:
        aside, self._aside = self._aside, {}
        try:
            return find(self, entry, rest)
        finally:
            self._aside = aside

    patch.setattr(Lookup, "_find_renamed", blind)


def forget_who_took_over(patch: Patch) -> None:
    """Each entry of a renamed command is looked up anew."""
    find = Lookup.find

    def forgetting(self: Lookup, entry: Any, rest: Any) -> Any:
        self._aliases.clear()
        return find(self, entry, rest)

    patch.setattr(Lookup, "find", forgetting)


def believe_every_function(patch: Patch) -> None:
    """Any step's result answers any step of the same key."""
    agrees = divergence.agrees
    patch.setattr(
        divergence,
        "agrees",
        lambda entry, command: (
            divergence.kind_of_entry(entry)[0] == divergence.kind_of_command(command)[0] == "step"
            or agrees(entry, command)
        ),
    )


def tell_modules_apart(patch: Patch) -> None:
    """A function that moved to another module is another function."""
    patch.setattr(divergence, "_qualname", lambda function: function)


def go_on_after_a_contradiction(patch: Patch) -> None:
    """An entry that contradicts the code is set aside, and the code's own command performed."""
    find = Lookup.find

    def lenient(self: Lookup, entry: Any, rest: Any) -> Any:
        found = find(self, entry, rest)
        return NotAsked() if isinstance(found, Contradiction) else found

    patch.setattr(Lookup, "find", lenient)


def pause_over_another_delay(patch: Patch) -> None:
    """A plain timer with another delay under a recorded key contradicts the journal."""
    patch.setattr(divergence, "is_other_timer", lambda entry, command: False)


def report_nothing(patch: Patch) -> None:
    """What nobody asked for is forgotten when the run ends."""
    patch.setattr(Lookup, "left_over", lambda self: [])


def report_only_what_was_read(patch: Patch) -> None:
    """What was recorded after the code's end is not reported."""
    patch.setattr(Execution, "left_over", lambda self: divergence.left_over(self.lookup.left_over()))


def report_what_was_delivered(patch: Patch) -> None:
    """What was set aside and asked for later is reported as if it had not been."""
    asides: dict[Lookup, list[Any]] = {}
    set_aside = Lookup.set_aside

    def noted(self: Lookup, entry: Any, *, kept: bool = False) -> None:
        asides.setdefault(self, []).append(entry)
        set_aside(self, entry, kept=kept)

    patch.setattr(Lookup, "set_aside", noted)
    patch.setattr(Lookup, "left_over", lambda self: asides.get(self, []))
