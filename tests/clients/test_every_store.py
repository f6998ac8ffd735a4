"""The JavaScript client's end-to-end tests, against real servers on each store; their own run has memory."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.servers.node import CLIENTS, javascript_packages
from tests.servers.stores import LASTING, Stores, stores

__all__ = ["stores"]

_PATIENCE = 280


@pytest.mark.timeout(300)
@pytest.mark.parametrize("store", [name for name in LASTING if name != "redis-cluster"])
def test_the_javascript_client_works_on(store: str, stores: Stores) -> None:
    node = javascript_packages()
    environment = {
        **os.environ,
        "STEPFLOW_PYTHON": sys.executable,
        "STEPFLOW_TEST_STORE": stores.fresh(store),
    }

    done = subprocess.run(
        [node, CLIENTS / "node_modules/vitest/vitest.mjs", "run", "test/server.test.ts"],
        cwd=CLIENTS / "typescript",
        env=environment,
        capture_output=True,
        text=True,
        timeout=_PATIENCE,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
