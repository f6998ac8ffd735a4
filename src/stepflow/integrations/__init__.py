"""Integrations: the HTTP API inside an application of yours, one module for each framework.

``from stepflow.integrations.fastapi import stepflow_router`` and its likes; each needs the extra of its name. Nothing is loaded before it is asked for.
"""

from __future__ import annotations
