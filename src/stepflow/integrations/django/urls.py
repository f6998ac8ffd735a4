"""URLs: to be included below any path."""

# Django ships no types.
# pyright: basic

from __future__ import annotations

from django.urls import re_path

from stepflow.integrations.django.views import answer

app_name = "stepflow"
# All that there is below: which of it exists, the API knows.
urlpatterns = [re_path(r"^(?P<path>(?s:.*))$", answer, name="api")]
