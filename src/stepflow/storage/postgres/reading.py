"""Reading: runs as callers of the port see them."""

from __future__ import annotations

from collections.abc import Sequence

from stepflow.model.runs import RunRecord
from stepflow.storage.postgres.link import Link
from stepflow.storage.postgres.operations import runs
from stepflow.storage.postgres.working_set import Loaded, NotLoaded, WorkingSet
from stepflow.types import RunId


async def read_records(link: Link, run_ids: Sequence[RunId]) -> list[RunRecord]:
    """Those of the runs that exist, in the order of the ids."""
    loaded = Loaded()
    for found in await runs.load(link, run_ids, whole=True):
        loaded.add_run(found)
    records = WorkingSet(loaded, ())
    states = [records.find(run_id) for run_id in run_ids if run_id in loaded.runs]
    try:
        return [records.record(run) for run in states if run is not None]
    except NotLoaded as missing:
        raise LookupError(f"the {missing.kind} of run {missing.key!r} is not there") from None
