"""What a person may say about an evaluation, checked.

It knows options, not what is evaluated.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from geoseg.errors import WorkflowError, nearest
from geoseg.evaluation.coco import LIMITS
from geoseg.vector import RegionLike, region_text

TASKS = ("semantic", "instance", "panoptic", "polygons")
"""What can be judged."""

_LENGTH = re.compile(r"\s*(\d+\.?\d*|\.\d+)\s*(px|m)?\s*")


@dataclass(frozen=True)
class Settings:
    """Options of an evaluation.

    Attributes
    ----------
    task : str or None
        One of `TASKS`; found from what is given unless named.
    classes : sequence of str or int, mapping of int to str, or None
        The only classes that are judged, by value or name; or names for values.
    ignore : sequence of str or int
        Truth that is no class (or, of objects, no object but unknown ground).
    region : str, path, GeoDataFrame, GeoSeries, shapely geometry, Region or None
        Only what lies inside counts; as of `geoseg.vector.read_region`, kept as text. A geometry without a CRS lies in
        that of the truth, or of the prediction where only that is a raster.
    tolerance : str or float
        How far boundaries may be apart: ``"2px"``, ``"5m"``, or a number of pixels.
    class_column, score_column : str or None
        Columns of vector files; ``class`` and ``score`` unless given.
    scores : path or None
        A table with the columns ``instance`` and ``score``, for a raster of objects.
    instances, truth_instances : path or None
        Rasters of objects that go with label rasters.
    thing_classes : sequence of str or int, or None
        Classes that have objects, in a panoptic map; those most of whose true pixels belong to one unless given.
    sizes : (float, float)
        Areas from which objects are medium, and large; m2 where there is a CRS, else px.
    background : int or None
        Value of pixels that no polygon holds, and that a predicted raster declares as nodata; unless given 0 for
        polygons without classes, and no class for others.
    resolution : float or None
        Metres per pixel of the grid onto which two vector files are burnt.
    """

    task: str | None = None
    classes: Sequence[str | int] | Mapping[int, str] | None = None
    ignore: Sequence[str | int] = ()
    region: RegionLike | None = None
    tolerance: str | float = "2px"
    class_column: str | None = None
    score_column: str | None = None
    scores: str | Path | None = None
    instances: str | Path | None = None
    truth_instances: str | Path | None = None
    thing_classes: Sequence[str | int] | None = None
    sizes: tuple[float, float] = LIMITS
    background: int | None = None
    resolution: float | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        if self.task is not None and self.task not in TASKS:
            raise WorkflowError(f"no task is called '{self.task}'; {nearest(self.task, TASKS)}")
        self.length()
        if len(self.sizes) != 2 or not 0 < self.sizes[0] < self.sizes[1] < math.inf:
            raise WorkflowError(
                f"the sizes {','.join(map(str, self.sizes))} are not two ascending areas; give where medium and large "
                "objects begin, such as 100,1000"
            )
        if self.resolution is not None and not 0 < self.resolution < math.inf:
            raise WorkflowError(f"a resolution of {self.resolution} is not a length; give metres per pixel, such as 1")

    @classmethod
    def of(cls, **given: object) -> Settings:
        """Take keywords, None as if it was not given.

        Raises
        ------
        WorkflowError
            A key is not known, or a value cannot be meant.
        """
        known = [item.name for item in fields(cls)]
        for key in given:
            if key not in known:
                raise WorkflowError(f"no option of evaluate is called '{key}'; {nearest(key, known)}")
        return cls(**{key: _plain(key, value) for key, value in given.items() if value is not None})

    def length(self) -> tuple[float, str]:
        """The tolerance: a number, and ``"px"`` or ``"m"``."""
        found = _LENGTH.fullmatch(str(self.tolerance))
        if found is None:
            raise WorkflowError(f"a tolerance of '{self.tolerance}' is not a length; write it like 2px or 5m")
        return float(found[1]), found[2] or "px"


def _plain(key: str, value: Any) -> Any:
    """Paths and regions as text."""
    if key == "region":
        return region_text(value)
    return os.fspath(value) if isinstance(value, os.PathLike) else value
