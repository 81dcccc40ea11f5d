"""Options of a comparison of two results: what is compared, and what the layers of changes look like."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, PositiveInt

from geoseg.options.evaluation import ClassWords
from geoseg.options.values import RegionText
from geoseg.options.workflow import ShapeOptions, WorkerOptions


class CompareOptions(WorkerOptions, ShapeOptions):
    """A comparison; each key is an option of geoseg compare and an argument of geoseg.compare."""

    panel: ClassVar[str] = "Comparison"

    task: Literal["semantic", "instance", "panoptic"] | None = None
    """What to compare: classes of pixels (semantic), objects (instance), or both (panoptic) (default: found from the
    inputs)."""

    classes: ClassWords | None = None
    """Classes of pixels to compare, by name or value, such as water,forest, all others as one; or names for values:
    1=water,2=forest (default: all)."""

    region: RegionText | None = None
    """Area to compare: a vector file of polygons, or bounds minx,miny,maxx,maxy with an optional CRS as fifth part
    (default: all of the first map)."""

    unchanged: bool = False
    """Write polygons of pixels that kept their class too."""

    iou: float = Field(default=0.5, gt=0, le=1, allow_inf_nan=False)
    """Intersection over union from which an object counts as kept."""

    class_column: str | None = None
    """Column of the classes in vector files (default: class)."""

    background: int | None = None
    """Class of pixels that no polygon covers, or that a map declares as nodata (default: 0 for polygons without
    classes)."""

    resolution: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """Ground sampling distance in metres at which two vector files are rasterized to compare their classes."""

    block_size: PositiveInt = 2048
    """Size in px of the blocks: memory depends on it, the result does not."""
