"""The adapter contract inside a Django project, under ASGI and under WSGI."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import ClassVar

from stepflow.testing.adapter_contract import AdapterContract
from tests.integrations.preforking import PreforkContract, gunicorn
from tests.integrations.websocketing import WebSocketContract

PROGRAM = "tests.integrations.programs.on_django"


class TestUnderASGI(WebSocketContract):
    prefix: ClassVar[str] = "/stepflow"

    def command(self, port: int) -> Sequence[str]:
        program = f"{PROGRAM}:under_asgi"
        return [sys.executable, "-m", "uvicorn", program, "--port", str(port), "--log-level", "warning"]


class TestUnderWSGI(AdapterContract):
    prefix: ClassVar[str] = "/stepflow"

    def command(self, port: int) -> Sequence[str]:
        return gunicorn(f"{PROGRAM}:under_wsgi", port)


class TestPreforked(PreforkContract):
    program = f"{PROGRAM}:under_wsgi"
