"""HTTP: an app's API for any server, without a framework. Frameworks have thin adapters in ``stepflow.integrations``."""

from __future__ import annotations

from stepflow.auth.base import AuthContext, AuthResult
from stepflow.auth.bearer import bearer_auth
from stepflow.auth.combining import allow_all, any_of
from stepflow.auth.keys import api_key_auth, public_key_auth
from stepflow.auth.tokens import run_token_auth
from stepflow.http.api import Api
from stepflow.http.asgi import asgi_app
from stepflow.http.wsgi import wsgi_app

__all__ = [
    "Api",
    "AuthContext",
    "AuthResult",
    "allow_all",
    "any_of",
    "api_key_auth",
    "asgi_app",
    "bearer_auth",
    "public_key_auth",
    "run_token_auth",
    "wsgi_app",
]
