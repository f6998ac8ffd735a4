"""Listing and housekeeping: pages of runs, what may go, what there is."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from stepflow.model.runs import RunFilter
from stepflow.storage._rules.listing import Place, matches
from stepflow.storage.redis.calls import command, evaluate, on_store
from stepflow.storage.redis.fields import micros, read_event, read_place
from stepflow.storage.redis.intents import RemoveIntent
from stepflow.storage.redis.keys import Keys, Partition
from stepflow.storage.redis.operations.control import FORGET, perform_remove
from stepflow.storage.redis.operations.finishing import finish
from stepflow.storage.redis.operations.records import Held, OneRun, load, load_many, save
from stepflow.storage.redis.sagas import Act, Saga
from stepflow.types import EventId, RunId

_PAGE: Final = 200
_ENDED: Final = frozenset({b"completed", b"failed", b"cancelled"})


# ------------------------------------------------------------------ listing
def newest(act: Act, where: RunFilter, after: Place | None, limit: int) -> Saga[list[Held]]:
    """Up to ``limit`` runs that the filter lets through, newest first, after a place."""
    found: list[Held] = []
    bound = None if after is None else (after.created_at, after.run_id)
    top = "+inf" if after is None else str(after.created_at)
    if where.created_before is not None:
        before = micros(where.created_before)
        top = f"({before}" if after is None or before <= after.created_at else top
    bottom = "-inf" if where.created_after is None else f"({micros(where.created_after)}"
    offsets = [0] * len(act.keys.partitions)
    while len(found) < limit:
        page, offsets, more = yield from _page(act, top, bottom, offsets, bound)
        held = yield from load_many(act, [run_id for _, run_id in page])
        found += [one for one in held if one is not None and matches(where, one.run)]
        if not more:
            break
    return found[:limit]


def _page(
    act: Act, top: str, bottom: str, offsets: Sequence[int], bound: tuple[int, RunId] | None
) -> Saga[tuple[list[tuple[int, RunId]], list[int], bool]]:
    """The next of all partitions' runs, newest first; where each partition goes on; whether there may be more."""
    replies = yield [
        command(here.tag, "ZREVRANGEBYSCORE", here.created, top, bottom, "WITHSCORES", "LIMIT", offset, _PAGE)
        for here, offset in zip(act.keys.partitions, offsets, strict=True)
    ]
    shares = [
        [(int(float(score)), run_id.decode()) for run_id, score in zip(reply[::2], reply[1::2], strict=True)]
        for reply in replies
    ]
    # A partition that filled its page may hold more, and newer ones than others have next: stop there.
    full = [share[-1] for share in shares if len(share) == _PAGE]
    floor = max(full, default=None)
    page: list[tuple[int, RunId]] = []
    following = list(offsets)
    for place, share in enumerate(shares):
        taken = [one for one in share if floor is None or one >= floor]
        following[place] += len(taken)
        page += taken
    page.sort(reverse=True)
    return [one for one in page if bound is None or one < bound], following, floor is not None


# ------------------------------------------------------------------ pruning runs
def prune_runs(act: Act, before: int, limit: int) -> Saga[int]:
    """Delete ended runs, the longest ended first, without those that a living parent may still ask for."""
    gone = 0
    offsets = [0] * len(act.keys.partitions)
    more = True
    while gone < limit and more:
        replies = yield [
            command(
                here.tag,
                "ZRANGEBYSCORE",
                here.ended,
                "-inf",
                f"({before}",
                "WITHSCORES",
                "LIMIT",
                offset,
                _PAGE,
            )
            for here, offset in zip(act.keys.partitions, offsets, strict=True)
        ]
        more = any(len(reply) == 2 * _PAGE for reply in replies)
        ended = heapq.merge(*(_scored(reply, at) for at, reply in enumerate(replies)))
        places = list(ended)
        held = yield from load_many(act, [run_id for _, run_id, _ in places])
        kept = yield from _kept(act, held)
        for one, stays, (_, _, partition) in zip(held, kept, places, strict=True):
            if one is None or stays or gone >= limit:
                offsets[partition] += one is not None
                continue
            gone += yield from _prune_run(act, one)
    return gone


def _scored(reply: Sequence[bytes], partition: int) -> list[tuple[int, RunId, int]]:
    return [
        (int(float(score)), run_id.decode(), partition)
        for run_id, score in zip(reply[::2], reply[1::2], strict=True)
    ]


def _kept(act: Act, held: Sequence[Held | None]) -> Saga[list[bool]]:
    """Which of the runs have an attached parent that has not ended."""
    parents = {
        one.run.parent.run_id
        for one in held
        if one is not None and one.run.parent is not None and not one.run.parent.detached
    }
    asked = sorted(parents)
    living: set[RunId] = set()
    if asked:
        places = [act.keys.of(parent) for parent in asked]
        replies = yield [
            command(here.tag, "HGET", here.run(parent), "status")
            for here, parent in zip(places, asked, strict=True)
        ]
        living = {
            parent
            for parent, status in zip(asked, replies, strict=True)
            if status is not None and status not in _ENDED
        }
    return [
        one is not None
        and one.run.parent is not None
        and not one.run.parent.detached
        and one.run.parent.run_id in living
        for one in held
    ]


def _prune_run(act: Act, held: Held | None) -> Saga[int]:
    while held is not None and held.run.status.ended:
        if held.intent is not None:
            yield from finish(act, held)
        elif (yield from save(act, OneRun(held), RemoveIntent())):
            yield from perform_remove(act, held.run.id)
            return 1
        held = yield from load(act, held.run.id)
    return 0


# ------------------------------------------------------------------ pruning events
def prune_events(act: Act, before: int, limit: int) -> Saga[int]:
    """Delete events older than that instant and than every unfinished run."""
    floor = yield from _floor(act)
    replies = yield [
        command(here.tag, "ZRANGEBYSCORE", here.events, "-inf", f"({before}") for here in act.keys.partitions
    ]
    old = sorted(
        (*read_place(place.decode()), at)
        for at, reply in enumerate(replies)
        for place in reply
        if int(place.partition(b"|")[0]) < floor
    )
    chosen = [(pos, run_id, event_id, act.keys.partitions[at]) for pos, run_id, event_id, at in old[:limit]]
    return (yield from _forget(chosen))


def _forget(chosen: Sequence[tuple[int, RunId | None, EventId, Partition]]) -> Saga[int]:
    if not chosen:
        return 0
    logs = yield [
        command(here.tag, "ZRANGEBYSCORE", here.log(event_id, run_id), pos, pos)
        for pos, run_id, event_id, here in chosen
    ]
    calls = [
        evaluate(
            FORGET,
            here.tag,
            (here.log(event_id, run_id), here.known(event_id), here.events, here.stats),
            [(str(event.pos), event.place, event.fields) for event in map(read_event, log)],
        )
        for (_, run_id, event_id, here), log in zip(chosen, logs, strict=True)
        if log
    ]
    if not calls:
        return 0
    replies = yield calls
    return sum(replies)


def _floor(act: Act) -> Saga[int]:
    """The ``created_pos`` of the oldest unfinished run; without one, after everything."""
    # The sequence first: a run created meanwhile is younger than what it says.
    [last] = yield [on_store("GET", act.keys.pos)]
    oldest = yield from oldest_unfinished(act.keys)
    return int(last or 0) + 1 if oldest is None else oldest[0]


def oldest_unfinished(keys: Keys) -> Saga[tuple[int, RunId] | None]:
    replies = yield [
        command(here.tag, "ZRANGE", here.unfinished, 0, 0, "WITHSCORES") for here in keys.partitions
    ]
    return min(((int(float(reply[1])), reply[0].decode()) for reply in replies if reply), default=None)


# ------------------------------------------------------------------ counting
class Counts(NamedTuple):
    """What ``storage info`` shows of the runs."""

    runs: Mapping[str, int]
    journal: int
    events: int


def count(keys: Keys) -> Saga[Counts]:
    replies = yield [command(here.tag, "HGETALL", here.stats) for here in keys.partitions]
    total: dict[str, int] = {}
    for reply in replies:
        for name, number in _pairs(reply):
            total[name] = total.get(name, 0) + int(number)
    journal, events = total.pop("journal", 0), total.pop("events", 0)
    return Counts({name: number for name, number in total.items() if number}, journal, events)


def _pairs(reply: Sequence[Any]) -> list[tuple[str, str]]:
    return [(name.decode(), value.decode()) for name, value in zip(reply[::2], reply[1::2], strict=True)]
