"""Migrations: numbered files that move a schema forward, each applied once and never changed afterwards."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from hashlib import sha256
from importlib.resources import files

import msgspec

from stepflow.errors import SchemaError

_FILE = re.compile(r"(\d{4})_([a-z0-9_]+)\.sql")


class Migration(msgspec.Struct, frozen=True, kw_only=True):
    """One step forward. ``checksum`` is over its text, however its lines end."""

    number: int
    name: str
    text: str

    @property
    def checksum(self) -> str:
        return sha256("\n".join(self.text.splitlines()).encode()).hexdigest()


def load_migrations(package: str) -> Sequence[Migration]:
    """The package's migrations, in order. They are numbered from 1 without a gap, or the release is broken."""
    found = [
        Migration(number=int(match[1]), name=match[2], text=entry.read_text(encoding="utf-8"))
        for entry in files(package).joinpath("migrations").iterdir()
        if (match := _FILE.fullmatch(entry.name)) is not None
    ]
    found.sort(key=lambda migration: migration.number)
    if [migration.number for migration in found] != list(range(1, len(found) + 1)):
        raise SchemaError(f"the migrations of {package} are incomplete; install stepflow again")
    return found


def pending(known: Sequence[Migration], applied: Mapping[int, str], *, where: str) -> Sequence[Migration]:
    """The migrations still to apply, given ``number → checksum`` of those applied.

    Raises ``SchemaError`` if the schema is ahead of this release, or was made by other files than ours.
    """
    newest = max(applied, default=0)
    if newest > len(known):
        raise SchemaError(
            f"{where} has schema {newest}, this release of stepflow knows {len(known)}: "
            "upgrade stepflow here, nothing was changed"
        )
    for migration in known[:newest]:
        if applied.get(migration.number) != migration.checksum:
            raise SchemaError(
                f"{where}: schema step {migration.number} ({migration.name}) is not the one that this release "
                "contains; it was made by another build, so nothing was changed"
            )
    return known[newest:]
