"""Housekeeping in PostgreSQL: settings, pruning, and figures about the database."""

from __future__ import annotations

from datetime import UTC, datetime

from stepflow.storage._sql.rows import Micros
from stepflow.storage.postgres.link import Link
from stepflow.storage.postgres.operations import events, runs

_SET = "INSERT INTO @.settings (name, value) VALUES ($1, $2) ON CONFLICT DO NOTHING"
_GET = "SELECT value FROM @.settings WHERE name = $1"
_SIZE = """
SELECT sum(pg_total_relation_size(c.oid))::bigint FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = $1 AND c.relkind = 'r'
"""


async def setting(link: Link, name: str, default: bytes) -> bytes:
    """The stored value; the default is stored if there is none."""
    await link.fetch(_SET, name, default)
    value: bytes = (await link.fetch(_GET, name))[0][0]
    return value


async def prune(link: Link, *, ended_before: Micros | None, events_before: Micros | None, limit: int) -> int:
    """Delete ended runs, then events that no unfinished run may still ask for; how many of both."""
    gone = 0
    if ended_before is not None:
        gone += await runs.prune(link, ended_before, limit)
    if events_before is not None:
        oldest = await runs.oldest_unfinished(link)
        gone += await events.prune(link, events_before, None if oldest is None else oldest[1], limit)
    return gone


async def size(link: Link, schema: str) -> int:
    """Bytes of the schema's tables with their indexes."""
    found: int | None = (await link.fetch(_SIZE, schema))[0][0]
    return found or 0


async def durability(link: Link) -> str:
    """What the server's settings promise of an acknowledged write."""
    names = ["fsync", "synchronous_commit", "full_page_writes"]
    rows = await link.fetch("SELECT name, setting FROM pg_settings WHERE name = ANY($1::text[])", names)
    found = {row[0]: row[1] for row in rows}
    shown = ", ".join(f"{name}={found[name]}" for name in names if name in found)
    if found.get("fsync") == "off":
        return f"{shown}: a power loss may destroy the database"
    if found.get("synchronous_commit") == "off":
        return f"{shown}: a crash of the server may take the last writes"
    return f"{shown}: every acknowledged write survives a power loss of the server"


async def server_time(link: Link) -> datetime:
    now: datetime = (await link.fetch("SELECT clock_timestamp()"))[0][0]
    return now.astimezone(UTC)
