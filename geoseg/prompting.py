"""Prompts of a run: a vector layer of points, boxes and polygons, taken to the raster's pixels and asked for by window.

It knows vector files, a raster's grid and windows; nothing of the models that answer.

Strategy. Everything is taken to pixels of the raster once and kept in plain arrays, points in the order of their rows:
those of a window are a slice, and boxes are compared all at once. What stands outside of the raster is cut off, since
tiles at the border see a reflection there.
"""

from __future__ import annotations

import hashlib
import warnings
from dataclasses import dataclass, field

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from shapely import GeometryType

from geoseg.errors import InputWarning, RegionError, VectorError, nearest
from geoseg.grid import Window
from geoseg.models.prompts import Box, Prompt, Prompts
from geoseg.vector.grids import placing
from geoseg.vector.pixels import centres_inside, edges_of
from geoseg.vector.tables import GEOJSON, TableLike, check_edges, read_table, table_text, with_names

EVERY = -1
"""The owner of points that no object owns: negative ones, which count for every object of a tile."""

POSITIVE = "positive"
"""The column that says whether a point lies on an object."""

OBJECT = "object"
"""The column that says which rows mark the same object."""

SIGNS = dict.fromkeys(("", "1", "1.0", "true", "positive"), True) | dict.fromkeys(
    ("0", "0.0", "false", "negative"), False
)
"""What may stand in the column of signs, in lower case."""

WHAT = "the layer of prompts"

SPOTS = (GeometryType.POINT, GeometryType.MULTIPOINT)

FILLED = 0.999
"""The share of its bounds that a rectangle fills; what fills less has a shape of its own."""

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Bools = NDArray[np.bool_]
Shapes = NDArray[np.object_]


@dataclass(frozen=True, eq=False)
class PromptLayer:
    """Prompts of a run, px of the raster.

    Attributes
    ----------
    points : float64 array
        Shape (point, 2): x, y, in ascending order of y.
    positive : bool array
        Shape (point,): True = on the object, False = beside it.
    owners : int64 array
        Shape (point,): the object of each point, -1 = every object.
    boxes : float64 array
        Shape (area, 4): left, top, right, bottom of what polygons mark, one an object.
    box_owners : int64 array
        Shape (area,): the object of each box.
    outlines : object array
        Shape (area,): Polygon or MultiPolygon where the box does not say it all, else None.
    text : str or None
        What every object is to be, in words; it is asked in every tile.
    """

    points: Floats = field(default_factory=lambda: np.empty((0, 2)))
    positive: Bools = field(default_factory=lambda: np.empty(0, np.bool_))
    owners: Integers = field(default_factory=lambda: np.empty(0, np.int64))
    boxes: Floats = field(default_factory=lambda: np.empty((0, 4)))
    box_owners: Integers = field(default_factory=lambda: np.empty(0, np.int64))
    outlines: Shapes = field(default_factory=lambda: np.empty(0, object))
    text: str | None = None

    def within(self, window: Window) -> Prompts:
        """Give the prompts of a tile: points that lie in it, boxes and outlines cut to it.

        An object of which only negative points are left has nothing to be found by, so it is left out.
        """
        points, areas = self._points_of(window), self._areas_of(window)
        owners = self.owners[points]
        wanted = np.union1d(owners[self.positive[points]], self.box_owners[areas])
        place = dict(zip(self.box_owners[areas].tolist(), areas.tolist(), strict=True))
        objects = (
            self._prompt(number, points[(owners == number) | (owners == EVERY)], place.get(number), window)
            for number in wanted.tolist()
        )
        return Prompts(tuple(objects), self.text)

    def touches(self, window: Window) -> bool:
        """Say whether anything is asked in a window: ``within(window)`` has a text or an object."""
        if self.text is not None or len(self._areas_of(window)):
            return True
        return bool(self.positive[self._points_of(window)].any())

    def digest(self) -> str:
        """Return ``"sha256:<hex>"`` of all prompts, for the run's fingerprint."""
        digest = hashlib.sha256(repr((self.text, len(self.points), len(self.boxes))).encode())
        for array in (self.points, self.positive, self.owners, self.boxes, self.box_owners):
            digest.update(array.tobytes())
        for outline in shapely.to_wkb(self.outlines):
            digest.update(outline or b"\0")
        return f"sha256:{digest.hexdigest()}"

    def _points_of(self, window: Window) -> Integers:
        """Indices of the points in a window, ``y <= point < bottom`` and so across."""
        start, stop = np.searchsorted(self.points[:, 1], [window.y, window.bottom])
        x = self.points[start:stop, 0]
        return np.asarray(start + np.flatnonzero((window.x <= x) & (x < window.right)), np.int64)

    def _areas_of(self, window: Window) -> Integers:
        """Indices of the boxes that share some of their area with a window, and whose outlines meet it."""
        left, top, right, bottom = self.boxes.T
        meets = (left < window.right) & (window.x < right) & (top < window.bottom) & (window.y < bottom)
        near = np.flatnonzero(meets)
        outlines = self.outlines[near]
        tile = shapely.box(window.x, window.y, window.right, window.bottom)
        return np.asarray(near[shapely.is_missing(outlines) | shapely.intersects(outlines, tile)], np.int64)

    def _prompt(self, number: int, points: Integers, area: int | None, window: Window) -> Prompt:
        """One object in pixels of a tile."""
        xy = (self.points[points] - (window.x, window.y)).astype(np.float32)
        box = None if area is None else _cut(self.boxes[area], window)
        mask = None if area is None else _mask(self.outlines[area], window)
        return Prompt(number, xy, self.positive[points], box, mask)


def prompts_text(prompts: TableLike) -> str:
    """What `read_prompts` takes as text: a path as it is, features with their signs and objects as GeoJSON.

    Raises
    ------
    VectorError
        It is something else.
    CrsError
        A table has no CRS.
    """
    return table_text(prompts, WHAT, (POSITIVE, OBJECT), VectorError)


def read_prompts(prompts: TableLike, geobox: GeoBox, *, column: str = POSITIVE) -> PromptLayer:
    """Read a layer of prompts onto a raster's grid.

    A point marks the object that it lies on, or, where it is negative, what is beside every object. A rectangle, in
    the layer's CRS or in pixels, is a box around an object; the shape of any other polygon is a mask of it besides.
    Parts of a multi-geometry, and rows with the same value in a column ``object``, mark one object. In a raster in
    degrees prompts are turned to its longitudes, such as those from 0 to 360.

    Parameters
    ----------
    prompts : str, path, GeoDataFrame, GeoSeries or shapely geometry
        A vector file in any CRS with points, polygons or both; or such features in memory, or as GeoJSON text. A
        geometry lies in the raster's CRS.
    geobox : GeoBox
        The raster's grid.
    column : str
        The column that says whether a point is positive: 1, true, ``positive`` or nothing, or that it is not: 0,
        false or ``negative``.

    Returns
    -------
    PromptLayer
        What lies within the raster.

    Raises
    ------
    InputNotFoundError
        There is no such file.
    VectorError
        It is no vector file, has several layers or no features, has lines, or values that cannot be understood.
    CrsError
        It has no CRS.
    RegionError
        No prompt lies within the raster.
    """
    text = table_text(prompts, WHAT, (POSITIVE, OBJECT, column), VectorError)
    called = "the prompts" if GEOJSON.match(text) else f"the prompts '{text}'"
    table = read_table(text, WHAT, "at least one point or polygon", VectorError, crs=geobox.crs)
    table = with_names(table, (column, OBJECT))
    _check_kinds(table, called)
    check_edges(table.geometry.to_numpy(), table.crs, f"a feature of {called}", RegionError)
    shapes = shapely.force_2d(table.geometry.to_numpy())
    positive, owners = _signs(table, column, called), _owners(table)
    spots = np.isin(shapely.get_type_id(shapes), SPOTS)
    if not positive[~spots].all():
        raise VectorError(
            f"{called} have a polygon that is not positive; only points can be negative: give points for background."
        )
    height, width = geobox.shape
    owners[spots & ~positive & _unnamed(table)] = EVERY
    placed = placing(table.crs, geobox)(shapes)
    layer = PromptLayer(
        *_points(placed[spots], positive[spots], owners[spots], (height, width)),
        *_areas(shapes[~spots], placed[~spots], owners[~spots], (height, width)),
    )
    if not layer.touches(Window(0, 0, height, width)):
        raise RegionError(
            f"no point and no polygon of {called} that marks an object lies within the raster; give "
            "prompts of the same area."
        )
    _note_outside(placed, (height, width), called)
    return layer


def _note_outside(placed: Shapes, shape: tuple[int, int], called: str) -> None:
    """Say how many prompts, in pixels, have no part within the raster."""
    last_y, last_x = np.nextafter(shape, 0)  # points of the right and the lower edge belong to no pixel
    outside = ~shapely.intersects(placed, shapely.box(0, 0, last_x, last_y))
    if outside.any():
        message = f"{outside.sum():,} of {len(placed):,} features of {called} lie outside of the raster; left out."
        warnings.warn(InputWarning(message), stacklevel=3)


def _check_kinds(table: gpd.GeoDataFrame, called: str) -> None:
    """Refuse what is neither points nor polygons."""
    strangers = sorted(set(table.geom_type) - {"Point", "MultiPoint", "Polygon", "MultiPolygon"})
    if strangers:
        raise VectorError(f"{called} have features of type {strangers[0]}; give points or polygons.")


def _signs(table: gpd.GeoDataFrame, column: str, called: str) -> Bools:
    """Say of each row whether it is positive."""
    if column not in table.columns:
        if column != POSITIVE:
            known = [str(name) for name in table.columns]
            raise VectorError(f"{called} have no column '{column}'; {nearest(column, known)}")
        return np.ones(len(table), np.bool_)
    codes, values = pd.factorize(table[column])
    words = [str(value).strip().lower() for value in values]
    for word in words:
        if word not in SIGNS:
            raise VectorError(
                f"{called} have '{word}' in the column '{column}'; write positive or negative, 1 or 0, or "
                "true or false."
            )
    return np.array([*(SIGNS[word] for word in words), True])[codes]  # a missing value has the code -1


def _unnamed(table: gpd.GeoDataFrame) -> Bools:
    """Say of each row whether no object is named for it."""
    return table[OBJECT].isna().to_numpy() if OBJECT in table.columns else np.ones(len(table), np.bool_)


def _owners(table: gpd.GeoDataFrame) -> Integers:
    """Number the object of each row: those that are named first, then each row on its own."""
    names = table[OBJECT] if OBJECT in table.columns else pd.Series(np.nan, table.index)
    codes, named = pd.factorize(names)
    alone = codes < 0
    codes[alone] = len(named) + np.arange(alone.sum())
    return codes.astype(np.int64)


def _points(
    placed: Shapes, positive: Bools, owners: Integers, shape: tuple[int, int]
) -> tuple[Floats, Bools, Integers]:
    """Points in pixels: the first three attributes of `PromptLayer`."""
    xy, row = shapely.get_coordinates(placed, return_index=True)
    inside = ((xy >= 0) & (xy < shape[::-1])).all(axis=1)
    xy, row = xy[inside], row[inside]
    order = np.argsort(xy[:, 1], kind="stable")
    return xy[order], positive[row[order]], owners[row[order]]


def _areas(shapes: Shapes, placed: Shapes, owners: Integers, shape: tuple[int, int]) -> tuple[Floats, Integers, Shapes]:
    """Polygons as they were given and in pixels: the last three attributes of `PromptLayer` but its text."""
    moved = shapely.make_valid(placed)
    moved = np.where(_are_rectangles(shapes), shapely.box(*shapely.bounds(moved).T), moved)
    cut = shapely.clip_by_rect(moved, 0, 0, *shape[::-1])
    mixed = shapely.get_type_id(cut) == GeometryType.GEOMETRYCOLLECTION
    cut[mixed] = shapely.buffer(cut[mixed], 0)  # a repaired polygon may have lines beside it
    kept = shapely.area(cut) > 0
    united, numbers = _unite(cut[kept], owners[kept])
    boxes, plain = shapely.bounds(united), _are_rectangles(united)
    united[plain] = None
    return boxes, numbers, united


def _are_rectangles(shapes: Shapes) -> Bools:
    """Say of each polygon whether it fills its bounds."""
    left, bottom, right, top = shapely.bounds(shapes).T
    return np.asarray(shapely.area(shapes) >= FILLED * (right - left) * (top - bottom), np.bool_)


def _unite(areas: Shapes, owners: Integers) -> tuple[Shapes, Integers]:
    """One area an object."""
    order = np.argsort(owners, kind="stable")
    numbers, starts, counts = np.unique(owners[order], return_index=True, return_counts=True)
    united = areas[order][starts]
    for several in np.flatnonzero(counts > 1):
        united[several] = shapely.union_all(areas[order[starts[several] :][: counts[several]]])
    return united, numbers


def _cut(box: Floats, window: Window) -> Box:
    """A box cut to a window, from the window's corner."""
    left, top, right, bottom = box.tolist()
    return (
        max(left - window.x, 0.0),
        max(top - window.y, 0.0),
        min(right - window.x, float(window.width)),
        min(bottom - window.y, float(window.height)),
    )


def _mask(outline: shapely.Geometry | None, window: Window) -> Bools | None:
    """Pixels of a window whose centres lie in an outline; None when there are none."""
    if outline is None:
        return None
    mask = centres_inside(edges_of(outline, Affine.identity()), window)
    return mask if mask.any() else None
