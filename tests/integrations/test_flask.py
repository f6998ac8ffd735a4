"""The adapter contract inside a Flask application, also in processes that were forked from one that had loaded it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import ClassVar

from stepflow.testing.adapter_contract import AdapterContract
from tests.integrations.preforking import PreforkContract

PROGRAM = "tests.integrations.programs.on_flask:application"


class TestFlask(AdapterContract):
    prefix: ClassVar[str] = "/stepflow"

    def command(self, port: int) -> Sequence[str]:
        return [sys.executable, "-m", "waitress", f"--listen=127.0.0.1:{port}", "--threads=12", PROGRAM]


class TestPreforked(PreforkContract):
    program = PROGRAM
