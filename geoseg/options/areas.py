"""Options of areas of a map, and of the sample of points that corrects them."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, PositiveInt

from geoseg.options.table import Options
from geoseg.options.values import Written


class AreaOptions(Options):
    """Areas of a map; each key is an option of geoseg areas and an argument of geoseg.areas."""

    panel: ClassVar[str] = "Areas"

    zones: Annotated[str, Written("TableLike", "PATH")] | None = None
    """Vector file of polygons, such as counties: areas by class within each."""

    zone_column: str | None = None
    """Column that names the zones (default: their numbers, from 1)."""

    sample: Annotated[str, Written("TableLike", "PATH")] | None = None
    """Vector file of points with the class that was found there, of geoseg sample: areas are estimated by them, with
    their error."""

    reference_column: str = "reference"
    """Column of the class of the points, by name or value."""

    unit: Literal["m2", "ha", "km2", "acres"] = "ha"
    """Unit of areas."""

    confidence: float = Field(default=0.95, gt=0, lt=1)
    """Level of the confidence intervals of estimated areas, 0 to 1."""


class SampleOptions(Options):
    """A sample of points; each key is an option of geoseg sample and an argument of geoseg.sample."""

    panel: ClassVar[str] = "Sample"

    size: PositiveInt = 500
    """Points of all classes, in proportion to their areas."""

    minimum: PositiveInt = 50
    """Points of a class at least, so that rare classes have an error too."""

    seed: int = Field(default=0, ge=0)
    """Seed of all random numbers; the same one gives the same points."""
