"""The adapter contract inside an application of Starlette's."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import ClassVar

from tests.integrations.websocketing import WebSocketContract

PROGRAM = "tests.integrations.programs.on_starlette:application"


class TestStarlette(WebSocketContract):
    prefix: ClassVar[str] = "/stepflow"

    def command(self, port: int) -> Sequence[str]:
        return [sys.executable, "-m", "uvicorn", PROGRAM, "--port", str(port), "--log-level", "warning"]
