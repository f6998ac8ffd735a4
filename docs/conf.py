"""How the documentation is built: ``make docs``, or ``python -m sphinx -W -b html docs docs/_build``."""

from __future__ import annotations

import sys
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from docs.tools.autodoc import forget_overloads, process_docstring, process_signature

project = "Stepflow"
author = "The Stepflow contributors"
copyright = author
release = version = version_of("stepflow")

extensions = ["myst_parser", "sphinx.ext.autodoc"]
exclude_patterns = ["_build"]
source_suffix = {".md": "markdown"}
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
suppress_warnings: list[str] = []

html_theme = "furo"
html_title = "Stepflow"
html_show_sourcelink = False
html_static_path: list[str] = []

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_class_signature = "mixed"
autodoc_preserve_defaults = True
autodoc_type_aliases = {
    "Duration": "Duration",
    "Json": "Json",
    "RunId": "str",
    "EventId": "str",
    "StepKey": "str",
}
python_use_unqualified_type_names = True
maximum_signature_line_length = 88


def setup(app: Any) -> None:
    """Bend autodoc a little: see ``docs/tools/autodoc.py``."""
    forget_overloads()
    app.connect("autodoc-process-docstring", process_docstring)
    app.connect("autodoc-process-signature", process_signature)
