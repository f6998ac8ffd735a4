"""Gunicorn's configuration, as the how-to has it: streams end when a worker is told to stop."""

from __future__ import annotations

from stepflow.http.wsgi import end_streams_at_signals


def post_worker_init(worker: object) -> None:
    end_streams_at_signals()
