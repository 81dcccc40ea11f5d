"""Options of the picture of a run, and of its map on paper."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from geoseg.options.table import Options


class PreviewOptions(Options):
    """A picture of a run; each key is an option of geoseg preview and an argument of geoseg.preview."""

    panel: ClassVar[str] = "Picture"

    title: str | None = None
    """Title (default: the name of the imagery)."""

    credit: str | None = None
    """Attribution of the imagery (default: the catalog's)."""

    width: int | None = Field(default=None, ge=400, le=8000)
    """Width of the picture in px (default: 1800); a layout is as wide as its paper."""

    layout: Literal["a4", "a3", "letter"] | None = None
    """Paper of a layout with one map, legend, scale bar, north and graticule (default for .pdf and .svg: a4)."""

    show: Literal["imagery", "classes", "polygons"] | None = None
    """What the map of a layout shows (default: polygons where there are objects, else classes)."""
