"""Options of an evaluation: what is counted, and how; not what is evaluated."""

from __future__ import annotations

import math
import re
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, field_validator

from geoseg.options.table import Options
from geoseg.options.values import OneOrMore, PathText, RegionText, Words, Written, words

LIMITS = (32.0**2, 96.0**2)
"""Areas from which objects are medium, and large, as COCO has them."""

_LENGTH = re.compile(r"\s*(\d+\.?\d*|\.\d+)\s*(px|m)?\s*")


def _classes(value: Any) -> Any:
    """Classes to evaluate, or names of values: ``1=water,2=forest``."""
    if not isinstance(value, str) or "=" not in value:
        return words(value) if isinstance(value, str) else value
    pairs = [[part.strip() for part in str(word).split("=", 1)] for word in words(value)]
    if not all(number.isdecimal() for number, *_ in pairs):
        raise ValueError("write values and names, such as 1=water,2=forest")
    return {int(number): "".join(name) or number for number, *name in pairs}


def _sizes(value: Any) -> Any:
    """Two areas, larger than 0 and ascending."""
    try:
        small, large = [float(item) for item in (value.split(",") if isinstance(value, str) else value)]
    except (TypeError, ValueError):
        small, large = 0.0, 0.0
    if not 0 < small < large < math.inf:
        raise ValueError("give two ascending areas, such as 100,1000")
    return small, large


ClassWords = Annotated[
    list[int | str] | dict[int, str],
    BeforeValidator(_classes, json_schema_input_type=str | list[int | str] | dict[int, str]),
    Written(metavar="LIST"),
]
"""Classes by name or value, or names for values."""


class EvaluationOptions(Options):
    """An evaluation; each key is an option of geoseg evaluate and an argument of geoseg.evaluate."""

    panel: ClassVar[str] = "Evaluation"

    task: Literal["semantic", "instance", "panoptic", "polygons"] | None = None
    """Metrics to compute: of pixels, objects, panoptic maps, or polygons (default: found from the inputs)."""

    classes: ClassWords | None = None
    """Classes to evaluate, by name or value, such as water,forest; or names for values: 1=water,2=forest (default:
    all)."""

    ignore: Words = Field(default=[])
    """Classes of the ground truth to leave out, by name or value, such as 0,255."""

    region: RegionText | None = None
    """Area to evaluate: a vector file of polygons, or bounds minx,miny,maxx,maxy with an optional CRS as fifth part
    (default: all of the ground truth)."""

    tolerance: str | float = "2px"
    """Distance within which boundaries match, in pixels or metres: 2px or 5m."""

    class_column: str | None = None
    """Column of the classes in vector files (default: class)."""

    score_column: str | None = None
    """Column of the scores in vector files (default: score)."""

    scores: PathText | None = None
    """Table with the columns instance and score, for a raster of objects."""

    instances: PathText | None = None
    """Raster of the prediction's objects, beside its labels."""

    truth_instances: PathText | None = None
    """Raster of the ground truth's objects, beside its labels."""

    thing_classes: OneOrMore | None = None
    """Classes of a panoptic map that have objects, by name or value (default: those with objects on most of their
    pixels)."""

    sizes: Annotated[
        tuple[float, float],
        BeforeValidator(_sizes, json_schema_input_type=str | tuple[float, float]),
        Written("str | tuple[float, float]", "LIST"),
    ] = LIMITS
    """Areas from which objects count as medium and as large, such as 100,1000: in m2, or in px without a CRS."""

    background: int | None = None
    """Value of pixels that no polygon covers, or that the prediction declares as nodata (default: 0 for polygons
    without classes)."""

    resolution: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """Ground sampling distance in metres at which two vector files are rasterized."""

    @field_validator("tolerance")
    @classmethod
    def _is_length(cls, value: str | float) -> str | float:
        if _LENGTH.fullmatch(str(value)) is None:
            raise ValueError("write a length, such as 2px or 5m")
        return value

    def length(self) -> tuple[float, str]:
        """The tolerance: a number, and ``"px"`` or ``"m"``."""
        found = _LENGTH.fullmatch(str(self.tolerance))
        return (0.0, "px") if found is None else (float(found[1]), found[2] or "px")
