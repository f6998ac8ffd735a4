"""The adapter contract, over plain WSGI under two servers."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import ClassVar

from stepflow.testing.adapter_contract import AdapterContract

PROGRAM = "tests.http.programs.plain_wsgi:application"


class TestWaitress(AdapterContract):
    prefix: ClassVar[str] = "/api"

    def command(self, port: int) -> Sequence[str]:
        return [sys.executable, "-m", "waitress", f"--listen=127.0.0.1:{port}", "--threads=12", PROGRAM]


class TestGunicorn(AdapterContract):
    prefix: ClassVar[str] = "/api"

    def command(self, port: int) -> Sequence[str]:
        return [
            *(sys.executable, "-m", "gunicorn", PROGRAM, "--bind", f"127.0.0.1:{port}"),
            *(
                "--worker-class",
                "gthread",
                "--threads",
                "12",
                "--graceful-timeout",
                "2",
                "--log-level",
                "warning",
            ),
        ]
