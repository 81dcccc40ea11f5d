"""How the documentation site is built.

Sphinx reads NumPy docstrings with their types, shapes and errors, turns its warnings into errors, and is what NumPy,
xarray, Dask and rasterio use; MkDocs has had no release since 2024. Pages are Markdown (MyST), so they read as well in
a repository's browser; notebooks are executed when the site is built.
"""

from __future__ import annotations

import shutil
from importlib import metadata
from pathlib import Path

from sphinx.application import Sphinx

HOME = Path(__file__).parent
CARDS = "cards"  # copies of the cards in catalogs/models, made while the site is built

project = "geoseg"
release = metadata.version("geoseg")
author = "the geoseg developers"

extensions = ["sphinx.ext.autodoc", "sphinx.ext.autosummary", "sphinx.ext.napoleon", "sphinx_copybutton", "myst_nb"]
exclude_patterns = ["**.ipynb_checkpoints"]

html_theme = "furo"
html_title = f"geoseg {release}"
html_theme_options = {"source_edit_link": "", "navigation_with_keys": True}
html_copy_source = html_show_sourcelink = html_show_copyright = False

default_role = "autolink"  # a name in backticks in a docstring is a link where it can be imported
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # docstrings state types, shapes and units
autodoc_preserve_defaults = True
napoleon_google_docstring = False
napoleon_use_rtype = False

myst_enable_extensions = ["attrs_inline", "colon_fence"]
myst_heading_anchors = 3
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 600
nb_merge_streams = True


def copy_cards(_: Sphinx) -> None:
    """Copy the cards of the shipped models, and their pictures, into the site."""
    folder = HOME / CARDS
    shutil.rmtree(folder, ignore_errors=True)
    for card in sorted((HOME.parent / "catalogs" / "models").glob("*/README.md")):
        weights = shutil.ignore_patterns("*.json", "*.safetensors", "*.csv")
        shutil.copytree(card.parent, folder / card.parent.name, ignore=weights)


def link_cards(_: Sphinx, page: str, source: list[str]) -> None:
    """Let links to the catalog, which lies beside the pages in a checkout, lead to the copies."""
    source[0] = source[0].replace("](../catalogs/models/", f"]({CARDS}/")
    if page == "models":
        source[0] += f"\n```{{toctree}}\n:hidden:\n:glob:\n\n{CARDS}/*/README\n```\n"


def setup(app: Sphinx) -> None:
    """Add both steps to the build."""
    app.connect("builder-inited", copy_cards)
    app.connect("source-read", link_cards)
