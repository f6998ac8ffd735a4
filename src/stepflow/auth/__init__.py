"""Authentication and authorization: pure decisions on who may do what; no framework, no storage, no clock.

``stepflow.auth.jwt`` (extra ``jwt``) has the verifiers for ``bearer_auth``.
"""

from __future__ import annotations

from stepflow.auth.base import Auth as Auth
from stepflow.auth.base import AuthContext as AuthContext
from stepflow.auth.base import AuthResult as AuthResult
from stepflow.auth.base import Handler as Handler
from stepflow.auth.bearer import bearer_auth as bearer_auth
from stepflow.auth.bearer import granted_by_scopes as granted_by_scopes
from stepflow.auth.combining import allow_all as allow_all
from stepflow.auth.combining import any_of as any_of
from stepflow.auth.keys import api_key_auth as api_key_auth
from stepflow.auth.keys import create_key as create_key
from stepflow.auth.keys import public_key_auth as public_key_auth
from stepflow.auth.tokens import RunTokens as RunTokens
from stepflow.auth.tokens import run_token_auth as run_token_auth

__all__ = [
    "Auth",
    "AuthContext",
    "AuthResult",
    "Handler",
    "RunTokens",
    "allow_all",
    "any_of",
    "api_key_auth",
    "bearer_auth",
    "create_key",
    "granted_by_scopes",
    "public_key_auth",
    "run_token_auth",
]
