"""How Sphinx makes the site: ``make docs``. Needs no network."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from airflow_provider_operations import __version__

if TYPE_CHECKING:
    from sphinx.application import Sphinx

ROOT = Path(__file__).parents[1]

# Airflow, which the reference imports, writes its configuration somewhere.
os.environ["AIRFLOW_HOME"] = str(ROOT / "docs" / "_build" / "airflow")

project = "airflow-provider-operations"
author = "The maintainers of airflow-provider-operations"
release = version = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc"]
exclude_patterns = ["_build", "upstream"]
html_theme = "furo"
html_title = "Long-running operations in Airflow"
html_logo = html_favicon = "integration-logos/operations.svg"
html_copy_source = False
html_static_path = ["_static"]
html_css_files = ["narrow.css"]

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 4
suppress_warnings = ["myst.strikethrough"]

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_default_options = {"members": True, "show-inheritance": True}


def _repository() -> str:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    (source,) = re.findall(r'^Source = "(.+)"$', text, re.MULTILINE)
    return str(source)


def lead_out_of_the_site(_: Sphinx, __: str, content: list[str]) -> None:
    """Let links to files that are no pages, such as the example DAGs, lead to the repository."""
    for outside, page in {"SECURITY.md": "security.md", "CHANGELOG.md": "changelog.md"}.items():
        content[0] = content[0].replace(f"](../{outside})", f"]({page})")
    content[0] = re.sub(r"\]\(\.\./([^)]+)\)", rf"]({_repository()}/blob/main/\1)", content[0])


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("source-read", lead_out_of_the_site)
