"""Row J4 and J5, measured: a reader that does not read, and many who have nothing to read, in a server of their own process."""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import socket
import sys
import termios
import threading
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from stepflow import workflow
from stepflow.app import Stepflow
from stepflow.http.hosting import service_of
from stepflow.primitives import step, wait_for_event
from stepflow.testing.adapter_contract.serving import Process, eventually, free_port
from stepflow.wire.sse import HEARTBEAT, Message, Parser
from tests.servers.running import answers
from tests.servers.stores import FULL

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="what a process uses is read in /proc"
)

PROGRAM = "tests.http.programs.measured_asgi:application"
VALUE = 60_000
"""Bytes of each step's result: a little less than what would be left out."""
STEPS = 1_700 if FULL else 250
STREAMS = 2_000 if FULL else 200
WATCHED = 10.0 if FULL else 2.0
"""Seconds for which the cost of idle streams is looked at."""
MEGABYTE = 2**20


@step
async def bulk(number: int) -> str:
    return f"{number:08}" * (VALUE // 8)


@workflow
async def bulky(count: int) -> int:
    await wait_for_event("go")
    for number in range(count):
        await bulk(number)
    return count


class Measured:
    """A server in a process of its own."""

    def __init__(self, pid: int, port: int) -> None:
        self.pid = pid
        self.port = port

    def memory(self, what: str = "VmRSS") -> float:
        """Megabytes that it uses; or used at most (VmHWM)."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(what))

    def seconds(self) -> float:
        """Seconds of a processor that it has used."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def files(self) -> int:
        return sum(1 for _ in Path(f"/proc/{self.pid}/fd").iterdir())

    def forget_peak(self) -> None:
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")

    async def stream(self, run_id: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """An open stream, whose header has been read. Little of it is kept on the way."""
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", self.port))
        reader, writer = await asyncio.open_connection(sock=sock, limit=2**16)
        writer.write(f"GET /runs/{run_id}/stream HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200"), head
        return reader, writer


@asynccontextmanager
async def measured(storage: str, folder: Path, heartbeat: str = "15s") -> AsyncGenerator[Measured]:
    port = free_port()
    command = [
        "env", f"HEARTBEAT={heartbeat}",
        sys.executable, "-m", "uvicorn", PROGRAM, "--port", str(port), "--log-level", "warning", "--http", "h11",
    ]  # fmt: skip
    process = Process(command, storage=storage, log=folder / "server.log")
    try:
        await asyncio.to_thread(eventually, lambda: process.ended or answers(port))
        assert not process.ended, process.log
        yield Measured(process.pid, port)
    finally:
        await asyncio.to_thread(process.stop)


async def chunks_of(reader: asyncio.StreamReader) -> AsyncGenerator[bytes]:
    """The body, of an answer in chunks (RFC 9112, section 7.1)."""
    while size := int(await reader.readline(), 16):
        yield (await reader.readexactly(size + 2))[:-2]


async def messages_of(reader: asyncio.StreamReader) -> AsyncGenerator[Message]:
    parser = Parser(limit=64 * MEGABYTE)
    async for chunk in chunks_of(reader):
        for message in parser.feed(chunk):
            yield message


def unread(writer: asyncio.StreamWriter) -> int:
    """Bytes that have arrived at this end, and that nobody has taken."""
    sock = writer.get_extra_info("socket")
    return int.from_bytes(fcntl.ioctl(sock.fileno(), termios.FIONREAD, bytes(4)), sys.byteorder)


@pytest.mark.timeout(300)
@pytest.mark.deadline(280)
async def test_a_reader_that_does_not_read_costs_no_memory_and_misses_nothing(tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path}/slow.db"
    app = Stepflow(storage, workflows=[bulky], worker=True)
    async with app, measured(storage, tmp_path) as server:
        run = await app.trigger(bulky, STEPS)
        await until_suspended(app, run.id)
        reader, writer = await server.stream(run.id)
        messages = messages_of(reader)
        first = await anext(messages)
        before = server.memory()
        server.forget_peak()

        await app.notify("go", None)
        await asyncio.to_thread(eventually, lambda: unread(writer) > 10_000)
        await run.result()
        seen = [await anext(messages) for _ in range(3)]
        unheard = server.memory("VmHWM") - before
        seen += [message async for message in messages]
        in_all = server.memory("VmHWM") - before
        writer.close()

    said("slow", f"{STEPS * VALUE / MEGABYTE:.0f} MB: +{unheard:.1f} MB unread, +{in_all:.1f} MB in all")
    assert first.event == "run"
    assert seen[-1].event in ("execution:complete", "run")
    # In the end there are a few copies of one snapshot, of 200 steps of at most 64 KiB each; 97 MB of journal made 190 MB of it once.
    assert unheard < 30, "what nobody reads piles up in the server"
    assert in_all < 140, "a snapshot of the last steps was made out of all that there ever were"


@pytest.mark.timeout(300)
@pytest.mark.deadline(280)
async def test_idle_streams_cost_little_and_are_given_back(tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path}/idle.db"
    async with Stepflow(storage, workflows=[bulky]) as app, measured(storage, tmp_path, "5s") as server:
        runs = [(await app.trigger(bulky, 0)).id for _ in range(STREAMS)]
        async with AsyncExitStack() as stack:
            reader, writer = await server.stream(runs[0])
            await anext(messages_of(reader))
            writer.close()  # what the first stream needs, all have
            memory, files = server.memory(), server.files()
            readers = []
            for run_id in runs:
                reader, writer = await server.stream(run_id)
                stack.callback(writer.close)
                messages = chunks_of(reader)
                while b"event: run" not in await anext(messages):
                    pass
                readers.append(messages)
            opened = server.memory() - memory
            beats = await asyncio.gather(*(anext(each) for each in readers))
            began = server.seconds()
            await asyncio.to_thread(threading.Event().wait, WATCHED)
            cost = (server.seconds() - began) / WATCHED
            grown = server.memory() - memory
        await asyncio.to_thread(eventually, lambda: server.files() <= files)

    said("idle", f"{STREAMS} streams: +{opened:.1f} MB, then +{grown:.1f} MB, {cost:.0%} of a processor")
    assert set(beats) == {HEARTBEAT}
    # Looked at one by one they took three quarters of a processor; what is left is mostly the heartbeats.
    assert cost < 0.1 + STREAMS * 0.000_15, "idle streams keep the server busy"
    assert grown < 10 + STREAMS * 0.1, "a tenth of a megabyte for each, at most"


def said(what: str, figures: str) -> None:
    """The figures, for whoever asks for them with ``-o log_cli=true -o log_cli_level=INFO``."""
    logging.getLogger("figures").info("%s: %s", what, figures)


async def until_suspended(app: Stepflow, run_id: str) -> None:
    service = service_of(app)
    changed = service.follower.watch(run_id)
    try:
        while (await service.record(run_id)).status != "suspended":
            changed.clear()
            await changed.wait()
    finally:
        service.follower.unwatch(run_id, changed)
