"""Apps: what Django lists as installed."""

# Django ships no types.
# pyright: basic

from __future__ import annotations

from django.apps import AppConfig


class StepflowConfig(AppConfig):
    name = "stepflow.integrations.django"
    label = "stepflow"
    verbose_name = "Stepflow"
