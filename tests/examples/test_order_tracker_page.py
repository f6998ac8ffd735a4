"""The order tracker's page, as Vite builds it, in Chromium: it goes on where it was when its server is killed and started again."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Generator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.http.readers import Reader, chromium, node, reading
from tests.servers.node import javascript_packages, node_with
from tests.servers.running import Server, answers, free_port

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples/order-tracker"
WEB = EXAMPLE / "web"
ENVIRONMENT = {
    **os.environ,
    "STEPFLOW_PUBLIC_KEY": "sf_pub_of-the-order-tracker-0123456789",
    "STEPFLOW_WORKER": "1",  # the server works on its runs itself
}
PICTURE = ROOT / "docs/figures/order-tracker.png"
STEPS = ["reserve stock", "check fraud", "approval", "charge", "ship", "send receipt"]
_PATIENCE = 250


def ran(command: Sequence[str | Path], folder: Path) -> str:
    """What the command prints; it has to succeed."""
    done = subprocess.run(
        command, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, timeout=_PATIENCE, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the server as it stands, and the page where it looks for it."""
    folder = tmp_path_factory.mktemp("shop")
    node_with(WEB)
    javascript_packages()
    shutil.copy(EXAMPLE / "server.py", folder)
    ran(["npm", "run", "build", "--", "--outDir", folder / "web/dist"], WEB)
    return folder


@pytest.fixture
def serve(shop: Path) -> Generator[Callable[[int], Server]]:
    """The server on a port, which is gone after the test."""
    servers: list[Server] = []

    def start(port: int) -> Server:
        command = [sys.executable, "-m", "uvicorn", "server:api", "--port", str(port)]
        log = shop / "server.log"
        server = Server(command, log=log, ready=lambda: answers(port), cwd=shop, env=ENVIRONMENT)
        servers.append(server)
        server.start()
        return server

    yield start
    for server in servers:
        server.kill()


def of(reader: Reader, what: str) -> list[Mapping[str, Any]]:
    return [each for each in reader.told if each["what"] == what]


@pytest.mark.timeout(300)
@pytest.mark.deadline(120)
async def test_a_customer_watches_an_order_through_the_server_s_death_to_the_receipt(
    shop: Path, serve: Callable[[int], Server]
) -> None:
    port = free_port()
    browser = [await asyncio.to_thread(node), "order-tracker.mjs", await asyncio.to_thread(chromium)]
    picture = [str(PICTURE)] if os.environ.get("STEPFLOW_SCREENSHOTS") else []
    server = await asyncio.to_thread(serve, port)

    async with reading([*browser, f"http://127.0.0.1:{port}/", *picture]) as page:
        await page.until("asked")
        await asyncio.to_thread(server.kill)
        await page.until("away")
        await asyncio.to_thread(server.start)
        await page.rest()

    assert [each["event"] for each in of(page, "moment")] == ["asked", "away", "back", "receipt"]
    [receipt] = of(page, "receipt")
    assert "approved by Grace" in receipt["text"]
    assert_shown_live_once_and_in_order([each["steps"] for each in of(page, "steps")])
    assert len(of(page, "load")) == 1, "it never loads anew"
    lost = [each["text"] for each in of(page, "console")]
    assert [text for text in lost if "net::ERR_" not in text] == [], (
        "a lost connection is all it may complain of"
    )
    assert lost, "that the connection was lost is seen"


def assert_shown_live_once_and_in_order(shown: list[list[tuple[str, str]]]) -> None:
    """Each picture of the steps shows the first so many of them; how many are done grows while somebody looks."""
    names = [[name for name, _ in steps] for steps in shown]
    assert names == [STEPS[: len(each)] for each in names]
    done = [sum(status == "completed" for _, status in steps) for steps in shown]
    assert done == sorted(done)
    assert len(set(done)) > 2, "at least two are not there, and then are"
    assert done[-1] == len(STEPS)


def test_the_page_s_types_are_those_of_the_server() -> None:
    command = [sys.executable, "-m", "stepflow", "generate", "typescript", "server:shop"]

    ran([*command, "-o", WEB / "src/workflows.ts", "--check"], EXAMPLE)  # it fails where they differ
