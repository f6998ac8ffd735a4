"""The storage contract: the tests that every backend passes, yours too.

::

    from stepflow.testing.storage_contract import StorageContract


    class TestMyStorage(StorageContract):
        @pytest.fixture
        def storage(self, tmp_path):
            return MyStorage(tmp_path)  # empty and not yet entered; each test enters and leaves it

One that also broadcasts (``stepflow.storage.broadcasting``) subclasses ``BroadcastingContract``, too.

Plain pytest runs it. Time is an argument throughout, so nothing waits.
"""

from __future__ import annotations

import pytest

# Before the modules are imported: their bare asserts then say what they compared.
_MODULES = "broadcasting building children claims control events journal progress pruning runs takeovers transitions wakeups workers"
pytest.register_assert_rewrite(*(f"{__name__}.{module}" for module in _MODULES.split()))

from stepflow.testing.storage_contract.broadcasting import BroadcastingContract  # noqa: E402
from stepflow.testing.storage_contract.children import ChildrenContract  # noqa: E402
from stepflow.testing.storage_contract.claims import ClaimedJournalContract, ClaimsContract  # noqa: E402
from stepflow.testing.storage_contract.control import ControlContract  # noqa: E402
from stepflow.testing.storage_contract.events import EventsContract, WaitsContract  # noqa: E402
from stepflow.testing.storage_contract.journal import JournalContract  # noqa: E402
from stepflow.testing.storage_contract.progress import ProgressContract  # noqa: E402
from stepflow.testing.storage_contract.pruning import PruningContract  # noqa: E402
from stepflow.testing.storage_contract.runs import ListingContract, RunsContract  # noqa: E402
from stepflow.testing.storage_contract.takeovers import TakeoverContract  # noqa: E402
from stepflow.testing.storage_contract.transitions import TransitionContract  # noqa: E402
from stepflow.testing.storage_contract.wakeups import WakeupsContract  # noqa: E402
from stepflow.testing.storage_contract.workers import WorkersContract  # noqa: E402


class StorageContract(
    RunsContract,
    ListingContract,
    ProgressContract,
    ClaimsContract,
    TakeoverContract,
    ClaimedJournalContract,
    JournalContract,
    TransitionContract,
    ChildrenContract,
    EventsContract,
    WaitsContract,
    ControlContract,
    WorkersContract,
    PruningContract,
    WakeupsContract,
):
    """Everything that the port promises, noun by noun."""


__all__ = ["BroadcastingContract", "StorageContract"]
