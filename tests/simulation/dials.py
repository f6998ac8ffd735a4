"""Dials: which faults a seed has, and how often. Some seeds have none of a class: bugs hide behind other faults, too."""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random


@dataclass(frozen=True, slots=True, kw_only=True)
class Dials:
    """Probabilities are for each request or hint; times are seconds, 0 is never."""

    latency: float = 0.005
    """The longest that a request, or its answer, usually travels."""
    stragglers: float = 0.0
    """Requests that take up to a hundred times as long."""
    lost_requests: float = 0.0
    lost_answers: float = 0.0
    kills_at_requests: float = 0.0
    freezes_at_requests: float = 0.0
    kills_every: float = 0.0
    freezes_every: float = 0.0
    longest_freeze: float = 60.0
    outages_every: float = 0.0
    skew: float = 0.0
    lost_hints: float = 0.0
    late_hints: float = 0.0
    doubled_hints: float = 0.0
    restarts_every: float = 0.0
    """Orderly ones: the worker is told to stop, and gives everything back."""
    failovers_every: float = 0.0
    meddling: float = 0.0
    """For each commit that moves a run: somebody's request reaches the store just before it."""


CLASSES: dict[str, dict[str, tuple[float, ...]]] = {
    "lost requests": {"lost_requests": (0.005, 0.02, 0.1)},
    "lost answers": {"lost_answers": (0.005, 0.02, 0.1)},
    "kills at requests": {"kills_at_requests": (0.002, 0.01)},
    "freezes at requests": {"freezes_at_requests": (0.002, 0.01)},
    "kills": {"kills_every": (8, 20, 40)},
    "freezes": {"freezes_every": (8, 20, 40)},
    "outages": {"outages_every": (15, 40)},
    "skew": {"skew": (0.5, 5, 60)},
    "hints": {"lost_hints": (0.1, 0.5, 1.0), "late_hints": (0.2, 0.5), "doubled_hints": (0.1, 0.3)},
    "stragglers": {"stragglers": (0.01, 0.05)},
    "restarts": {"restarts_every": (15, 40)},
    "meddling": {"meddling": (0.05, 0.2)},
}
"""Class of faults → its dials, each with the positions that are drawn from."""

FAILOVERS: dict[str, dict[str, tuple[float, ...]]] = {"failovers": {"failovers_every": (30, 60)}}
"""What only a store with a lagging replica has."""


def draw(random: Random, *, failovers: bool) -> Dials:
    """The dials of a seed: each class in half of the seeds, and none at all in one of thirty."""
    classes = {**CLASSES, **FAILOVERS} if failovers else CLASSES
    latency = random.choice((0.0005, 0.005, 0.005, 0.05))
    dials = Dials(latency=latency, longest_freeze=random.choice((5.0, 40.0, 90.0)))
    if random.randrange(30) == 0:
        return dials
    for settings in classes.values():
        if random.random() < 0.5:
            dials = replace(dials, **{name: random.choice(values) for name, values in settings.items()})
    return dials


def without(dials: Dials, kind: str) -> Dials:
    """The same, with one class of faults switched off."""
    settings = {**CLASSES, **FAILOVERS}[kind]
    return replace(dials, **dict.fromkeys(settings, 0.0))


def active(dials: Dials) -> list[str]:
    """The classes of faults that are switched on."""
    return [
        kind
        for kind, settings in {**CLASSES, **FAILOVERS}.items()
        if any(getattr(dials, name) for name in settings)
    ]
