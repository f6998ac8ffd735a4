"""Options: those of ``Api``, typed for the functions that pass them on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, TypedDict

from stepflow.auth.base import Auth, AuthContext, AuthResult
from stepflow.types import Duration


class ApiOptions(TypedDict, total=False):
    """See ``Api``."""

    auth: Auth | None
    endpoints: str | Mapping[str, bool]
    cors: Iterable[str]
    on_auth_failure: Callable[[AuthContext, AuthResult], object] | None
    health_check: Callable[[], Any] | None
    run_token_view: Literal["full", "status"]
    run_token_secret: str | bytes | Sequence[str | bytes] | None
    max_body: int
    body_timeout: Duration
    heartbeat: Duration
    max_streams: int
    rate_limit: str | None
