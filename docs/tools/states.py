"""The states of a run, as a figure and as a page: both are drawn from ``stepflow.model.transitions``."""

from __future__ import annotations

from collections.abc import Callable

from docs.tools.canvas import MUTED, Canvas, Point
from stepflow.model import transitions
from stepflow.model.states import PauseReason, RunStatus
from stepflow.model.transitions import Action, Decision

_S = RunStatus
_ALIVE = tuple(status for status in RunStatus if not status.ended)

_BOXES: dict[RunStatus, tuple[Point, str]] = {
    _S.QUEUED: ((60, 120), "plain"),
    _S.RUNNING: ((400, 120), "code"),
    _S.SUSPENDED: ((230, 250), "wait"),
    _S.PAUSED: ((230, 390), "ghost"),
    _S.COMPLETED: ((710, 70), "store"),
    _S.FAILED: ((710, 190), "bad"),
    _S.CANCELLED: ((710, 330), "bad"),
}
_WIDTH, _HEIGHT = 120, 46

Draw = Callable[[Canvas, str], None]

_EDGES: dict[tuple[RunStatus, RunStatus], Draw] = {
    (_S.QUEUED, _S.RUNNING): lambda c, label: c.arrow([(182, 132), (398, 132)], label),
    (_S.RUNNING, _S.QUEUED): lambda c, label: c.arrow([(398, 154), (182, 154)], label, at=(0, 16)),
    (_S.RUNNING, _S.RUNNING): lambda c, label: c.curve(
        (430, 120), (460, 40), (490, 120), label, at=(-60, -12)
    ),
    (_S.RUNNING, _S.SUSPENDED): lambda c, label: c.arrow([(450, 168), (352, 262)], label, at=(36, 4)),
    (_S.SUSPENDED, _S.RUNNING): lambda c, label: c.arrow([(310, 248), (412, 168)], label, at=(-52, 2)),
    (_S.SUSPENDED, _S.QUEUED): lambda c, label: c.arrow([(228, 262), (140, 168)], label, at=(-14, 34)),
    (_S.SUSPENDED, _S.PAUSED): lambda c, label: c.arrow([(290, 298), (290, 388)], label, at=(24, 4)),
    (_S.QUEUED, _S.PAUSED): lambda c, label: c.curve((100, 168), (110, 400), (228, 402), label, at=(22, -20)),
    (_S.PAUSED, _S.QUEUED): lambda c, label: c.curve((228, 426), (60, 430), (76, 168), label, at=(22, 62)),
    (_S.RUNNING, _S.PAUSED): lambda c, label: c.curve((480, 168), (480, 410), (352, 412), label, at=(20, 16)),
    (_S.RUNNING, _S.COMPLETED): lambda c, label: c.arrow(
        [(522, 136), (708, 96)], label, at=(30, -8), kind="store"
    ),
    (_S.RUNNING, _S.FAILED): lambda c, label: c.arrow(
        [(522, 146), (708, 208)], label, at=(34, -6), kind="bad"
    ),
    (_S.RUNNING, _S.CANCELLED): lambda c, label: c.arrow(
        [(512, 168), (720, 328)], label, at=(34, 2), kind="bad"
    ),
    (_S.FAILED, _S.QUEUED): lambda c, label: c.arrow(
        [(832, 213), (846, 213), (846, 484), (20, 484), (20, 143), (58, 143)], label, at=(0, -8)
    ),
    (_S.CANCELLED, _S.QUEUED): lambda c, label: c.arrow(
        [(832, 353), (846, 353), (846, 484), (20, 484), (20, 143), (58, 143)]
    ),
}


def _target(decision: Decision) -> RunStatus | None:
    """The status that a decision leads to; None if it stays, or is refused."""
    match decision:
        case transitions.QueueForCancel() | transitions.GoOn() | transitions.TryAgain():
            return _S.QUEUED
        case transitions.EndCancelled():
            return _S.CANCELLED
        case transitions.StandStill():
            return _S.PAUSED
        case _:
            return None


def edges() -> dict[tuple[RunStatus, RunStatus], list[str]]:
    """From and to, with what leads there. Force-cancel is drawn once for all, so it is not among them."""
    found: dict[tuple[RunStatus, RunStatus], list[str]] = {}
    for before, on, after in transitions.OWNER_MOVES:
        found.setdefault((before, after), []).append(on)
    for (before, action), decision in transitions.TABLE.items():
        after_action = _target(decision)
        if after_action is None or after_action is before or action is Action.FORCE_CANCEL:
            continue
        labels = found.setdefault((before, after_action), [])
        if action.value not in labels:
            labels.append(action.value)
    return found


def figure() -> str:
    """The state diagram. ``KeyError`` if the table has a move for which there is no place yet."""
    canvas = Canvas(860, 500, "The states of a run")
    forced = {
        before
        for (before, action), d in transitions.TABLE.items()
        if action is Action.FORCE_CANCEL and _target(d)
    }
    if forced != set(_ALIVE):
        raise ValueError(f"force-cancel works from {forced}: draw it anew")
    canvas.band(34, 14, 560, 450, "has not ended")
    canvas.arrow([(594, 400), (650, 400), (708, 362)], "force-cancel", kind="bad", at=(14, 30))
    for (before, after), labels in edges().items():
        _EDGES[before, after](canvas, ", ".join(labels))
    for status, ((x, y), kind) in _BOXES.items():
        canvas.box(x, y, _WIDTH, _HEIGHT, status.value, kind)
    canvas.text(612, 30, "Ended and paused runs can be deleted.", colour=MUTED, small=True)
    return canvas.svg()


_MEANING = {
    _S.QUEUED: "waits for a worker; due now, or at `wake_at`",
    _S.RUNNING: "is in a worker's memory, which executes it",
    _S.SUSPENDED: "waits for time or an event, and is in nobody's hands",
    _S.PAUSED: "stands still until it is resumed or cancelled; `pause_reason` says why",
    _S.COMPLETED: "has ended with a result",
    _S.FAILED: "has ended with an error",
    _S.CANCELLED: "has ended because it was cancelled",
}
_REASONS = {
    PauseReason.REQUESTED: "`app.pause` was called",
    PauseReason.NON_DETERMINISM: "the journal and the workflow's code disagree; mend the code and resume",
    PauseReason.POISONED: "it took its workers down ten times without progress",
    PauseReason.UNDECODABLE: "a stored value does not fit the type that the code asks for",
    PauseReason.STUCK: "its code waits for something that nothing will bring: a lock or future that nobody releases",
    PauseReason.UNKNOWN_CODE: "a class or function that the journal names can't be found",
}


def _answer(decision: Decision) -> str:
    match decision:
        case transitions.Already():
            return "nothing to do"
        case transitions.AskCancel():
            return "`CancelledError` is raised in it"
        case transitions.AskPause():
            return "**paused**, when its steps in flight have ended"
        case transitions.TakeBackPause():
            return "a pause that was asked for is taken back"
        case transitions.QueueForCancel():
            return "**queued**, to be cancelled by its next owner; **cancelled** at once if it never started"
        case transitions.EndCancelled():
            return "**cancelled**, at once"
        case transitions.StandStill():
            return "**paused**"
        case transitions.GoOn():
            return "**queued**"
        case transitions.TryAgain():
            return "**queued**, from the top"
        case transitions.Erase():
            return "gone"
        case transitions.Refuse(reason):
            return f"refused: {reason}"


def page() -> str:
    """``reference/states.md``."""
    lines = [
        "# States of a run",
        "",
        "```{figure} ../figures/states.svg",
        ":alt: The states of a run and what leads from one to another; the tables below say the same in words.",
        "",
        "Drawn from the table that the storages obey (`stepflow.model.transitions`).",
        "```",
        "",
        "| status | a run that |",
        "|---|---|",
        *(f"| `{status}` | {_MEANING[status]} |" for status in RunStatus),
        "",
        "## By itself",
        "",
        "| from | on | to |",
        "|---|---|---|",
        *(f"| `{before}` | {on} | `{after}` |" for before, on, after in transitions.OWNER_MOVES),
        "",
    ]
    for action in Action:
        call = "cancel(force=True)" if action is Action.FORCE_CANCEL else action.value
        lines += [f"## `app.{call}`", "", "| status | what happens |", "|---|---|"]
        lines += [f"| `{status}` | {_answer(transitions.TABLE[status, action])} |" for status in RunStatus]
        lines.append("")
    lines += [
        "What is refused raises `OperationRefusedError`, with the run's status and a hint. A run that is paused because its code can't go on is ended",
        "by `cancel` at once: there is no code that could clean up.",
        "",
        "## Why a run is paused",
        "",
        "| `pause_reason` | |",
        "|---|---|",
        *(f"| `{reason}` | {_REASONS[reason]} |" for reason in PauseReason),
        "",
    ]
    return "\n".join(lines)
