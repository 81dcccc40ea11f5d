"""Features of an input: polygons with their classes and scores, as a vector file has them.

It knows vector files and columns; which pixels polygons hold, and which of them are alike, stands elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from numpy.typing import NDArray
from pyproj import CRS
from pyproj.exceptions import ProjError
from shapely import GeometryType

from geoseg.errors import CrsError, EvaluationError, nearest
from geoseg.evaluation.shapes import count_vertices
from geoseg.raster.given import named
from geoseg.vector.tables import read_table

CLASS, NAME, INSTANCE, SCORE, THING = "class", "name", "instance", "score", "isthing"
"""Columns as geoseg writes them."""

PREDICTED = "prediction"
"""The role of an input that is evaluated."""

NO_CLASS = -1
"""Value of a feature without a class."""

Shapes = NDArray[np.object_]
Integers = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Features:
    """Polygons with what is known of them.

    Attributes
    ----------
    shapes : NDArray
        Valid Polygons and MultiPolygons, shape (feature,); what was invalid is repaired.
    crs : CRS
        Of the shapes.
    vertices : NDArray
        int64, shape (feature,): vertices as they were written, the last of a ring not counted.
    invalid : int
        Number of features that were not valid as they were written.
    classes : NDArray or None
        int64, shape (feature,): values of classes, -1 = none.
    names : dict of int to str
        Names of those values.
    worded : bool
        Whether the values were made from words, so that they mean nothing by themselves.
    scores : NDArray or None
        float64, shape (feature,): how sure each is.
    ids : NDArray or None
        int64, shape (feature,): its ``instance`` where there is such a column, else its place in the file, from 1.
    """

    shapes: Shapes
    crs: CRS
    vertices: Integers
    invalid: int
    classes: Integers | None = None
    names: dict[int, str] = field(default_factory=dict)
    worded: bool = False
    scores: Floats | None = None
    ids: Integers | None = None

    def __len__(self) -> int:
        """Number of features."""
        return len(self.shapes)

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """Left, bottom, right and top of all; NaN when there are none."""
        left, bottom, right, top = shapely.total_bounds(self.shapes).tolist()
        return left, bottom, right, top

    def take(self, chosen: NDArray[Any]) -> Features:
        """Some of the features."""
        optional = self.classes, self.scores, self.ids
        classes, scores, ids = (None if column is None else column[chosen] for column in optional)
        return replace(
            self, shapes=self.shapes[chosen], vertices=self.vertices[chosen], classes=classes, scores=scores, ids=ids
        )  # fmt: skip

    @property
    def numbers(self) -> Integers:
        """``ids``, or else places from 1."""
        return np.arange(1, len(self) + 1) if self.ids is None else self.ids

    def reshaped(self, shapes: Shapes) -> Features:
        """The same features with other shapes, whose vertices are counted anew where they differ."""
        changed = shapes != self.shapes
        vertices = self.vertices.copy()
        vertices[changed] = count_vertices(shapes[changed])
        return replace(self, shapes=shapes, vertices=vertices)

    def to_crs(self, crs: Any) -> Features:
        """The features in another CRS; plain pixels are always the same.

        Raises
        ------
        CrsError
            There is no way from one to the other.
        """
        target = CRS.from_user_input(crs)
        if target == self.crs or (target.is_engineering and self.crs.is_engineering):
            return self
        try:
            moved = gpd.GeoSeries(self.shapes, crs=self.crs).to_crs(target).to_numpy()
        except ProjError as error:
            raise CrsError(
                f"features in '{self.crs.name}' cannot be projected to '{target.name}'; give inputs of the same area"
            ) from error
        return replace(self, shapes=areal(moved), crs=target)


def read_features(
    given: Path | str | gpd.GeoDataFrame,
    role: str,
    *,
    class_column: str | None = None,
    score_column: str | None = None,
    objects: bool = True,
) -> Features:
    """Read polygons.

    Parameters
    ----------
    given : Path, str or GeoDataFrame
        A vector file with one layer, or its features; a file without features is one of no object.
    role : str
        ``"prediction"`` or ``"truth"``, for messages.
    class_column : str, optional
        Column of classes, numbers or words; ``class`` unless given, where there is one. A prediction that has the
        columns of a run may lack it, and keeps its own.
    score_column : str, optional
        Column of scores; ``score`` unless given, where there is one.
    objects : bool
        Whether a feature stands for an object: those with a false ``isthing`` are left out, and those with one
        ``instance`` are one.

    Raises
    ------
    EvaluationError
        The file has other features than polygons, or lacks a column that was named.
    GeosegError
        As `read_table` does.
    """
    name = f"the {role}"
    table, path = read_table(given, name, "polygons", EvaluationError, may_be_empty=True), named(given)
    strangers = sorted(set(table.geom_type) - {"Polygon", "MultiPolygon"})
    if strangers:
        raise EvaluationError(f"{name} '{path}' has features of type {strangers[0]}; give polygons only")
    if objects:
        table = _as_objects(table)
    if role == PREDICTED and class_column not in table.columns and {CLASS, NAME} <= {*table.columns}:
        class_column = None  # it is a column of the truth: a run's features have their own
    classes, names, worded = _classes(table, _column(table, class_column, CLASS, path))
    scored = _column(table, score_column, SCORE, path)
    shapes = shapely.force_2d(table.geometry.to_numpy())
    scores = None if scored is None else _numbers(table[scored], scored, path)
    invalid = int(np.count_nonzero(~shapely.is_valid(shapes)))
    vertices = count_vertices(shapes)
    return Features(areal(shapes), table.crs, vertices, invalid, classes, names, worded, scores, _ids(table))


def areal(shapes: Shapes) -> Shapes:
    """The area that each of some geometries covers, valid; empty polygons where there is none."""
    result = np.array(shapes, object)
    wrong = ~shapely.is_valid(result) | ~np.isin(
        shapely.get_type_id(result), (GeometryType.POLYGON, GeometryType.MULTIPOLYGON)
    )
    for place in np.flatnonzero(wrong):
        parts = shapely.get_parts(shapely.get_parts(shapely.make_valid(result[place])))
        polygons = parts[shapely.get_type_id(parts) == GeometryType.POLYGON]
        result[place] = shapely.union_all(polygons) if len(polygons) else shapely.Polygon()
    return result


def _as_objects(table: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    """One row an object: without stuff, and with the parts of an object in one."""
    if THING in table.columns:
        table = table[table[THING].fillna(True).astype(bool)].reset_index(drop=True)
    if INSTANCE not in table.columns or not table[INSTANCE].dropna().duplicated().any():
        return table
    codes, _ = pd.factorize(table[INSTANCE])
    alone = codes < 0
    codes[alone] = len(codes) + np.arange(np.count_nonzero(alone))
    return table.dissolve(by=codes, sort=False).reset_index(drop=True)


def _column(table: gpd.GeoDataFrame, wanted: str | None, usual: str, path: str) -> str | None:
    """The name of a column; None where there is none and none was named."""
    if wanted is None:
        return usual if usual in table.columns else None
    if wanted not in table.columns:
        known = [str(name) for name in table.columns if name != table.geometry.name]
        raise EvaluationError(f"'{path}' has no column '{wanted}'; {nearest(wanted, known)}")
    return wanted


def _classes(table: gpd.GeoDataFrame, column: str | None) -> tuple[Integers | None, dict[int, str], bool]:
    """Values of classes, their names, and whether the values were made from words."""
    if column is None:
        return None, {}, False
    values = pd.to_numeric(table[column], errors="coerce")
    known = table[column].notna()
    if values[known].notna().all() and (values[known] % 1 == 0).all():
        classes = values.fillna(NO_CLASS).astype(np.int64).to_numpy()
        return classes, _names(table, classes) if column == CLASS else {}, False
    words = sorted({str(word) for word in table[column][known]})
    codes = {word: code for code, word in enumerate(words)}
    classes = np.array(
        [codes[str(word)] if here else NO_CLASS for word, here in zip(table[column], known, strict=True)]
    )
    return classes.astype(np.int64), {code: word for word, code in codes.items()}, True


def _ids(table: gpd.GeoDataFrame) -> Integers:
    """The instance of each feature, or else its place."""
    ids = np.arange(1, len(table) + 1)
    if INSTANCE in table.columns:
        instances = pd.to_numeric(table[INSTANCE], errors="coerce")
        ids = np.where(instances.notna(), instances.fillna(0), ids).astype(np.int64)
    return ids


def _names(table: gpd.GeoDataFrame, classes: Integers) -> dict[int, str]:
    """Names of classes, where a column has them as geoseg writes them."""
    if NAME not in table.columns:
        return {}
    pairs = {(int(value), str(name)) for value, name in zip(classes, table[NAME], strict=True) if pd.notna(name)}
    names = dict(pairs)
    return names if len(names) == len(pairs) == len(set(names.values())) else {}


def _numbers(column: pd.Series[Any], name: str, path: str) -> Floats:
    numbers = pd.to_numeric(column, errors="coerce").to_numpy(np.float64)
    if not np.isfinite(numbers).all():
        raise EvaluationError(f"'{path}' has a feature without a number in the column '{name}'; give each one a score")
    return numbers
