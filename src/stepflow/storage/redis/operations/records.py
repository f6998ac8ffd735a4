"""Records of one run: read whole, changed by the rules, and saved only if nobody changed it meanwhile."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Any, Final, NamedTuple, TypeAlias

from stepflow.model.events import Event, Wait
from stepflow.model.journal import Entry
from stepflow.model.payloads import NULL
from stepflow.model.runs import Progress, RunRecord
from stepflow.model.states import RunStatus
from stepflow.storage._rules.records import RunState, record_of
from stepflow.storage.redis.calls import Call, Script, command, evaluate, unpacked
from stepflow.storage.redis.fields import (
    lane_of,
    micros,
    place_of,
    read_run,
    read_waits,
    write_row,
    write_run,
)
from stepflow.storage.redis.intents import Intent, read_intent, write_intent
from stepflow.storage.redis.keys import Keys
from stepflow.storage.redis.sagas import Act, Saga
from stepflow.types import EventId, RunId, WorkerId

LOAD: Final = Script("load")
SAVE: Final = Script("save")
SETTLE: Final = Script("settle")
_SMALL: Final = 16_384
"""Bytes of a run that is worth remembering."""

_VERSION: Final = frozenset({"rev", "intent"})

Present: TypeAlias = Mapping[tuple[EventId, int], bool]
"""Whether there is an event of that id after that position, for one run."""


class Held(NamedTuple):
    """A run as it was when it was read."""

    run: RunState
    seq: int
    waits: dict[EventId, Wait]
    rev: str
    fields: Mapping[str, str]
    intent: Intent | None
    intent_text: str
    children: int

    def record(self) -> RunRecord:
        return record_of(
            self.run, input=self.run.input or NULL, seq=self.seq, waits=tuple(self.waits.values())
        )


# ------------------------------------------------------------------ reading
def load_call(keys: Keys, run_id: RunId) -> Call:
    here = keys.of(run_id)
    return evaluate(LOAD, here.tag, (here.run(run_id), here.children_of(run_id)), None)


def held_of(reply: Any) -> Held | None:
    """What ``load_call`` was answered; None if there is no such run."""
    flat, children = unpacked(reply)
    fields: dict[str, str] = dict(zip(flat[::2], flat[1::2], strict=True))
    if "status" not in fields:
        return None
    text = fields.get("intent", "")
    return Held(
        run=read_run(fields),
        seq=int(fields["seq"]),
        waits=read_waits(fields),
        rev=fields["rev"],
        fields=fields,
        intent=read_intent(text) if text else None,
        intent_text=text,
        children=children,
    )


def load(act: Act, run_id: RunId) -> Saga[Held | None]:
    [reply] = yield [load_call(act.keys, run_id)]
    return held_of(reply)


def load_many(act: Act, run_ids: Sequence[RunId]) -> Saga[list[Held | None]]:
    if not run_ids:
        return []
    replies = yield [load_call(act.keys, run_id) for run_id in run_ids]
    return [held_of(reply) for reply in replies]


def read_progress(keys: Keys, run_ids: Sequence[RunId]) -> Saga[dict[RunId, Progress]]:
    """How far those of the runs are that exist."""
    if not run_ids:
        return {}
    places = [keys.of(run_id) for run_id in run_ids]
    replies = yield [
        command(here.tag, "HMGET", here.run(run_id), "seq", "status")
        for here, run_id in zip(places, run_ids, strict=True)
    ]
    return {
        run_id: Progress(int(seq), RunStatus(status.decode()))
        for run_id, (seq, status) in zip(run_ids, replies, strict=True)
        if status is not None
    }


def recall(act: Act, run_id: RunId, owner: WorkerId, seq: int) -> Held | None:
    """The run as this process remembers it: good if all that came since are plain commits of its owner up to ``seq``.

    Whether it is good, only a save can tell; what it seems to refuse must be looked up.
    """
    held: Held | None = act.owned.take(run_id)
    return held._replace(seq=seq) if held is not None and held.run.worker == owner else None


def remember(act: Act, one: OneRun) -> None:
    """Keep a run that was just saved, if its owner may go on with it and it is not large."""
    run = one.run
    if run.worker is None or one.keep or sum(map(len, one.written.values())) > _SMALL:
        return
    act.owned.keep(
        run.id,
        Held(
            run=run,
            seq=one.seq,
            waits=one.kept,
            rev=one.rev,
            fields=one.written,
            intent=None,
            intent_text="",
            children=0,
        ),
    )


# ------------------------------------------------------------------ changing
class OneRun:
    """``Records`` of one run: the rules change it, and what they would do to others is seen by the caller.

    The rules find no other run here: a parent that is to be told and children that are to be cancelled are reached by sagas
    of their own, in their partitions. ``present`` answers whether an event is there that the run waits for.
    """

    def __init__(self, held: Held | None, run: RunState | None = None) -> None:
        self.held = held
        self.run: RunState = held.run if held is not None else run  # type: ignore[assignment]
        self.was = None if held is None else held.run.worker
        self.had_ended = False if held is None else held.run.status.ended
        self.seq = 0 if held is None else held.seq
        self.kept: dict[EventId, Wait] = {} if held is None else dict(held.waits)
        self.rows: list[str] = []
        self.keep = 0
        self.dropped: dict[EventId, None] = {}
        self.present: Present = {}
        self.removed = False
        self.written: Mapping[str, str] = {}
        """Its fields as they were saved last, and ``rev``, which version that is."""
        self.rev = ""

    @property
    def ends(self) -> bool:
        """Whether the run has ended by what was done to it here."""
        return self.run.status.ended and not self.had_ended

    # -------------------------------------------------------------- runs
    def find(self, run_id: RunId) -> RunState | None:
        return self.run if run_id == self.run.id else None

    def find_by_key(self, idempotency_key: str) -> RunState | None:
        return None

    def add(self, run: RunState) -> None:
        self.run = run

    def save(self, run: RunState) -> None:
        return None

    def remove(self, run: RunState) -> None:
        self.removed = True

    def record(self, run: RunState) -> RunRecord:
        return record_of(run, input=run.input or NULL, seq=self.seq, waits=tuple(self.kept.values()))

    def unfinished_children(self, run_id: RunId) -> Iterable[RunId]:
        return ()

    # -------------------------------------------------------------- journal
    def owner(self, run_id: RunId) -> WorkerId | None:
        return self.run.worker

    def last_seq(self, run_id: RunId) -> int:
        return self.seq

    def written_by(self, run_id: RunId, seq: int) -> tuple[WorkerId, str] | None:
        return None

    def append(
        self, run_id: RunId, seq: int, writer: WorkerId, write_id: str, entries: tuple[Entry, ...]
    ) -> None:
        self.rows.append(write_row(writer, write_id, entries).decode())
        self.seq = seq

    def cut(self, run_id: RunId, before: int) -> None:
        self.keep = self.seq - before + 1

    # -------------------------------------------------------------- events and waits
    def next_pos(self) -> int:
        return self.run.created_pos

    def append_event(self, event: Event) -> None:
        raise AssertionError("events are appended in the partition of their id")

    def event_of(self, event_id: EventId, dedup_id: str) -> Event | None:
        return None

    def first_event(self, event_id: EventId, run_id: RunId | None) -> Event | None:
        return None

    def has_event(self, event_id: EventId, run_id: RunId, after: int) -> bool:
        return self.present.get((event_id, after), False)

    def waits(self, run_id: RunId) -> Mapping[EventId, Wait]:
        return self.kept

    def waiting(self, event_id: EventId) -> Mapping[RunId, int]:
        return {}

    def set_wait(self, run_id: RunId, wait: Wait) -> None:
        self.kept[wait.event_id] = wait
        self.dropped.pop(wait.event_id, None)

    def drop_waits(self, run_id: RunId, event_ids: Iterable[EventId]) -> None:
        for event_id in tuple(event_ids):
            if self.kept.pop(event_id, None) is not None:
                self.dropped[event_id] = None


def save_call(act: Act, one: OneRun, intent: Intent | None, *, keeps_intent: bool = False) -> Call:
    """Save the run if it still is as it was read; the reply is 1 then, else 0."""
    run, held = one.run, one.held
    here = act.keys.of(run.id)
    changed, gone = _difference(one)
    marks = 0
    if intent is not None:
        changed += ("intent", write_intent(intent))
        marks = 1
    elif held is not None and held.intent is not None and not keeps_intent:
        gone.append("intent")
        marks = -1
    lane = lane_of(run)
    was, worker = one.was or "", run.worker or ""
    names = (
        here.run(run.id),
        here.journal(run.id),
        here.due(lane),
        *here.indexes,
        here.owned(was),
        here.owned(worker),
        here.children_of(run.id),
    )
    change = {
        "id": run.id,
        "rev": "" if held is None else held.rev,
        "seq": "" if held is None else str(held.seq),
        "set": changed,
        "del": gone,
        "rows": one.rows,
        "keep": one.keep,
        "status": run.status.value,
        "created": str(micros(run.created_at)),
        "ended": "" if run.ended_at is None else str(micros(run.ended_at)),
        "pos": str(run.created_pos),
        "due": "" if run.due_at is None or worker else str(micros(run.due_at)),
        "place": place_of(run),
        "lane": lane,
        "owned": f"{run.created_pos}|{lane}",
        "was": was,
        "worker": worker,
        "asked": worker != "" and (run.cancel_requested or run.pause_requested),
        "alone": held is not None and held.children == 0 and one.ends,
        "intent": marks,
    }
    return evaluate(SAVE, here.tag, names, change)


def _difference(one: OneRun) -> tuple[list[str], list[str]]:
    """The fields to set, each followed by its value, and those to delete."""
    held = one.held
    new = one.written = write_run(one.run, one.seq, one.kept)
    if held is None:
        # No two runs have a version in common, not even two that have the same id one after the other.
        one.rev = str((one.run.created_pos << 24) + 1)
        return ["rev", one.rev, *chain.from_iterable(new.items())], []
    old = held.fields
    one.rev = str(int(held.rev) + 1)
    changed = ["rev", one.rev]
    for name, value in new.items():
        if old.get(name) != value:
            changed += (name, value)
    return changed, [name for name in old if name not in new and name not in _VERSION]


def save(act: Act, one: OneRun, intent: Intent | None = None, *, keeps_intent: bool = False) -> Saga[bool]:
    [reply] = yield [save_call(act, one, intent, keeps_intent=keeps_intent)]
    return bool(reply == 1)


def settle(act: Act, run_id: RunId, was: str, following: Intent | None = None) -> Saga[bool]:
    """The intent is done; ``following`` takes its place. False if somebody else has done so."""
    here = act.keys.of(run_id)
    [reply] = yield [
        evaluate(
            SETTLE,
            here.tag,
            (here.run(run_id), here.pending),
            {"id": run_id, "was": was, "value": "" if following is None else write_intent(following)},
        )
    ]
    return bool(reply == 1)
