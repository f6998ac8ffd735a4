"""Strangers: runs that wait in a worker's queues and whose workflow it does not know. They are left for others, and named once."""

from __future__ import annotations

import logging
from collections.abc import Collection

from stepflow.errors import StorageError
from stepflow.model.runs import RunFilter
from stepflow.model.states import RunStatus
from stepflow.storage.base import Storage

_log = logging.getLogger("stepflow.worker")
_SEEN_AT_ONCE = 200


class Strangers:
    """Looks for such runs now and then; warns once for each workflow."""

    def __init__(self, storage: Storage, queues: Collection[str], workflows: Collection[str]) -> None:
        self._storage = storage
        self._queues = queues
        self._known = set(workflows)

    async def look(self) -> None:
        queued = RunFilter(statuses=frozenset({RunStatus.QUEUED}))
        try:
            page = await self._storage.list_runs(queued, limit=_SEEN_AT_ONCE)
        except StorageError as error:
            _log.info("what waits in the queues could not be read (%s); it is looked at again later", error)
            return
        for run in page.items:
            if run.workflow_id not in self._known and run.queue in self._queues:
                self._known.add(run.workflow_id)
                _log.warning(
                    "runs of workflow %r wait in queue %r, and this worker does not know it; they are left for others",
                    run.workflow_id,
                    run.queue,
                )
