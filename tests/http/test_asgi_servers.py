"""The adapter contract, over plain ASGI under two servers."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import ClassVar

from stepflow.testing.adapter_contract import AdapterContract

PROGRAM = "tests.http.programs.plain_asgi:application"


class TestUvicorn(AdapterContract):
    prefix: ClassVar[str] = "/api"

    def command(self, port: int) -> Sequence[str]:
        return [sys.executable, "-m", "uvicorn", PROGRAM, "--port", str(port), "--log-level", "warning"]


class TestHypercorn(AdapterContract):
    prefix: ClassVar[str] = "/api"

    def command(self, port: int) -> Sequence[str]:
        return [sys.executable, "-m", "hypercorn", PROGRAM, "--bind", f"127.0.0.1:{port}"]
