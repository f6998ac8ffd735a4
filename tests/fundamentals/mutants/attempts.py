"""Mutants of a run's further attempts: what they keep of the ones before."""

from __future__ import annotations

from typing import Any

import pytest

from stepflow._engine.history import Kept
from stepflow._engine.lookup import Lookup
from stepflow.model.journal import ChildStarted, StepFailed, TimerFired

Patch = pytest.MonkeyPatch


def keep(patch: Patch, kind: type) -> None:
    """Keep entries of this kind too."""
    collect = Kept.collect

    def greedy(self: Kept, entry: Any) -> None:
        if isinstance(entry, kind):
            self._entries.append(entry)
        else:
            collect(self, entry)

    patch.setattr(Kept, "collect", greedy)


def keep_nothing(patch: Patch) -> None:
    """A new attempt begins as if there had been none."""
    patch.setattr(Kept, "collect", lambda self, entry: None)


def keep_failures(patch: Patch) -> None:
    """A step that failed fails in every attempt."""
    keep(patch, StepFailed)


def keep_plain_timers(patch: Patch) -> None:
    """A plain timer that fired has fired for every attempt."""
    keep(patch, TimerFired)


def keep_lost_children(patch: Patch) -> None:
    """A child that failed is awaited again, and not started anew."""
    collect = Kept.collect

    def hopeful(self: Kept, entry: Any) -> None:
        collect(self, entry)
        if isinstance(entry, ChildStarted):
            self._completed.add(entry.child_id)

    patch.setattr(Kept, "collect", hopeful)


def report_what_is_kept(patch: Patch) -> None:
    """What an earlier attempt recorded and this one does not ask for is a divergence."""
    set_aside = Lookup.set_aside
    patch.setattr(Lookup, "set_aside", lambda self, entry, *, kept=False: set_aside(self, entry))
