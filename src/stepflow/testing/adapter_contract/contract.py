"""Contract: all of its tests in one class, and the servers and clients that they share."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import ClassVar

import pytest

# Before the modules are imported: their bare asserts then say what they compared.
pytest.register_assert_rewrite(*(f"{__package__}.{module}" for module in ("refusals", "requests", "streams")))

from stepflow.testing.adapter_contract.refusals import CorsContract, RefusalContract  # noqa: E402
from stepflow.testing.adapter_contract.requests import (  # noqa: E402
    NotifyContract,
    OperationContract,
    RunContract,
    TriggerContract,
)
from stepflow.testing.adapter_contract.serving import Client, Process, Site  # noqa: E402
from stepflow.testing.adapter_contract.streams import ShutdownContract, StreamContract  # noqa: E402


class AdapterContract(
    TriggerContract,
    RunContract,
    NotifyContract,
    OperationContract,
    RefusalContract,
    CorsContract,
    StreamContract,
    ShutdownContract,
):
    """Everything that travels, by noun. ``prefix`` is where the API is mounted."""

    prefix: ClassVar[str] = ""

    def command(self, port: int) -> Sequence[str]:
        """How a server on this loopback port is started."""
        raise NotImplementedError

    @pytest.fixture(scope="class")
    @classmethod
    def site(cls) -> Generator[Site]:
        """The storage and the worker that the servers of a class share."""
        site = Site(cls().command, cls.prefix)
        try:
            site.start_worker()
            yield site
        finally:
            site.close()

    @pytest.fixture(scope="class")
    @classmethod
    def client(cls, site: Site) -> Client:
        """A client of the server that the tests of a class share."""
        return site.start_server()[1]

    @pytest.fixture
    def start_server(self, site: Site) -> Callable[[], tuple[Process, Client]]:
        """Starts another server, which the test may end."""
        return site.start_server
