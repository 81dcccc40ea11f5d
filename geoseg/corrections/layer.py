"""The features of a layer of corrections, taken to the pixels of a raster, with the labels that they give or deny."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from shapely import GeometryType

from geoseg.errors import InputWarning, RegionError, VectorError
from geoseg.grid import Window
from geoseg.vector.grids import placing
from geoseg.vector.tables import GEOJSON, TableLike, check_edges, read_table, table_text

WHAT = "the layer of corrections"

CLASSES = ("class", "class_id", "name")
"""Columns that say what class it is: the first that a layer has."""

DENIED = "not"
"""The column that says what class it is not."""

SPOTS = (GeometryType.POINT, GeometryType.MULTIPOINT)

Naming = Callable[[int | str], int]
"""Gives the label of a class that a person means."""

Integers = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class CorrectionLayer:
    """Corrections of a run, px of its raster, in the order of the layer.

    Attributes
    ----------
    name : str
        The file, or what the layer is called.
    shapes : object array
        Shape (polygon,): Polygons and MultiPolygons.
    shape_labels, spot_labels : int64 array
        Shape (polygon,) and (point,): the label that each gives, or denies.
    shape_denies, spot_denies : bool array
        True = it is any label but that.
    spots : int64 array
        Shape (point, 2): row and column of the pixel that each point lies in.
    outside : int
        Features that lie outside of the raster.
    """

    name: str
    shapes: NDArray[np.object_]
    shape_labels: Integers
    shape_denies: NDArray[np.bool_]
    spots: Integers
    spot_labels: Integers
    spot_denies: NDArray[np.bool_]
    outside: int = 0

    @property
    def denies(self) -> bool:
        """Whether any feature says what class it is not."""
        return bool(self.shape_denies.any() or self.spot_denies.any())

    def bounds(self) -> NDArray[np.float64]:
        """Left, top, right and bottom of each polygon, float64 (polygon, 4)."""
        return np.asarray(shapely.bounds(self.shapes), np.float64)

    def near(self, window: Window) -> Integers:
        """Positions of the polygons whose bounds meet a window, in order."""
        left, top, right, bottom = self.bounds().T
        meets = (left < window.right) & (window.x < right) & (top < window.bottom) & (window.y < bottom)
        return np.flatnonzero(meets)

    def digest(self) -> str:
        """Return ``"sha256:<hex>"`` of all that they decide."""
        digest = hashlib.sha256(repr((len(self.shapes), len(self.spots))).encode())
        for array in (self.shape_labels, self.shape_denies, self.spots, self.spot_labels, self.spot_denies):
            digest.update(np.ascontiguousarray(array).tobytes())
        for shape in shapely.to_wkb(self.shapes):
            digest.update(shape)
        return f"sha256:{digest.hexdigest()}"

    def summary(self) -> dict[str, Any]:
        """What there is, as JSON values."""
        return {
            "file": self.name,
            "polygons": len(self.shapes),
            "points": len(self.spots),
            "outside": self.outside,
        }


def corrections_text(corrections: TableLike) -> str:
    """What `read_corrections` takes as text: a path as it is, features with their classes as GeoJSON.

    Raises
    ------
    VectorError
        It is something else.
    CrsError
        A table has no CRS.
    """
    return table_text(corrections, WHAT, (*CLASSES, DENIED), VectorError)


def read_corrections(corrections: TableLike, geobox: GeoBox, naming: Naming) -> CorrectionLayer:
    """Read a layer of corrections onto a raster's grid.

    Parameters
    ----------
    corrections : str, path, GeoDataFrame, GeoSeries or shapely geometry
        Polygons and points in any CRS, with a class in the first of `CLASSES` that there is, or with the class that it
        is not in a column ``not``.
    geobox : GeoBox
        The raster's grid.
    naming : callable
        Gives the label of a class by its name or value; raises where there is none.

    Raises
    ------
    InputNotFoundError
        There is no such file.
    VectorError
        It is no vector file, has several layers, lines, or a feature without a class, or with two.
    CrsError
        It has no CRS.
    RegionError
        No feature lies within the raster.

    Warns
    -----
    InputWarning
        Some features lie outside of the raster.
    """
    text = corrections_text(corrections)
    called = "the corrections" if GEOJSON.match(text) else f"the corrections '{text}'"
    wanted = "polygons or points that have a class"
    table = read_table(text, WHAT, wanted, VectorError, may_be_empty=True, crs=geobox.crs)
    labels, denies = _labels(table, called, naming)
    _check_kinds(table, called)
    check_edges(table.geometry.to_numpy(), table.crs, f"a feature of {called}", RegionError)
    place = placing(table.crs, geobox)
    shapes = place(shapely.force_2d(table.geometry.to_numpy()))
    areal = ~np.isin(shapely.get_type_id(table.geometry.to_numpy()), SPOTS)
    height, width = geobox.shape
    raster = shapely.box(0, 0, width, height)
    inside = np.asarray(shapely.intersects(shapes, raster) & ~shapely.touches(shapes, raster), np.bool_)
    outside = int(np.count_nonzero(~inside))
    if outside and outside == len(table):
        raise RegionError(f"no feature of {called} lies within the raster; give corrections of the same area.")
    if outside:
        message = f"{outside:,} of {len(table):,} features of {called} lie outside of the raster; left out."
        warnings.warn(InputWarning(message), stacklevel=2)
    polygons, points = np.flatnonzero(inside & areal), np.flatnonzero(inside & ~areal)
    valid = shapely.make_valid(shapes[polygons])
    xy, owner = shapely.get_coordinates(shapes[points], return_index=True)
    spots = np.floor(xy[:, ::-1]).astype(np.int64)
    within = ((spots >= 0) & (spots < (height, width))).all(axis=1)
    of_point = points[owner[within]]
    return CorrectionLayer(
        "features in memory" if GEOJSON.match(text) else text,
        _areal(valid), labels[polygons], denies[polygons],
        spots[within], labels[of_point], denies[of_point],
        outside,
    )  # fmt: skip


def _check_kinds(table: gpd.GeoDataFrame, called: str) -> None:
    """Refuse what is neither points nor polygons."""
    strangers = sorted(set(table.geom_type) - {"Point", "MultiPoint", "Polygon", "MultiPolygon"})
    if strangers:
        raise VectorError(f"{called} have features of type {strangers[0]}; give polygons or points.")


def _labels(table: gpd.GeoDataFrame, called: str, naming: Naming) -> tuple[Integers, NDArray[np.bool_]]:
    """The label of each feature, and whether it is denied."""
    columns = {str(name).casefold(): name for name in table.columns if name != table.geometry.name}
    column = next((columns[name] for name in CLASSES if name in columns), None)
    if column is None and DENIED not in columns and len(table):
        raise VectorError(f"{called} have no column of classes; add one that is called class, or not.")
    absent: list[int | str | None] = [None] * len(table)
    classes = absent if column is None else _written(table[column])
    denied = _written(table[columns[DENIED]]) if DENIED in columns else absent
    labels = np.zeros(len(table), np.int64)
    for row, (item, other) in enumerate(zip(classes, denied, strict=True)):
        given = [value for value in (item, other) if value is not None]
        if len(given) != 1:
            has = f"the class {item} and not {other}" if given else "neither a class nor a class that it is not"
            raise VectorError(f"feature {row + 1} of {called} has {has}; give it one of the two.")
        try:
            labels[row] = naming(given[0])
        except ValueError as error:
            raise VectorError(f"feature {row + 1} of {called}: {error}") from error
    return labels, np.array([item is None for item in classes], np.bool_)


def _written(column: pd.Series[Any]) -> list[int | str | None]:
    """Classes as people write them: None where there is none, whole numbers that were stored as floats."""
    return [_class(item) for item in column.tolist()]


def _class(item: Any) -> int | str | None:
    if item is None or item == "" or pd.isna(item):
        return None
    if isinstance(item, float) and item.is_integer():
        return int(item)
    return item if type(item) is int else str(item)


def _areal(shapes: NDArray[np.object_]) -> NDArray[np.object_]:
    """Polygons of what a repair returns, which may have lines beside them."""
    mixed = shapely.get_type_id(shapes) == GeometryType.GEOMETRYCOLLECTION
    result = shapes.copy()
    result[mixed] = shapely.buffer(shapes[mixed], 0)
    return result
