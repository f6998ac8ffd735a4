"""The adapter contract inside an application of Aiohttp's."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import ClassVar

from stepflow.testing.adapter_contract import AdapterContract

PROGRAM = "tests.integrations.programs.on_aiohttp"


class TestAiohttp(AdapterContract):
    prefix: ClassVar[str] = "/stepflow"

    def command(self, port: int) -> Sequence[str]:
        return [sys.executable, "-m", PROGRAM, str(port)]
