"""The adapter contract inside a FastAPI application, and what FastAPI itself knows of it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import ClassVar

from tests.integrations.websocketing import WebSocketContract

PROGRAM = "tests.integrations.programs.on_fastapi:application"


class TestFastAPI(WebSocketContract):
    prefix: ClassVar[str] = "/stepflow"

    def command(self, port: int) -> Sequence[str]:
        return [sys.executable, "-m", "uvicorn", PROGRAM, "--port", str(port), "--log-level", "warning"]
