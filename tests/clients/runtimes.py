"""Runtimes: the packed JavaScript client in everything that runs JavaScript, real ones from packages, each doing the same tour."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.http.readers import chromium
from tests.http.readers import node as node_with_playwright
from tests.servers.node import CLIENTS, javascript_packages, node_with
from tests.servers.running import Server, answers, free_port, unavailable

FOLDER = Path(__file__).with_name("runtimes")
ORIGIN = "https://shop.example"
"""Where the page says that it comes from."""
_PROGRAMS = ("tour.mjs", "program.mjs", "worker.mjs", "workerd.capnp")
_PATIENCE = 120

Settings = Mapping[str, str]


def packed_into(folder: Path) -> None:
    """The programs, with the client as it is published installed beside them, and both as one script, as edges and pages want it."""
    javascript_packages()
    node_with(FOLDER)
    for name in _PROGRAMS:
        shutil.copy(FOLDER / name, folder)
    (folder / "package.json").write_text('{ "private": true, "type": "module" }')
    _ran(
        ["npm", "pack", "--silent", "--ignore-scripts", "--pack-destination", folder], CLIENTS / "typescript"
    )
    (tarball,) = folder.glob("*.tgz")
    _ran(["npm", "install", "--silent", "--offline", "--no-audit", "--no-fund", f"./{tarball.name}"], folder)
    bundle = [CLIENTS / "node_modules/.bin/esbuild", "--bundle", "--log-level=warning"]
    _ran([*bundle, "worker.mjs", "--format=esm", "--outfile=worker.js"], folder)
    _ran([*bundle, "tour.mjs", "--format=iife", "--global-name=program", "--outfile=script.js"], folder)


def _ran(command: Sequence[str | Path], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=_PATIENCE, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


# ------------------------------------------------------------------ which there are
@dataclass(frozen=True)
class Program:
    """A command that is given the settings as its last argument, and prints the facts."""

    command: Callable[[Path], Sequence[str | Path]]

    async def tour(self, folder: Path, settings: Settings) -> Any:
        command = await asyncio.to_thread(self.command, folder)
        process = await asyncio.create_subprocess_exec(
            *command, json.dumps(settings), cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        try:
            output, errors = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        assert process.returncode == 0, errors.decode()
        return json.loads(output)


@dataclass(frozen=True)
class Worker:
    """A server that is asked for the facts."""

    command: Callable[[Path, int], Sequence[str | Path]]

    async def tour(self, folder: Path, settings: Settings) -> Any:
        port = free_port()
        command = await asyncio.to_thread(self.command, folder, port)
        server = Server(command, log=folder / "worker.log", ready=lambda: answers(port), cwd=folder)
        await asyncio.to_thread(server.start)
        try:
            request = urllib.request.Request(f"http://127.0.0.1:{port}", json.dumps(settings).encode())
            return json.loads(await asyncio.to_thread(_answer, request))
        finally:
            await asyncio.to_thread(server.kill)


def _answer(request: urllib.request.Request) -> bytes:
    with urllib.request.urlopen(request, timeout=_PATIENCE) as response:
        answer: bytes = response.read()
    return answer


def _binary(pattern: str) -> Path:
    """The binary among the packages: which of them is installed goes by the machine."""
    found = sorted(FOLDER.glob(f"node_modules/{pattern}"))
    if not found:
        unavailable(pattern, "there is no such package for this machine")
    return found[0]


def _node(version: int) -> Program:
    return Program(lambda _: [_binary(f"node-{version}-*/bin/node"), "program.mjs"])


_DENO = ["run", "--no-prompt", "--allow-net=127.0.0.1", "program.mjs"]
_WORKERD = ["serve", "workerd.capnp"]

RUNTIMES: Mapping[str, Program | Worker] = {
    "node-18": _node(18),
    "node-here": Program(lambda _: [javascript_packages(), "program.mjs"]),
    "node-22": _node(22),
    "node-24": _node(24),
    "deno": Program(lambda _: [_binary("@deno/*/deno"), *_DENO]),
    "bun": Program(lambda _: [_binary("@oven/bun-*/bin/bun"), "program.mjs"]),
    "edge-runtime": Program(lambda here: [node_with(FOLDER), FOLDER / "edge.mjs", here / "script.js"]),
    "workerd": Worker(
        lambda _, port: [
            _binary("@cloudflare/workerd-*/bin/workerd"),
            *_WORKERD,
            f"--socket-addr=http=127.0.0.1:{port}",
        ]
    ),
    "chromium": Program(
        lambda here: [node_with_playwright(), FOLDER / "chromium.mjs", chromium(), ORIGIN, here / "script.js"]
    ),
}
