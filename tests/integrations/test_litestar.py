"""The adapter contract inside an application of Litestar's."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import ClassVar

from tests.integrations.websocketing import WebSocketContract

PROGRAM = "tests.integrations.programs.on_litestar:application"


class TestLitestar(WebSocketContract):
    prefix: ClassVar[str] = "/stepflow"

    def command(self, port: int) -> Sequence[str]:
        return [sys.executable, "-m", "uvicorn", PROGRAM, "--port", str(port), "--log-level", "warning"]
