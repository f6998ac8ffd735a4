"""The command line: ``stepflow``. The only part that imports typer and rich, and only when it is called."""

from __future__ import annotations

import sys
from collections.abc import Sequence

_DEPENDENCIES = ("rich", "typer")


def main(arguments: Sequence[str] | None = None) -> int:
    """Perform one command (of ``sys.argv`` by default) and return its exit code; ``stepflow --help`` has the table."""
    try:
        from stepflow.cli import root  # noqa: PLC0415 - typer and rich are an extra, and may be missing
    except ModuleNotFoundError as error:
        if (error.name or "").split(".", maxsplit=1)[0] not in _DEPENDENCIES:
            raise
        print(f"error: the stepflow command needs {error.name}, which is not installed", file=sys.stderr)
        print("hint: pip install 'stepflow[cli]'", file=sys.stderr)
        return 2
    if arguments is not None:
        return root.perform(arguments)
    code = root.perform(sys.argv[1:])
    root.leave_stuck_steps(code)
    return code
