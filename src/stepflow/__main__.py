"""``python -m stepflow``: the same as the ``stepflow`` command."""

from __future__ import annotations

import sys

from stepflow.cli import main

if __name__ == "__main__":
    sys.exit(main())
