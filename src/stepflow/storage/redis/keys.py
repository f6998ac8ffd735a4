"""Keys: what lies where. Everything of a run lies in one hash slot, everything of an event id in one.

Runs, event ids and idempotency keys are spread over *partitions*, by a digest of their id. All keys of a partition share a hash
tag, hence a slot: so a run changes together with every index that mentions it (what is due, whose it is, what
has ended), in one script. What a write does beyond the run's partition is done by steps that are safe to repeat
(see ``intents``). One server needs one partition; a cluster has as many masters at work as it has partitions.
"""

from __future__ import annotations

from binascii import crc_hqx
from typing import Final
from zlib import crc32

from stepflow.types import EventId, RunId, WorkerId

SLOTS: Final = 16_384
STORE: Final = b"store"
"""The tag of what the store has once: the sequence of positions, the workers, the settings."""


def slot_of(tag: bytes) -> int:
    """The hash slot of a tag."""
    return crc_hqx(tag, 0) % SLOTS


def tags(partitions: int) -> tuple[bytes, ...]:
    """One tag for each partition, whose slots lie evenly in the cluster's range."""
    found: list[bytes] = []
    for partition in range(partitions):
        low, high = partition * SLOTS // partitions, (partition + 1) * SLOTS // partitions
        number = 0
        while not low <= slot_of(b"%d.%d" % (partition, number)) < high:
            number += 1
        found.append(b"%d.%d" % (partition, number))
    return tuple(found)


class Partition:
    """The names of one partition's keys. ``runs`` and the like begin the name of a key for each run."""

    __slots__ = (
        "base", "created", "ended", "events", "indexes", "lanes", "outbox", "owners", "pending", "requested", "stats", "tag", "unfinished",
    )  # fmt: skip

    def __init__(self, prefix: bytes, tag: bytes) -> None:
        base = b"%b{%b}:" % (prefix, tag)
        self.tag = tag
        self.base = base
        self.created = base + b"created"
        self.ended = base + b"ended"
        self.unfinished = base + b"unfinished"
        self.lanes = base + b"lanes"
        self.owners = base + b"owners"
        self.outbox = base + b"outbox"
        self.pending = base + b"pending"
        self.requested = base + b"requested"
        self.stats = base + b"stats"
        self.events = base + b"events"
        self.indexes = (
            self.lanes,
            self.created,
            self.ended,
            self.unfinished,
            self.stats,
            self.owners,
            self.pending,
            self.requested,
        )
        """What a change of a run keeps up to date, in the order of the script that does."""

    # of a run
    def run(self, run_id: RunId) -> bytes:
        return b"%brun:%b" % (self.base, run_id.encode())

    def journal(self, run_id: RunId) -> bytes:
        return b"%bjournal:%b" % (self.base, run_id.encode())

    def children_of(self, run_id: RunId) -> bytes:
        return b"%bchildren:%b" % (self.base, run_id.encode())

    def addressed(self, run_id: RunId) -> bytes:
        """The ids of the events that were addressed to the run."""
        return b"%baddressed:%b" % (self.base, run_id.encode())

    # of what may be claimed
    def due(self, lane: str) -> bytes:
        return b"%bdue:%b" % (self.base, lane.encode())

    def owned(self, worker: WorkerId) -> bytes:
        return b"%bowned:%b" % (self.base, worker.encode())

    # of an event id
    def log(self, event_id: EventId, run_id: RunId | None) -> bytes:
        """The events for all, or those for one run (a run's id has no ``/``)."""
        if run_id is None:
            return b"%blog:%b" % (self.base, event_id.encode())
        return b"%bto:%b/%b" % (self.base, run_id.encode(), event_id.encode())

    def known(self, event_id: EventId) -> bytes:
        """The last position, and where each event with a ``dedup_id`` lies."""
        return b"%bknown:%b" % (self.base, event_id.encode())

    def waiting(self, event_id: EventId) -> bytes:
        return b"%bwaiting:%b" % (self.base, event_id.encode())

    # of an idempotency key
    def key(self, idempotency_key: str) -> bytes:
        return b"%bkey:%b" % (self.base, idempotency_key.encode())


class Keys:
    """The names of a store's keys."""

    def __init__(self, prefix: str, partitions: int) -> None:
        encoded = prefix.encode()
        self.prefix = encoded
        self.partitions = tuple(Partition(encoded, tag) for tag in tags(partitions))
        store = b"%b{%b}:" % (encoded, STORE)
        self.schema = store + b"schema"
        self.pos = store + b"pos"
        self.workers = store + b"workers"
        self.leases = store + b"leases"
        self.names = store + b"names"
        self.settings = store + b"settings"
        self.sessions = store + b"sessions"
        self.channel = encoded + b"wakeups"

    def of(self, what: str) -> Partition:
        """Where a run, an event id or an idempotency key lies."""
        partitions = self.partitions
        if len(partitions) == 1:
            return partitions[0]
        return partitions[crc32(what.encode()) % len(partitions)]
