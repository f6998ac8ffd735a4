"""Checking what lies in Redis: every key of the store, where it must lie, and that the indexes name nothing that is not there."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from typing import Final, NamedTuple

import msgspec

from stepflow.storage.checking import Finding, Kind
from stepflow.storage.redis.calls import Call, command, on_store, pack
from stepflow.storage.redis.fields import StoredEvent, lane_of, place_of, read_event, read_place, read_run
from stepflow.storage.redis.keys import STORE, Keys, Partition
from stepflow.storage.redis.network import Network
from stepflow.storage.redis.operations.checking import check_run
from stepflow.storage.redis.operations.control import read_reservation
from stepflow.storage.redis.operations.events import WAKES
from stepflow.types import RunId

_PAGE: Final = 200
_LOOKS: Final = 3
_AT_ONCE: Final = 16
_BETWEEN: Final = 0.2
_UNREADABLE: Final = (msgspec.MsgspecError, ValueError, LookupError, TypeError)
_GLOB: Final = re.compile(rb"([*?\[\]\\])")
_ENDED: Final = ("completed", "failed", "cancelled")
_OF_RUNS: Final = frozenset({"run", "journal", "children", "addressed"})
_OF_EVENTS: Final = frozenset({"log", "known", "waiting"})


class Place(NamedTuple):
    """One key of the store, taken apart: ``due`` and ``["mail","send",0]``, or ``created`` and nothing."""

    here: Partition
    kind: str
    name: str
    key: bytes


class RedisCheck:
    """One check of an open store."""

    def __init__(self, network: Network, keys: Keys) -> None:
        self._network = network
        self._keys = keys
        self._used = 0

    async def all(self) -> AsyncIterator[Finding]:
        async for keys in self._scan():
            well: list[Place] = []
            for key in keys:
                place = self._place(key)
                misplaced = _nowhere(key) if place is None else self._misplaced(place)
                if misplaced is not None:
                    yield misplaced
                elif place is not None:
                    well.append(place)
            for finding in await self._runs([place for place in well if place.kind == "run"]):
                yield finding
            for place in well:
                async for finding in self._look_into(place):
                    yield finding
        for here in self._keys.partitions:
            async for finding in self._count(here):
                yield finding
        [given] = await self._network.perform([on_store("GET", self._keys.pos)], kept=False)
        if self._used > int(given or 0):
            detail = f"position {self._used} is in use, but the store's counter stands at {int(given or 0)}"
            yield Finding(what=Kind.POSITION_BEHIND, detail=detail)

    async def one(self, run_id: RunId) -> AsyncIterator[Finding]:
        for finding in await check_run(self._network, self._keys, run_id):
            yield finding

    async def run_ids(self) -> AsyncIterator[RunId]:
        async for keys in self._scan():
            for place in map(self._place, keys):
                if place is not None and place.kind == "run":
                    yield place.name

    # -------------------------------------------------------------- keys
    async def _scan(self) -> AsyncIterator[Sequence[bytes]]:
        """Every key of the store, some at a time, but those that it has once; one may come twice."""
        pattern = _GLOB.sub(rb"\\\1", self._keys.prefix) + b"{*"
        once = b"%b{%b}:" % (self._keys.prefix, STORE)
        for node in self._network.nodes:
            cursor = b"0"
            while True:
                request = pack([b"SCAN", cursor, b"MATCH", pattern, b"COUNT", b"%d" % _PAGE])
                [reply] = await node.exchange(request, 1)
                if isinstance(reply, Exception):
                    raise reply
                cursor, found = reply
                yield [key for key in found if not key.startswith(once)]
                if cursor == b"0":
                    break

    def _place(self, key: bytes) -> Place | None:
        for here in self._keys.partitions:
            if key.startswith(here.base):
                kind, _, name = key[len(here.base) :].decode().partition(":")
                return Place(here, kind, name, key)
        return None

    def _misplaced(self, place: Place) -> Finding | None:
        """A key whose id belongs to another partition: nobody looks for it here."""
        match place.kind:
            case kind if kind in _OF_RUNS or kind in _OF_EVENTS or kind == "key":
                owner = place.name
            case "to":
                owner = place.name.partition("/")[2]
            case _:
                return None
        if self._keys.of(owner) is place.here:
            return None
        run_id = place.name if place.kind in _OF_RUNS else None
        detail = (
            f"the key {place.key.decode()!r} belongs to the partition {self._keys.of(owner).tag.decode()}"
        )
        return Finding(what=Kind.MISPLACED, run_id=run_id, detail=detail)

    async def _look_into(self, place: Place) -> AsyncIterator[Finding]:
        here, name = place.here, place.name
        match place.kind:
            case "journal" | "addressed":
                if await self._missing(here, [name]) and await self._is_there(place):
                    detail = f"its {place.kind} is there, but there is no such run"
                    yield Finding(what=Kind.LEFT_OVER, run_id=name, detail=detail)
            case "created" | "ended" | "unfinished" | "requested":
                async for finding in self._index(place):
                    yield finding
            case "due":
                async for finding in self._lane(place):
                    yield finding
            case "owned":
                async for finding in self._owned(place):
                    yield finding
            case "pending":
                async for finding in self._pending(place):
                    yield finding
            case "log" | "to":
                async for finding in self._log(place):
                    yield finding
            case "events":
                async for finding in self._events(place):
                    yield finding
            case "key":
                async for finding in self._key(place):
                    yield finding
            case _:
                pass

    # -------------------------------------------------------------- runs and what names them
    async def _runs(self, places: Sequence[Place]) -> list[Finding]:
        """What is wrong with runs, some of them looked at together."""
        findings: list[Finding] = []
        for start in range(0, len(places), _AT_ONCE):
            some = places[start : start + _AT_ONCE]
            calls = [command(place.here.tag, "HGET", place.key, "created_pos") for place in some]
            found = await self._network.perform(calls, kept=False)
            self._used = max([self._used, *(int(pos) for pos in found if pos is not None and pos.isdigit())])
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._run(place.name)) for place in some]
            for task in tasks:
                findings += task.result()
        return findings

    async def _run(self, run_id: RunId) -> Sequence[Finding]:
        try:
            return await check_run(self._network, self._keys, run_id)
        except _UNREADABLE:
            return ()  # its record can't be read, which is found over the port

    async def _missing(self, here: Partition, run_ids: Sequence[RunId]) -> list[RunId]:
        """Those that are no runs, seen twice."""
        asked = list(run_ids)
        for look in range(2):
            if not asked:
                break
            if look:
                await asyncio.sleep(_BETWEEN)
            calls = [command(here.tag, "EXISTS", here.run(run_id)) for run_id in asked]
            replies = await self._network.perform(calls, kept=False)
            asked = [run_id for run_id, there in zip(asked, replies, strict=True) if not there]
        return asked

    async def _is_there(self, place: Place) -> bool:
        """Whether the key itself is there yet: a run that goes takes it along."""
        [found] = await self._network.perform([command(place.here.tag, "EXISTS", place.key)], kept=False)
        return bool(found)

    async def _index(self, place: Place) -> AsyncIterator[Finding]:
        scan = "SSCAN" if place.kind == "requested" else "ZSCAN"
        async for members in self._members(scan, place.here, place.key):
            missing = await self._missing(place.here, members)
            for run_id in await self._still(scan, place, missing):
                detail = f"the index {place.kind!r} names it, but there is no such run"
                yield Finding(what=Kind.LEFT_OVER, run_id=run_id, detail=detail)

    async def _lane(self, place: Place) -> AsyncIterator[Finding]:
        """A run that stands in a lane must be due in it: claimants would take it, whoever has it."""
        here = place.here
        async for members in self._members("ZSCAN", here, place.key):
            wrong = await self._not(members, lambda some: self._due_elsewhere(here, place.name, some))
            for member in await self._still("ZSCAN", place, wrong):
                detail = f"it stands in the lane {place.name}, but is not due there"
                yield Finding(what=Kind.INDEX_MISMATCH, run_id=member.partition("|")[2], detail=detail)

    async def _due_elsewhere(self, here: Partition, lane: str, members: Sequence[str]) -> list[str]:
        calls = [command(here.tag, "HGETALL", here.run(member.partition("|")[2])) for member in members]
        wrong: list[str] = []
        for member, reply in zip(members, await self._network.perform(calls, kept=False), strict=True):
            fields = {
                key.decode(): value.decode() for key, value in zip(reply[::2], reply[1::2], strict=True)
            }
            try:
                run = read_run(fields)
            except _UNREADABLE:
                if not fields:
                    wrong.append(member)
                continue
            if (
                run.due_at is None
                or run.worker is not None
                or (lane_of(run), place_of(run)) != (lane, member)
            ):
                wrong.append(member)
        return wrong

    async def _owned(self, place: Place) -> AsyncIterator[Finding]:
        here, worker = place.here, place.name.encode()
        async for members in self._members("HSCAN", here, place.key):

            async def others(run_ids: Sequence[RunId]) -> list[RunId]:
                calls = [command(here.tag, "HGET", here.run(run_id), "worker") for run_id in run_ids]
                replies = await self._network.perform(calls, kept=False)
                return [run_id for run_id, owner in zip(run_ids, replies, strict=True) if owner != worker]

            wrong = await self._not(members, others)
            for run_id in await self._still("HSCAN", place, wrong):
                detail = f"the worker {place.name} has it among its runs, but is not its owner"
                yield Finding(what=Kind.INDEX_MISMATCH, run_id=run_id, detail=detail)

    async def _pending(self, place: Place) -> AsyncIterator[Finding]:
        here = place.here
        async for members in self._members("ZSCAN", here, place.key):
            for name in members:
                if not name.startswith(WAKES):
                    detail = "a change of it is not all done yet"
                    yield Finding(what=Kind.UNSETTLED, run_id=name, detail=detail)

    async def _key(self, place: Place) -> AsyncIterator[Finding]:
        [value] = await self._network.perform([command(place.here.tag, "GET", place.key)], kept=False)
        if value is None:
            return
        reservation = read_reservation(value)
        there = self._keys.of(reservation.run)
        gone = not reservation.new and await self._missing(there, [reservation.run])
        if gone and await self._is_there(place):
            detail = f"the idempotency key {place.name!r} leads to it, but there is no such run"
            yield Finding(what=Kind.LEFT_OVER, run_id=reservation.run, detail=detail)

    # -------------------------------------------------------------- events
    async def _log(self, place: Place) -> AsyncIterator[Finding]:
        """One event id's events: each at its own position, and each listed among all."""
        here, start, before = place.here, 0, 0
        while True:
            [reply] = await self._network.perform(
                [command(here.tag, "ZRANGE", place.key, start, start + _PAGE - 1, "WITHSCORES")], kept=False
            )
            stored: list[StoredEvent] = []
            for text, score in zip(reply[::2], reply[1::2], strict=True):
                try:
                    event = read_event(text)
                except msgspec.MsgspecError as error:
                    detail = (
                        f"an event in {place.key.decode()!r} at {int(float(score))} can't be read: {error}"
                    )
                    yield Finding(what=Kind.RECORD_UNREADABLE, detail=detail)
                    continue
                if event.pos != int(float(score)) or event.pos <= before:
                    detail = f"event {event.event_id!r} says that it is at {event.pos}, but lies at {int(float(score))}"
                    yield Finding(what=Kind.POSITION_CLASH, run_id=event.run_id, detail=detail)
                before = max(before, event.pos)
                stored.append(event)
            self._used = max(self._used, before)
            for event in await self._unlisted(here, place.key, stored):
                detail = f"event {event.event_id!r} at {event.pos} is not listed: it would never be pruned"
                yield Finding(what=Kind.INDEX_MISMATCH, run_id=event.run_id, detail=detail)
            if len(reply) < 2 * _PAGE:
                return
            start += _PAGE

    async def _unlisted(
        self, here: Partition, log: bytes, events: Sequence[StoredEvent]
    ) -> list[StoredEvent]:
        calls = [command(here.tag, "ZSCORE", here.events, event.place) for event in events]
        calls += [command(here.tag, "ZCOUNT", log, event.pos, event.pos) for event in events]
        replies = await self._network.perform(calls, kept=False)
        listed, there = replies[: len(events)], replies[len(events) :]  # in order: gone from both is pruned
        return [event for event, at, n in zip(events, listed, there, strict=True) if at is None and n]

    async def _events(self, place: Place) -> AsyncIterator[Finding]:
        here = place.here
        async for members in self._members("ZSCAN", here, place.key):

            async def without(some: Sequence[str]) -> list[str]:
                calls: list[Call] = []
                for member in some:
                    pos, run_id, event_id = read_place(member)
                    calls.append(command(here.tag, "ZCOUNT", here.log(event_id, run_id), pos, pos))
                replies = await self._network.perform(calls, kept=False)
                return [member for member, found in zip(some, replies, strict=True) if not found]

            wrong = await self._not(members, without)
            for member in await self._still("ZSCAN", place, wrong):
                pos, run_id, event_id = read_place(member)
                detail = f"event {event_id!r} at {pos} is listed, but not in its log"
                yield Finding(what=Kind.INDEX_MISMATCH, run_id=run_id, detail=detail)

    # -------------------------------------------------------------- counts
    async def _count(self, here: Partition) -> AsyncIterator[Finding]:
        wrong: list[str] = []
        for look in range(_LOOKS):
            if look:
                await asyncio.sleep(_BETWEEN)
            replies = await self._network.perform(
                [
                    command(here.tag, "HGETALL", here.stats),
                    command(here.tag, "ZCARD", here.created),
                    command(here.tag, "ZCARD", here.ended),
                    command(here.tag, "ZCARD", here.events),
                ],
                kept=False,
            )
            flat, created, ended, events = replies
            stats = {name.decode(): int(value) for name, value in zip(flat[::2], flat[1::2], strict=True)}
            counted = stats.pop("events", 0)
            stats.pop("journal", 0)
            over = sum(stats.get(status, 0) for status in _ENDED)
            wrong = [
                f"{name}: counted {count}, there are {number}"
                for name, count, number in (
                    ("runs", sum(stats.values()), created),
                    ("ended runs", over, ended),
                    ("events", counted, events),
                )
                if count != number
            ]
            if not wrong:
                return
        for detail in wrong:
            where = f" (partition {here.tag.decode()})" if len(self._keys.partitions) > 1 else ""
            yield Finding(what=Kind.COUNT_MISMATCH, detail=detail + where)

    # -------------------------------------------------------------- pages
    async def _members(self, scan: str, here: Partition, key: bytes) -> AsyncIterator[list[str]]:
        """The members of a set, a sorted set or a hash, some at a time."""
        cursor = "0"
        while True:
            [(after, found)] = await self._network.perform(
                [command(here.tag, scan, key, cursor, "COUNT", _PAGE)], kept=False
            )
            members = found if scan == "SSCAN" else found[::2]
            yield [member.decode() for member in members]
            cursor = after.decode()
            if cursor == "0":
                return

    async def _not(
        self, members: Sequence[str], wrong: Callable[[Sequence[str]], Awaitable[list[str]]]
    ) -> list[str]:
        """Those that are wrong, seen twice."""
        suspects = await wrong(members) if members else []
        if not suspects:
            return []
        await asyncio.sleep(_BETWEEN)
        return await wrong(suspects)

    async def _still(self, scan: str, place: Place, members: Iterable[str]) -> list[str]:
        """Those that still are in the index."""
        verb = {"ZSCAN": "ZSCORE", "HSCAN": "HGET", "SSCAN": "SISMEMBER"}[scan]
        asked = list(members)
        if not asked:
            return []
        calls = [command(place.here.tag, verb, place.key, member) for member in asked]
        replies = await self._network.perform(calls, kept=False)
        return [member for member, reply in zip(asked, replies, strict=True) if reply not in (None, 0)]


def _nowhere(key: bytes) -> Finding:
    detail = f"the key {key.decode(errors='replace')!r} lies in no partition of the store"
    return Finding(what=Kind.MISPLACED, detail=detail)
