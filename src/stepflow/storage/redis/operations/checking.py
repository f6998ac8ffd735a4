"""Checking one run in Redis: its hash against every index that must, or must not, mention it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, Final, NamedTuple

from stepflow.storage.checking import Finding, Kind
from stepflow.storage.redis.calls import Call, command
from stepflow.storage.redis.fields import lane_of, micros, place_of
from stepflow.storage.redis.intents import RemoveIntent, read_wake
from stepflow.storage.redis.keys import Keys
from stepflow.storage.redis.network import Network
from stepflow.storage.redis.operations.control import read_reservation
from stepflow.storage.redis.operations.records import Held, held_of, load_call
from stepflow.types import RunId

_LOOKS: Final = 5
_BETWEEN: Final = 0.2
"""Seconds between two looks at what seems wrong: a live process may be between two of its steps."""


class Expected(NamedTuple):
    """What a command must answer for the run to be well indexed, and how to say it if it does not."""

    call: Call
    reply: Any
    what: Kind
    detail: str


async def check_run(network: Network, keys: Keys, run_id: RunId) -> list[Finding]:
    """What is wrong with the run's indexes; seen at least twice while the run did not change, or the run is busy and well."""
    findings: list[Finding] = []
    for look in range(_LOOKS):
        if look:
            await asyncio.sleep(_BETWEEN)
        seen = await _look(network, keys, run_id)
        if seen is None:
            continue
        if not seen or (look and seen == findings):
            return seen
        findings = seen
    return []


async def _look(network: Network, keys: Keys, run_id: RunId) -> list[Finding] | None:
    """What seems wrong now; None if the run changed meanwhile."""
    [reply] = await network.perform([load_call(keys, run_id)], kept=False)
    held = held_of(reply)
    if held is None:
        return []
    if isinstance(held.intent, RemoveIntent):
        return []  # on its way out: whoever comes upon it removes the rest
    wanted = list(_expected(keys, held))
    replies = await network.perform([one.call for one in wanted], kept=False)
    [again] = await network.perform([load_call(keys, run_id)], kept=False)
    after = held_of(again)
    if after is None or (after.rev, after.seq, after.intent_text) != (held.rev, held.seq, held.intent_text):
        return None
    return [
        Finding(what=one.what, run_id=run_id, detail=one.detail)
        for one, reply in zip(wanted, replies, strict=True)
        if not _same(one.reply, reply)
    ]


def _same(wanted: Any, reply: Any) -> bool:
    if isinstance(wanted, float):
        return reply is not None and float(reply) == wanted
    if callable(wanted):
        return bool(wanted(reply))
    return bool(wanted == reply)


def _expected(keys: Keys, held: Held) -> Iterator[Expected]:
    run, here = held.run, keys.of(held.run.id)
    rows = held.seq - run.first_seq + 1
    yield Expected(
        command(here.tag, "LLEN", here.journal(run.id)),
        rows,
        Kind.JOURNAL_GAP,
        f"its hash counts {rows} rows, its journal has another number",
    )
    yield from _listed(keys, held)
    yield from _claimable(keys, held)
    yield from _related(keys, held)


def _listed(keys: Keys, held: Held) -> Iterator[Expected]:
    run, here = held.run, keys.of(held.run.id)
    ended = None if run.ended_at is None else float(micros(run.ended_at))
    unfinished = None if run.status.ended else float(run.created_pos)
    for name, key, score in (
        ("created", here.created, float(micros(run.created_at))),
        ("ended", here.ended, ended),
        ("unfinished", here.unfinished, unfinished),
    ):
        detail = f"{run.status}, but the index {name!r} has it in a wrong place or not at all"
        if score is None:
            detail = f"{run.status}, but the index {name!r} has it"
        yield Expected(command(here.tag, "ZSCORE", key, run.id), score, Kind.INDEX_MISMATCH, detail)


def _claimable(keys: Keys, held: Held) -> Iterator[Expected]:
    run, here = held.run, keys.of(held.run.id)
    lane = lane_of(run)
    due = None if run.due_at is None or run.worker is not None else float(micros(run.due_at))
    detail = (
        f"{run.status}, but its lane has it as due"
        if due is None
        else f"due at {run.due_at}, but not in its lane"
    )
    yield Expected(
        command(here.tag, "ZSCORE", here.due(lane), place_of(run)), due, Kind.INDEX_MISMATCH, detail
    )
    if due is not None:
        detail = "it is due, but no claimant looks into its lane"
        yield Expected(command(here.tag, "SISMEMBER", here.lanes, lane), 1, Kind.INDEX_MISMATCH, detail)
    if run.worker is not None:
        owned = f"{run.created_pos}|{lane}".encode()
        detail = f"owned by {run.worker}, but not among its runs: nobody would take it over"
        yield Expected(
            command(here.tag, "HGET", here.owned(run.worker), run.id), owned, Kind.INDEX_MISMATCH, detail
        )
        yield Expected(
            command(here.tag, "SISMEMBER", here.owners, run.worker), 1, Kind.INDEX_MISMATCH, detail
        )
    asked = run.worker is not None and (run.cancel_requested or run.pause_requested)
    detail = (
        "its owner does not hear what is asked of it" if asked else "its owner is asked for what nobody wants"
    )
    yield Expected(
        command(here.tag, "SISMEMBER", here.requested, run.id), int(asked), Kind.INDEX_MISMATCH, detail
    )
    if held.intent is not None:
        detail = "something is left to be done for it, but no sweeper would find it"
        yield Expected(
            command(here.tag, "ZSCORE", here.pending, run.id), _is_there, Kind.INDEX_MISMATCH, detail
        )


def _related(keys: Keys, held: Held) -> Iterator[Expected]:
    """What lies in other partitions."""
    run = held.run
    for event_id in held.waits:
        there = keys.of(event_id)
        detail = f"waits for {event_id!r}, but that event would not wake it"
        yield Expected(
            command(there.tag, "HEXISTS", there.waiting(event_id), run.id), 1, Kind.WAIT_MISMATCH, detail
        )
    if run.idempotency_key is not None:
        there = keys.of(run.idempotency_key)
        detail = f"its idempotency key {run.idempotency_key!r} does not lead to it"
        yield Expected(
            command(there.tag, "GET", there.key(run.idempotency_key)),
            partial(_leads_to, run.id),
            Kind.INDEX_MISMATCH,
            detail,
        )
    if run.parent is not None and not run.parent.detached and not run.status.ended:
        there, parent = keys.of(run.parent.run_id), run.parent.run_id
        detail = f"its parent {parent} does not know it: it would not be cancelled with it"
        yield Expected(
            command(there.tag, "SISMEMBER", there.children_of(parent), run.id), 1, Kind.CHILD_MISMATCH, detail
        )


def _leads_to(run_id: RunId, value: bytes | None) -> bool:
    return value is not None and read_reservation(value).run == run_id


def _is_there(reply: Any) -> bool:
    return reply is not None


async def unsettled(network: Network, keys: Keys, run_ids: Sequence[RunId]) -> frozenset[RunId]:
    """Those of which something is left to do: an intent of their own or of a child, or an event that is about to wake them."""
    found: set[RunId] = set()
    for run_id in run_ids:
        here = keys.of(run_id)
        reply, members = await network.perform(
            [load_call(keys, run_id), command(here.tag, "SMEMBERS", here.children_of(run_id))], kept=False
        )
        held = held_of(reply)
        family = [run_id, *(member.decode() for member in members)]
        if await _has_intent(network, keys, family) or (
            held is not None and await _is_woken(network, keys, held)
        ):
            found.add(run_id)
    return frozenset(found)


async def _has_intent(network: Network, keys: Keys, run_ids: Sequence[RunId]) -> bool:
    calls: list[Call] = []
    for run_id in run_ids:
        here = keys.of(run_id)
        calls.append(command(here.tag, "HEXISTS", here.run(run_id), "intent"))
    return 1 in await network.perform(calls, kept=False)


async def _is_woken(network: Network, keys: Keys, held: Held) -> bool:
    """Whether an event that the run waits for is there and its sender has not come to wake it yet."""
    for event_id in held.waits:
        there = keys.of(event_id)
        [left] = await network.perform([command(there.tag, "HVALS", there.outbox)], kept=False)
        if any(read_wake(text).event_id == event_id for text in left):
            return True
    return False
