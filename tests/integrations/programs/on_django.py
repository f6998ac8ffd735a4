"""The API inside a Django project of one file, under ASGI and under WSGI. Answers under WSGI tell which process they come from."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any

import django
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application
from django.urls import include, path

from stepflow.testing.adapter_contract import program

settings.configure(
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    INSTALLED_APPS=["stepflow.integrations.django"],
    MIDDLEWARE=[
        "django.middleware.security.SecurityMiddleware",
        "django.middleware.common.CommonMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
    ],
    STEPFLOW={
        "APP": program.app,
        **{name.upper(): value for name, value in program.options().items()},
    },
)
django.setup()

from stepflow.integrations.django.asgi import with_stepflow  # noqa: E402 - Django has to be set up

urlpatterns = [path("stepflow/", include("stepflow.integrations.django.urls"))]
under_asgi = with_stepflow(get_asgi_application())
_django = get_wsgi_application()


def under_wsgi(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    def start(status: str, headers: list[tuple[str, str]], *more: Any) -> Any:
        return start_response(status, [*headers, ("X-Process", str(os.getpid()))], *more)

    return _django(environ, start)  # type: ignore[no-any-return]
