"""The network: connections to one server or to a cluster's masters, and batches of calls over them.

The driver connects, authenticates and reads replies; whole batches are packed here and sent as one piece, which
costs a small part of what a command at a time does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any, Final, Protocol, TypeAlias, cast

from redis.asyncio.connection import Connection, SSLConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AskError, MovedError, NoScriptError, RedisError, ResponseError

from stepflow.errors import StorageError, StorageUnavailableError
from stepflow.storage.redis.calls import Call, joined, pack
from stepflow.storage.redis.errors import code_of, translate
from stepflow.storage.redis.keys import slot_of
from stepflow.storage.redis.options import RedisOptions

Address: TypeAlias = tuple[str, int]

_ASKING: Final = pack([b"ASKING"])
_REDIRECTS: Final = 8
"""How often one call may be sent elsewhere before the cluster counts as busy moving."""


def connection_arguments(options: RedisOptions, address: Address) -> dict[str, Any]:
    """What a connection of the driver, blocking or not, is made with."""
    arguments: dict[str, Any] = {
        "host": address[0],
        "port": address[1],
        "db": options.db,
        "username": options.username,
        "password": options.password,
        "protocol": 2,
        "socket_connect_timeout": options.timeout,
    }
    if options.tls:
        arguments["ssl_cert_reqs"] = "required" if options.verify else "none"
        arguments["ssl_check_hostname"] = options.verify
        if options.ca_certs is not None:
            arguments["ssl_ca_certs"] = options.ca_certs
    return arguments


def moved_to(error: AskError, asked: Address) -> Address:
    """Where a server says that a slot is; a server that does not know its own name means its own host."""
    host = str(error.host)  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType] - the driver's, unannotated
    return host or asked[0], error.port


class Link(Protocol):
    """What is used of the driver's connection."""

    @property
    def is_connected(self) -> bool: ...
    async def connect(self) -> None: ...
    async def send_packed_command(self, command: Iterable[bytes], check_health: bool = True) -> None: ...
    async def read_response(self, disable_decoding: bool = False) -> Any: ...
    async def disconnect(self, nowait: bool = False) -> None: ...


class Node:
    """One server: a few connections, each used by one batch at a time."""

    def __init__(self, options: RedisOptions, address: Address) -> None:
        self.address = address
        self.where = f"{address[0]}:{address[1]}"
        self._options = options
        self._idle: list[Link] = []
        self._room = asyncio.Semaphore(options.connections)
        # Half of the time that the round trip may take: the server counts in tenths of a second.
        self._wait = pack([b"WAIT", b"%d" % options.replicas, b"%d" % (options.timeout * 500)])

    async def exchange(self, packed: bytes, count: int, *, kept: bool = False) -> list[Any]:
        """Send calls and return their replies, errors that the server answered among them.

        ``kept``: they write, so wait for the replicas that the options ask for. Raises ``StorageUnavailableError`` if the
        end is not known.
        """
        wait = kept and self._options.replicas > 0
        try:
            async with asyncio.timeout(self._options.timeout), self._room:
                link = self._idle.pop() if self._idle else self.connection()
                replies = await self._converse(link, packed + self._wait if wait else packed, count + wait)
        except (RedisError, OSError, TimeoutError, EOFError) as error:
            await self.drop()
            raise translate(error, self.where) from error
        if wait:
            reached = replies.pop()
            if not isinstance(reached, int) or reached < self._options.replicas:
                raise StorageUnavailableError(
                    f"Redis at {self.where}: {reached} of {self._options.replicas} replicas have the write; "
                    "it is sent again, or open the storage with fewer ?replicas="
                )
        return replies

    async def _converse(self, link: Link, packed: bytes, count: int) -> list[Any]:
        replies: list[Any] = []
        whole = False
        try:
            if not link.is_connected:
                await link.connect()
            await link.send_packed_command([packed], check_health=False)
            for _ in range(count):
                try:
                    replies.append(await link.read_response(disable_decoding=True))
                except ResponseError as error:
                    replies.append(error)
            whole = True
        finally:
            if whole:
                self._idle.append(link)
            else:
                # A reply to this may still be on its way: nobody else must read it.
                await link.disconnect(nowait=True)
        return replies

    def connection(self) -> Link:
        """A new connection, not yet connected."""
        made = SSLConnection if self._options.tls else Connection
        arguments = connection_arguments(self._options, self.address)
        return cast("Link", made(**arguments, socket_timeout=None, retry=Retry(NoBackoff(), 0)))

    async def drop(self) -> None:
        """Forget the idle connections: their server may have gone, or be no master any more."""
        links, self._idle = self._idle, []
        for link in links:
            await link.disconnect(nowait=True)

    async def close(self) -> None:
        links, self._idle = self._idle, []
        for link in links:
            await link.disconnect()


class Network:
    """Every server of the store, and which of them answers for a tag."""

    def __init__(self, options: RedisOptions) -> None:
        self._options = options
        self._nodes: dict[Address, Node] = {}
        self._slots: list[Address] = []
        self._slot_of: dict[bytes, int] = {}

    # -------------------------------------------------------------- life cycle
    async def connect(self) -> None:
        """Reach the server, or learn the cluster's slots."""
        if self._options.cluster:
            await self._learn()
        else:
            await self._node(self._options.nodes[0]).exchange(pack([b"PING"]), 1)

    async def close(self) -> None:
        nodes, self._nodes = self._nodes, {}
        for node in nodes.values():
            await node.close()

    @property
    def nodes(self) -> list[Node]:
        """The servers that hold the store's keys."""
        if not self._options.cluster:
            return [self._node(self._options.nodes[0])]
        return [self._node(address) for address in dict.fromkeys(self._slots)]

    def node_of(self, tag: bytes) -> Node:
        """The server that answers for a tag."""
        if not self._options.cluster:
            return self._node(self._options.nodes[0])
        slot = self._slot_of.get(tag)
        if slot is None:
            slot = self._slot_of[tag] = slot_of(tag)
        return self._node(self._slots[slot])

    def _node(self, address: Address) -> Node:
        node = self._nodes.get(address)
        if node is None:
            node = self._nodes[address] = Node(self._options, address)
        return node

    async def _learn(self) -> None:
        """Ask any node that answers which master has which slots."""
        trouble: StorageError | None = None
        for address in dict.fromkeys((*self._nodes, *self._options.nodes)):
            node = self._node(address)
            try:
                [reply] = await node.exchange(pack([b"CLUSTER", b"SLOTS"]), 1)
            except StorageUnavailableError as error:
                trouble = error
                continue
            if isinstance(reply, ResponseError):
                raise translate(reply, node.where)
            slots = _slots(reply, node.address[0])
            if all(host for host, _ in slots):
                self._slots = slots
                return
            trouble = StorageUnavailableError(
                f"the cluster at {node.where} has slots that nobody serves; try again"
            )
        raise trouble or StorageUnavailableError("the cluster has no nodes")

    # -------------------------------------------------------------- calls
    async def perform(self, calls: Sequence[Call], *, kept: bool = True) -> list[Any]:
        """The replies, in order. Calls to one server are done in order; an error reply is raised."""
        if not self._options.cluster:
            replies = await self._exchange(self._node(self._options.nodes[0]), calls, kept=kept)
        else:
            replies = await self._spread(calls, kept=kept)
        for call, reply in zip(calls, replies, strict=True):
            if isinstance(reply, ResponseError):
                node = self.node_of(call.tag)
                if code_of(reply) == "READONLY":
                    await node.drop()  # the next connection finds the new master
                raise translate(reply, node.where) from reply
        return replies

    async def _exchange(
        self, node: Node, calls: Sequence[Call], *, kept: bool, asking: bool = False
    ) -> list[Any]:
        """All calls to one server; scripts that it does not have are loaded, and those calls made again."""
        packed = joined(calls) if not asking else b"".join([_ASKING + call.packed for call in calls])
        replies = await node.exchange(packed, len(calls) * (2 if asking else 1), kept=kept)
        if asking:
            replies = replies[1::2]
        missing = [place for place, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
        if missing:
            again = [calls[place] for place in missing]
            scripts = {call.script for call in again if call.script is not None}
            loads = b"".join(pack([b"SCRIPT", b"LOAD", script.text]) for script in scripts)
            await node.exchange(loads, len(scripts))
            for place, reply in zip(
                missing, await self._exchange(node, again, kept=kept, asking=asking), strict=True
            ):
                replies[place] = reply
        return replies

    async def _spread(self, calls: Sequence[Call], *, kept: bool) -> list[Any]:
        """Calls to a cluster: each server gets its own, and what has moved is asked where it is now."""
        replies: list[Any] = [None] * len(calls)
        left = [(place, self.node_of(call.tag), False) for place, call in enumerate(calls)]
        for _ in range(_REDIRECTS):
            await self._send(calls, left, replies, kept=kept)
            left = await self._redirected(calls, (place for place, _, _ in left), replies)
            if not left:
                break
        return replies

    async def _send(
        self, calls: Sequence[Call], left: Sequence[tuple[int, Node, bool]], replies: list[Any], *, kept: bool
    ) -> None:
        shares: dict[tuple[Node, bool], list[int]] = {}
        for place, node, asking in left:
            shares.setdefault((node, asking), []).append(place)

        async def ask(node: Node, asking: bool, places: list[int]) -> None:
            share = [calls[place] for place in places]
            for place, reply in zip(
                places, await self._exchange(node, share, kept=kept, asking=asking), strict=True
            ):
                replies[place] = reply

        try:
            if len(shares) == 1:
                [((node, asking), places)] = shares.items()
                await ask(node, asking, places)
                return
            async with asyncio.TaskGroup() as group:
                for (node, asking), places in shares.items():
                    group.create_task(ask(node, asking, places))
        except (StorageError, ExceptionGroup) as errors:
            error = _first(errors)
            if isinstance(error, StorageUnavailableError):
                await self._relearn()
            raise error from None

    async def _redirected(
        self, calls: Sequence[Call], places: Iterable[int], replies: list[Any]
    ) -> list[tuple[int, Node, bool]]:
        """The calls that must be made elsewhere, and where."""
        elsewhere: list[tuple[int, Node, bool]] = []
        moved = False
        for place in places:
            reply = replies[place]
            if isinstance(reply, MovedError):
                moved = True
                address = moved_to(reply, self.node_of(calls[place].tag).address)
                self._slots[reply.slot_id] = address
                elsewhere.append((place, self._node(address), False))
            elif isinstance(reply, AskError):
                address = moved_to(reply, self.node_of(calls[place].tag).address)
                elsewhere.append((place, self._node(address), True))
        if moved:
            await self._relearn()
        return elsewhere

    async def _relearn(self) -> None:
        """The cluster has changed: learn how, if anybody can tell."""
        try:
            await self._learn()
        except StorageUnavailableError:
            return  # what was known stays; whoever asks next learns again


def _first(error: Exception) -> StorageError:
    """The first of a group's errors; each is one of ours."""
    found: BaseException = error
    while isinstance(found, BaseExceptionGroup):
        found = cast("BaseExceptionGroup[BaseException]", found).exceptions[0]
    if isinstance(found, StorageError):
        return found
    raise found


def _slots(reply: Any, asked: str) -> list[Address]:
    """``CLUSTER SLOTS`` as the master of each slot; ("", 0) where there is none."""
    slots: list[Address] = [("", 0)] * 16_384
    for first, last, master, *_ in reply:
        host = (master[0] or b"").decode() or asked
        slots[first : last + 1] = [(host, int(master[1]))] * (last + 1 - first)
    return slots
