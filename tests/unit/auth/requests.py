"""Requests as handlers see them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from stepflow.auth.base import AuthContext, Route, VerifiesRunTokens

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)

METHODS: dict[Route, tuple[str, str]] = {
    "trigger": ("trigger", "POST"),
    "notify": ("notify", "POST"),
    "runs": ("getRun", "GET"),
    "runsStream": ("streamRun", "GET"),
    "health": ("health", "GET"),
    "operations": ("listRuns", "GET"),
}


def a_request(
    route: Route = "trigger",
    *,
    key: str | None = None,
    bearer: str | None = None,
    query: Mapping[str, Sequence[str]] | None = None,
    run_tokens: VerifiesRunTokens | None = None,
    now: datetime = NOW,
    headers: Mapping[str, str] | None = None,
    **fields: Any,
) -> AuthContext:
    sent = dict(headers or {})
    if key is not None:
        sent["x-api-key"] = key
    if bearer is not None:
        sent["authorization"] = f"Bearer {bearer}"
    operation, method = METHODS[route]
    return AuthContext(
        route=route,
        operation=fields.pop("operation", operation),
        method=fields.pop("method", method),
        now=now,
        headers=sent,
        query=query or {},
        run_tokens=run_tokens,
        **fields,
    )
