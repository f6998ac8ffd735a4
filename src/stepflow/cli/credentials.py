"""Credentials: the keys that the environment of ``stepflow serve`` holds, as the handler that asks for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from stepflow.auth.base import Handler
from stepflow.auth.combining import any_of
from stepflow.auth.keys import api_key_auth, public_key_auth
from stepflow.auth.local import allow_local, is_loopback
from stepflow.auth.tokens import run_token_auth
from stepflow.cli.exits import ExitCode, Stop

SECRET_VARIABLE = "STEPFLOW_API_KEY"  # noqa: S105 - the name of a variable, not what it holds
PUBLIC_VARIABLE = "STEPFLOW_PUBLIC_KEY"
WORKFLOWS_VARIABLE = "STEPFLOW_PUBLIC_WORKFLOWS"
TOKEN_VARIABLE = "STEPFLOW_RUN_TOKEN_SECRET"  # noqa: S105 - as above


def handler_from(
    environment: Mapping[str, str], *, host: str, insecure: bool, origins: Sequence[str]
) -> Handler:
    """Who may do what, by the environment's keys; ``Stop`` if there are none and ``insecure`` is not said, or said where others can reach it."""
    secret = listed(environment, SECRET_VARIABLE)
    public = listed(environment, PUBLIC_VARIABLE)
    if insecure:
        return _without_keys(host, origins, keys=bool(secret or public))
    handlers: list[Handler] = []
    if secret:
        handlers.append(api_key_auth(secret))
    if public:
        handlers.append(public_key_auth(public, workflows=_public_workflows(environment)))
    if not handlers:
        raise Stop(
            ExitCode.USAGE,
            f"there is no key: {SECRET_VARIABLE} is not set",
            hint=f"export {SECRET_VARIABLE}=$(stepflow keys create --quiet); or, on this machine only, --insecure",
        )
    return any_of(*handlers, run_token_auth())


def listed(environment: Mapping[str, str], variable: str) -> list[str]:
    """The values of a variable that holds several, separated by commas."""
    return [value for each in environment.get(variable, "").split(",") if (value := each.strip())]


def _without_keys(host: str, origins: Sequence[str], *, keys: bool) -> Handler:
    if keys:
        raise Stop(
            ExitCode.USAGE,
            "--insecure asks nobody for a key, and the environment has one",
            hint=f"leave --insecure away, or unset {SECRET_VARIABLE} and {PUBLIC_VARIABLE}",
        )
    if not is_loopback(host):
        raise Stop(
            ExitCode.USAGE,
            f"--insecure lets everybody do everything, and others can reach {host}",
            hint="leave --host away to serve this machine only, or set a key",
        )
    return allow_local(origins=origins)


def _public_workflows(environment: Mapping[str, str]) -> list[str]:
    names = listed(environment, WORKFLOWS_VARIABLE)
    if not names:
        raise Stop(
            ExitCode.USAGE,
            f"{PUBLIC_VARIABLE} is set, and nothing is public",
            hint=f"{WORKFLOWS_VARIABLE}=greet,checkout lists the workflows that it may trigger",
        )
    return names
