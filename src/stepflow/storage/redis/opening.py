"""Opening: is this a server that keeps what it is given, and is its store of our age?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from redis.exceptions import ResponseError

from stepflow.errors import SchemaError, StorageError, UnknownStorageError
from stepflow.storage.redis.calls import command, on_store, pack
from stepflow.storage.redis.errors import translate
from stepflow.storage.redis.keys import STORE, Keys
from stepflow.storage.redis.network import Network, Node
from stepflow.storage.redis.options import RedisOptions

SCHEMA: Final = 1
_OLDEST: Final = (6, 2)
_IN_A_CLUSTER: Final = 16


class _Schema(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the store says of itself."""

    version: int
    partitions: int


async def check(network: Network, options: RedisOptions) -> str:
    """Refuse a server that can't keep runs; the durability class of those that can, the weakest first."""
    classes: set[str] = set()
    for node in network.nodes:
        facts = await _facts(node)
        _check_version(node, facts)
        _check_mode(node, facts, options)
        policy = facts.get("maxmemory_policy", "noeviction")
        if policy.startswith("allkeys"):
            raise StorageError(
                f"Redis at {node.where} may drop keys (maxmemory-policy {policy}), and runs with them; "
                "set maxmemory-policy to noeviction"
            )
        classes.add(await durability(node, facts))
    return "; ".join(sorted(classes))


async def partitions(network: Network, options: RedisOptions) -> int:
    """Into how many partitions the store is spread: what it was made with, or what this first opening says."""
    wanted = options.partitions or (_IN_A_CLUSTER if options.cluster else 1)
    keys = Keys(options.prefix, 1)
    made = msgspec.json.encode(_Schema(SCHEMA, wanted))
    _, found = await network.perform(
        [on_store("SET", keys.schema, made, "NX"), command(STORE, "GET", keys.schema)]
    )
    try:
        schema = msgspec.json.decode(found, type=_Schema)
    except msgspec.DecodeError as error:
        raise SchemaError(
            f"{keys.schema.decode()} is not Stepflow's; give the store a prefix of its own with ?prefix="
        ) from error
    if schema.version > SCHEMA:
        raise SchemaError(
            f"the store {options.prefix!r} has schema {schema.version}, this release knows {SCHEMA}; upgrade stepflow"
        )
    if options.partitions not in (None, schema.partitions):
        raise UnknownStorageError(
            f"the store {options.prefix!r} was made with partitions={schema.partitions}, which can't be changed; "
            "leave the option out, or choose another prefix"
        )
    return schema.partitions


async def durability(node: Node, facts: Mapping[str, str]) -> str:
    """What the server promises of an acknowledged write."""
    if facts.get("aof_enabled") != "1":
        return "none: no AOF, a restart takes what came after the last snapshot"
    # Hosted servers forbid CONFIG; then the weaker of the two must be supposed.
    [found] = await node.exchange(pack([b"CONFIG", b"GET", b"appendfsync"]), 1)
    mode = "" if isinstance(found, ResponseError) or len(found) < 2 else found[1].decode()
    if mode == "always":
        return "AOF always: every acknowledged write survives a crash of the server"
    if mode == "no":
        return "AOF without fsync: a power loss may take the last half minute"
    if mode == "everysec":
        return "AOF everysec: a power loss may take the last second or two"
    return (
        "AOF, how often it is synced is not told: suppose that a power loss may take the last second or two"
    )


async def memory(network: Network) -> int:
    """Bytes that the servers use, for everything that lies on them."""
    total = 0
    for node in network.nodes:
        total += int((await _facts(node)).get("used_memory", 0))
    return total


async def _facts(node: Node) -> dict[str, str]:
    sections = (b"server", b"memory", b"persistence", b"cluster")
    replies = await node.exchange(b"".join(pack([b"INFO", section]) for section in sections), len(sections))
    facts: dict[str, str] = {}
    for reply in replies:
        if isinstance(reply, ResponseError):
            raise translate(reply, node.where) from reply
        facts.update(_read(reply))
    return facts


def _read(reply: Any) -> Mapping[str, str]:
    lines: Sequence[str] = reply.decode().splitlines()
    parts = (line.partition(":") for line in lines)
    return {name: value for name, _, value in parts}


def _check_version(node: Node, facts: Mapping[str, str]) -> None:
    version = facts.get("redis_version")
    if version is None:
        return  # some who speak the protocol don't tell; what is missing shows with the first script
    if tuple(int(part) for part in version.split(".")[:2] if part.isdecimal()) < _OLDEST:
        raise StorageError(
            f"Redis at {node.where} is version {version}; Stepflow needs 6.2 or newer, or Valkey"
        )


def _check_mode(node: Node, facts: Mapping[str, str], options: RedisOptions) -> None:
    clustered = facts.get("cluster_enabled") == "1"
    if clustered and not options.cluster:
        raise UnknownStorageError(f"Redis at {node.where} is part of a cluster; write redis+cluster://")
    if options.cluster and not clustered:
        raise UnknownStorageError(f"Redis at {node.where} is not part of a cluster; write redis://")
