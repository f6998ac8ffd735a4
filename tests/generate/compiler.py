"""Compiler: a folder with generated types in it, compiled by TypeScript as strictly as it can."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from tests.servers.node import node_with

FOLDER = Path(__file__).with_name("compiling")
_CLIENT = Path(__file__).parents[2] / "clients/typescript/src/index.ts"
_OPTIONS = {
    "strict": True,
    "exactOptionalPropertyTypes": True,
    "noUncheckedIndexedAccess": True,
    "noUnusedLocals": True,
    "isolatedModules": True,
    "verbatimModuleSyntax": True,
    "module": "esnext",
    "moduleResolution": "bundler",
    "target": "es2022",
    "lib": ["es2023", "dom", "dom.iterable"],
    "skipDefaultLibCheck": True,
    "types": [],
    "noEmit": True,
    "paths": {"@stepflow/client": [str(_CLIENT)]},
}


def compiled(folder: Path) -> str:
    """What the compiler says of all files in the folder; nothing if all is well."""
    node = node_with(FOLDER)
    config = {"compilerOptions": _OPTIONS, "include": [str(folder / "*.ts")]}
    (folder / "tsconfig.json").write_text(json.dumps(config), encoding="utf-8")
    done = subprocess.run(
        [
            node,
            str(FOLDER / "node_modules/typescript/bin/tsc"),
            "--project",
            str(folder),
            "--pretty",
            "false",
        ],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert bool(done.returncode) == bool(done.stdout), done.stderr
    return done.stdout
