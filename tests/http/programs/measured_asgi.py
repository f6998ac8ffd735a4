"""The API in a process whose memory is looked at: nothing is executed here, and everybody may ask."""

from __future__ import annotations

import os
import resource

from stepflow.app import Stepflow
from stepflow.http import allow_all, asgi_app

resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
application = asgi_app(
    Stepflow(os.environ["STEPFLOW_CONTRACT_STORAGE"]),
    auth=allow_all(),
    worker=False,
    heartbeat=os.environ.get("HEARTBEAT", "15s"),
)
