"""The adapter contract inside an application of Quart's."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import ClassVar

from tests.integrations.websocketing import WebSocketContract

PROGRAM = "tests.integrations.programs.on_quart:application"


class TestQuart(WebSocketContract):
    prefix: ClassVar[str] = "/stepflow"

    def command(self, port: int) -> Sequence[str]:
        return [sys.executable, "-m", "hypercorn", PROGRAM, "--bind", f"127.0.0.1:{port}"]
