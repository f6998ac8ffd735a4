"""The API with a limit of requests that the environment names."""

from __future__ import annotations

import os

from stepflow.app import Stepflow
from stepflow.http import allow_all, asgi_app

application = asgi_app(Stepflow("memory://"), auth=allow_all(), worker=False, rate_limit=os.environ["RATE"])
