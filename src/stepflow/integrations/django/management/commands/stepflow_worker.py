"""``manage.py stepflow_worker``: a process that works on the app's runs until it is told to stop."""

# Django ships no types.
# pyright: basic

from __future__ import annotations

import asyncio
from typing import Any

from django.core.management.base import BaseCommand

from stepflow.http.hosting import opened_for
from stepflow.integrations.django.configuring import stepflow_app


class Command(BaseCommand):
    """Start as many as you like, on as many machines as reach the storage."""

    help = (
        "Work on the app's runs until SIGTERM or Ctrl-C: running steps may finish then (for the app's grace), and the runs are given back. "
        "A second signal does not wait for steps."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        asyncio.run(self._work(quiet=options["verbosity"] == 0))

    async def _work(self, *, quiet: bool) -> None:
        app = stepflow_app()
        async with opened_for(app, worker=True):
            if not quiet:
                self.stdout.write("working on runs; Ctrl-C stops")
            await app.serve_forever()
