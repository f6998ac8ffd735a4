"""Django: the API as URL patterns, under WSGI and under ASGI; ``INSTALLED_APPS`` with this also has the command ``stepflow_worker``.

``STEPFLOW`` in the settings says what is served (see ``configuring``), ``path("stepflow/", include("stepflow.integrations.django.urls"))`` where, and
``asgi.with_stepflow`` around the ASGI application opens the app there.
"""

# Django ships no types.
# pyright: basic

from __future__ import annotations

from stepflow.errors import MissingExtraError

try:
    import django as django
except ImportError as error:
    raise MissingExtraError("stepflow.integrations.django", "django") from error
