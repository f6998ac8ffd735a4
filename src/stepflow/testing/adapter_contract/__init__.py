"""The adapter contract: the tests that every way to serve the API passes over real sockets, yours too.

Write a program that serves ``program.app`` with ``program.options()``, and say how it is started::

    # my_program.py
    from stepflow.testing.adapter_contract import program

    application = my_adapter(program.app, **program.options())

    # test_my_adapter.py
    from stepflow.testing.adapter_contract import AdapterContract


    class TestMyAdapter(AdapterContract):
        prefix = "/stepflow"  # where the program mounts the API

        def command(self, port):
            return ["my-server", "my_program:application", "--port", str(port)]

Plain pytest runs it, with ``httpx`` installed. One server and one worker (``stepflow worker``) serve a whole class; each works on an SQLite
file of its own. The server has to have more than ``program.MAX_STREAMS`` threads if streams hold one each, and one process. It should
open the app itself, without a worker: ``STEPFLOW_WORKER=0`` is set.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stepflow.testing.adapter_contract.contract import AdapterContract
    from stepflow.testing.adapter_contract.serving import Client, Process, Site

__all__ = ["AdapterContract", "Client", "Process", "Site"]

# Loaded when asked for: the servers import ``program`` from here, and should not wait for pytest and httpx.
_HOMES = {"AdapterContract": "contract", "Client": "serving", "Process": "serving", "Site": "serving"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
