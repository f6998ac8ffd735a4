"""A small airport directory over HTTP that is having a bad day: it refuses a random third of what it is asked.

It is a real server on the loopback interface, so the demo's look-ups fail for the reason that look-ups fail.
"""

from __future__ import annotations

import csv
import json
import random
import threading
import urllib.error
import urllib.request
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Airport:
    """What the directory knows of an airport."""

    code: str
    name: str
    latitude: float
    longitude: float


class DirectoryBusyError(ConnectionError):
    """The directory refused this time; another time it may answer."""


def ask(url: str, code: str) -> Airport | None:
    """Ask the directory; None if it does not know the airport, ``DirectoryBusyError`` if it refuses."""
    try:
        with urllib.request.urlopen(f"{url}/airports/{code}", timeout=5) as answer:
            return Airport(**json.load(answer))
    except urllib.error.HTTPError as error:
        with error:
            if error.code == 404:
                return None
            raise DirectoryBusyError(f"the directory answered {error.code} when asked for {code}") from None


@contextmanager
def directory(airports: Path) -> Generator[str, None, None]:
    """Serve the airports of a CSV file for as long as the ``with`` block lasts; gives the URL."""
    known = {airport.code: airport for airport in _read(airports)}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            airport = known.get(self.path.removeprefix("/airports/"))
            if random.random() < 1 / 3:
                self._answer(503, {"error": "busy"})
            elif airport is None:
                self._answer(404, {"error": "unknown"})
            else:
                self._answer(200, {name: getattr(airport, name) for name in Airport.__slots__})

        def _answer(self, status: int, body: object) -> None:
            encoded = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(encoded)))
            self.end_headers()
            self.wfile.write(encoded)

        def log_message(self, format: str, *args: object) -> None:
            """Silent: the demo's screen is for the workflow."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _read(path: Path) -> Iterator[Airport]:
    with path.open(encoding="utf-8", newline="") as lines:
        for row in csv.DictReader(lines):
            yield Airport(row["faa"], row["name"], float(row["lat"]), float(row["lon"]))
