"""Configuring: what ``STEPFLOW`` in Django's settings says, made once in each process.

``APP`` is the app, or where it is (``"shop.flows.app"``); ``WORKER`` whether an ASGI server also works on runs. All other keys are options of
``stepflow.http.Api`` in upper case; ``AUTH``, ``ON_AUTH_FAILURE`` and ``HEALTH_CHECK`` may say where the function is.
"""

# Django ships no types.
# pyright: basic

from __future__ import annotations

from functools import cache
from inspect import signature
from typing import Any, cast

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed
from django.utils.module_loading import import_string

from stepflow.app import Stepflow
from stepflow.http.api import Api
from stepflow.http.options import ApiOptions
from stepflow.http.wsgi import Bridge

_NAME = "STEPFLOW"
_FUNCTIONS = ("auth", "on_auth_failure", "health_check")


@cache
def stepflow_app() -> Stepflow:
    """The app that the settings name; ``app.sync`` in synchronous views."""
    found = _loaded(_settings().get("APP"))
    if not isinstance(found, Stepflow):
        raise ImproperlyConfigured(
            f'{_NAME}["APP"] has to be a Stepflow, or where one is, like "shop.flows.app"'
        )
    return found


@cache
def api() -> Api:
    """What answers under ASGI."""
    return Api(stepflow_app(), **_options())


@cache
def bridge() -> Bridge:
    """What answers under WSGI; safe to make before a server forks."""
    return Bridge(stepflow_app(), **_options())


def worker() -> bool | None:
    """Whether an ASGI server works on runs; None: as the app's own settings say."""
    found: bool | None = _settings().get("WORKER")
    return found


def _settings() -> dict[str, Any]:
    found = getattr(settings, _NAME, None)
    if not isinstance(found, dict):
        raise ImproperlyConfigured(f'the settings have no {_NAME} = {{"APP": ..., "AUTH": ...}}')
    return found


def _options() -> ApiOptions:
    options: dict[str, Any] = {
        name.lower(): value for name, value in _settings().items() if name not in ("APP", "WORKER")
    }
    unknown = sorted(options.keys() - signature(Api).parameters.keys())
    if unknown:
        raise ImproperlyConfigured(f'{_NAME}["{unknown[0].upper()}"] is no option of stepflow.http.Api')
    options.update({name: _loaded(options[name]) for name in _FUNCTIONS if name in options})
    return cast("ApiOptions", options)


def _loaded(value: Any) -> Any:
    """What is said to be somewhere, from there."""
    return import_string(value.replace(":", ".")) if isinstance(value, str) else value


def _forget(*, setting: str, **_: Any) -> None:
    """Tests override settings."""
    if setting == _NAME:
        for made in (stepflow_app, api, bridge):
            made.cache_clear()


setting_changed.connect(_forget)
