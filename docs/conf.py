"""How the documentation is built; warnings are errors (`make docs`)."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sphinx.application import Sphinx

ROOT = Path(__file__).resolve().parents[1]

project = "degrade"
author = "the authors of degrade"
with (ROOT / "pyproject.toml").open("rb") as _file:
    release = tomllib.load(_file)["project"]["version"]

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]

html_theme = "furo"
html_title = f"degrade {release}"

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

default_role = "code"  # docstrings mark code with single backticks
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_custom_sections = ["Guarantees", "Cost", "Source"]


def _mark_blocks(
    _app: Sphinx, _what: str, _name: str, _of: object, _: object, lines: list[str]
) -> None:
    """Show the indented blocks of docstrings, code and tables, as they stand."""
    marked: list[str] = []
    above = ""
    for line in lines:
        deeper = len(line) - len(line.lstrip()) > len(above) - len(above.lstrip())
        opens_block = line.strip() and deeper and not marked[-1].strip()
        if opens_block and not above.lstrip().startswith(("* ", "- ", "..")) and above[-2:] != "::":
            marked += [above[: len(above) - len(above.lstrip())] + "::", ""]
        marked.append(line)
        above = line if line.strip() else above
    lines[:] = marked


def setup(app: Sphinx) -> None:
    """Read docstrings before napoleon does."""
    app.connect("autodoc-process-docstring", _mark_blocks, priority=400)
