"""What the client needs, and what it is told apart from."""

from __future__ import annotations

import subprocess
import sys

BLOCKED = """
import sys
sys.modules["httpx"] = None
try:
    import stepflow.client
except ImportError as error:
    print(type(error).__name__, error)
"""


def test_without_httpx_the_error_names_the_extra() -> None:
    done = subprocess.run(
        [sys.executable, "-c", BLOCKED], capture_output=True, text=True, check=True, timeout=60
    )

    assert done.stdout == "MissingExtraError stepflow.client needs an extra: pip install 'stepflow[client]'\n"


def test_the_client_loads_neither_engine_nor_storage_nor_server() -> None:
    code = "import stepflow.client, sys; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )

    parts = (
        "stepflow._engine",
        "stepflow._runtime",
        "stepflow.storage",
        "stepflow.http",
        "stepflow.app",
        "sqlite3",
    )
    assert [name for name in done.stdout.split() if name.startswith(parts)] == []
