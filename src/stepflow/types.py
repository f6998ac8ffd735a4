"""The small vocabulary of types that every other module speaks."""

from __future__ import annotations

from datetime import timedelta
from typing import TypeAlias

Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | float | bool | None"
"""What any decoded JSON text can be."""

RunId: TypeAlias = str
"""The id of a run: ``[A-Za-z0-9][A-Za-z0-9._~:@-]{0,199}``."""

WorkerId: TypeAlias = str
"""One incarnation of a worker process: a new one every time a worker starts."""

EventId: TypeAlias = str
"""The address of an event: 1 to 200 printable characters, may contain ``/``."""

StepKey: TypeAlias = str
"""Where a command stands in its run: scope path, name and ordinal, as one string."""

Duration: TypeAlias = str | float | timedelta
"""``"1h30m"``, ISO-8601 ``"P3D"``, a ``timedelta``, or seconds as a number."""
