"""Page: one page of a listing and the cursor to the next."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, TypeVar

import msgspec

Item = TypeVar("Item")


class Page(msgspec.Struct, Generic[Item], frozen=True, kw_only=True):
    """``next_cursor`` is None on the last page; it is opaque to callers."""

    items: Sequence[Item]
    next_cursor: str | None = None
