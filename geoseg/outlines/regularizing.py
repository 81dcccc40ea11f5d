"""Outlines of buildings with straight walls, strip by strip, for rasters of any size.

Strategy. Features come sorted by their first pixel, so once those of a strip of the raster's rows are there, and those
of the next strip, nothing that is still to come begins higher. A strip is settled together: its own features are free,
those of the next strip keep their shapes for now, and those of strips before are decided. Strips are rows of the
raster, not of blocks, so the result is the same for every layout; two strips are held at a time, so memory does not
depend on the raster's height. A feature that reaches beyond the next strip stays as it was traced.

It knows tables of features; how walls are found is the matter of `footprints`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pyarrow as pa
import shapely
from numpy.typing import NDArray

from geoseg.arcs.chains import Integers
from geoseg.arcs.metric import Metric
from geoseg.arcs.rings import Rings
from geoseg.footprints import (
    FIXED,
    LOOSE,
    ON_EDGE,
    RIGHT_ANGLES,
    Decided,
    Forms,
    Network,
    Plane,
    Rules,
    TracedFaces,
    bounds,
    settle,
)
from geoseg.outlines.clipping import replaced
from geoseg.outlines.plan import OutlinePlan
from geoseg.vector.wkb import decode, encode
from geoseg.vectorize.areas import measure, placed

STRIP = 2_048
"""Rows of a strip, px."""

REACH = 16, 8.0
"""An outline may stray from what was traced by so many px, or tolerances if that is more."""

SQUARE = 16
"""Px: the side of a square that is measured to know the length of a metre."""

ROUNDING = 0.02
"""Metres by which an edge may become shorter when its ends are rounded to seven decimals of a degree."""

Geometries = NDArray[np.object_]
Flags = NDArray[np.bool_]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class _Faces:
    """Polygons of features: as they were traced, px, and as they are now, in the CRS."""

    traced: Rings
    polygons: Geometries

    def take(self, index: Integers) -> _Faces:
        return _Faces(self.traced.take(index), self.polygons[index])

    @classmethod
    def concatenate(cls, parts: Iterable[_Faces]) -> _Faces:
        parts = list(parts)
        polygons = np.concatenate([np.empty(0, object), *(part.polygons for part in parts)])
        return cls(Rings.concatenate([part.traced for part in parts]), polygons)


@dataclass(frozen=True)
class _Strip:
    """The features of a strip, and the row of the table that each of their polygons is of."""

    number: int
    table: pa.Table
    faces: _Faces
    row: Integers


def regularize(tables: Iterable[pa.Table], plan: OutlinePlan) -> Iterator[pa.Table]:
    """Give features straight walls.

    Parameters
    ----------
    tables : iterable of Table
        As `geoseg.vectorize.features` makes them, sorted by key; equal keys stand in one table.
    plan : OutlinePlan
        With a tolerance.

    Yields
    ------
    Table
        The same features in the same order; those that were changed are measured anew.
    """
    sweep = _Sweep(plan)
    strip: _Strip | None = None
    for number, table in _strips(tables, STRIP * plan.raster_shape[1]):
        following = _decoded(number, table, plan)
        if strip is not None:
            yield sweep.settle(strip, following)
        strip = following
    if strip is not None:
        yield sweep.settle(strip, None)


def _strips(tables: Iterable[pa.Table], size: int) -> Iterator[tuple[int, pa.Table]]:
    """Gather what belongs to one strip, whose keys are so many; strips without features are left out."""
    waiting: list[pa.Table] = []
    number = -1
    for table in tables:
        strip = table.column("key").to_numpy() // size
        for begin, end in _runs(strip):
            if waiting and strip[begin] != number:
                yield number, pa.concat_tables(waiting)
                waiting = []
            number = int(strip[begin])
            waiting.append(table.slice(begin, end - begin))
    if waiting:
        yield number, pa.concat_tables(waiting)


def _runs(values: Integers) -> Iterator[tuple[int, int]]:
    """Where equal values begin and end."""
    begins = np.flatnonzero(np.diff(values, prepend=-1)).tolist()
    yield from itertools.pairwise([*begins, len(values)])


def _decoded(number: int, table: pa.Table, plan: OutlinePlan) -> _Strip:
    polygons, row = shapely.get_parts(decode(table.column("geometry")), return_index=True)
    rings = _in_pixels(polygons, plan)
    traced = Rings(np.rint(rings.xy).astype(np.int32), rings.rings, rings.polygons)
    return _Strip(number, table, _Faces(traced, polygons), row.astype(np.int64))


def _in_pixels(polygons: Geometries, plan: OutlinePlan) -> Rings:
    _, xy, (rings, parts) = shapely.to_ragged_array(polygons)
    return Rings(placed(xy, ~plan.transform), rings.astype(np.int64), parts.astype(np.int64))


class _Sweep:
    """What is known from the strips before."""

    def __init__(self, plan: OutlinePlan) -> None:
        self.plan = plan
        self.still, self.decided = _Faces.concatenate([]), Decided()
        pixel = math.sqrt(abs(plan.transform.determinant))
        self.tolerance = plan.tolerance or 0.0
        self.reach = min(max(REACH[0], REACH[1] * self.tolerance / pixel), STRIP / 4)

    def settle(self, strip: _Strip, following: _Strip | None) -> pa.Table:
        """Settle the features of a strip, and describe them."""
        faces, end = strip.faces, (strip.number + 2) * STRIP
        is_free = bounds(faces.traced)[:, 3] + self.reach <= end
        is_changed = np.zeros(len(is_free), bool)
        decided = Decided()
        if is_free.any():
            later = following.faces if following and following.number == strip.number + 1 else _Faces.concatenate([])
            scene, place = self._scene(faces, is_free, later, end + STRIP)
            plane = self._plane(strip.number)
            rules = self._rules(strip.number, plane)
            settled = settle(scene, Forms.of(scene, self.decided, plane, self.tolerance, rules))
            faces = _Faces(faces.traced, settled.polygons[place])
            is_changed, decided = settled.is_changed[place], settled.decided
        self._remember(faces, (following or strip).number * STRIP, decided)
        return self._described(strip, faces.polygons, is_changed)

    def _scene(self, faces: _Faces, is_free: Flags, later: _Faces, end: int) -> tuple[TracedFaces, slice]:
        """Features of a strip with those around, and the place of the former; those that end too low are decided."""
        tree = shapely.STRtree(_boxes(faces.traced.take(np.flatnonzero(is_free)), 2 * self.reach))
        still, later = (part.take(np.unique(tree.query(_boxes(part.traced, 0))[0])) for part in (self.still, later))
        together = _Faces.concatenate([still, faces, later])
        is_late = bounds(later.traced)[:, 3] + self.reach <= end
        place = slice(len(still.polygons), len(still.polygons) + len(is_free))
        free, decided = np.zeros(len(together.polygons), bool), np.zeros(len(together.polygons), bool)
        free[place] = is_free
        decided[: place.stop], decided[place.stop :] = True, ~is_late
        network = Network.of(together.traced, self._holds(together))
        transform = partial(placed, transform=self.plan.transform)
        return TracedFaces(
            together.traced, network, together.polygons, free, decided & ~free, transform, self.reach
        ), place

    def _holds(self, faces: _Faces) -> NDArray[np.uint8]:
        """What holds each step from a vertex to the next: the raster's edge, or a region that cuts there."""
        xy = faces.traced.xy
        height, width = self.plan.raster_shape
        following = np.roll(xy, -1, axis=0)
        on_edge = ((xy == following) & ((xy == 0) | (xy == [width, height]))).any(axis=1)
        hold = np.where(on_edge, ON_EDGE, LOOSE).astype(np.uint8)
        if self.plan.region is not None:
            is_out = ~shapely.contains_xy(self.plan.region.geometry, placed(xy, self.plan.transform))
            hold[is_out & np.roll(is_out, -1)] = FIXED
        return hold

    def _plane(self, strip: int) -> Plane:
        """Where right angles are right: the CRS, or longitudes as long as they are on the strip's middle."""
        metric, crs = Metric.of(self.plan.transform), self.plan.crs
        if not crs.is_geographic:
            return Plane.of(metric)
        height, width = self.plan.raster_shape
        _, latitude = self.plan.transform @ (width / 2, min((strip + 0.5) * STRIP, height))
        # The radii of the ellipsoid's curvature eastwards and northwards differ a little.
        flat = crs.ellipsoid.inverse_flattening if crs.ellipsoid else 0.0
        eccentricity = 0.0 if not flat else (2 - 1 / flat) / flat
        sine = math.sin(math.radians(latitude))
        round_ = (1 - eccentricity * sine**2) / (1 - eccentricity)
        return Plane.of(metric, max(math.sqrt(max(1 - sine**2, 0.0)), 0.01) * round_)

    def _rules(self, strip: int, plane: Plane) -> Rules:
        """What walls have to keep; the shortest one is known in metres, and as long as it is on the strip's middle."""
        rules = RIGHT_ANGLES if self.plan.right_angles else Rules()
        if not self.plan.shortest_edge:
            return rules
        height, width = self.plan.raster_shape
        x, y = width // 2, min((strip * STRIP + STRIP // 2), height)
        square = np.array([[x, y], [x + SQUARE, y], [x + SQUARE, y + SQUARE], [x, y + SQUARE], [x, y]])
        pixels = Rings(square.astype(np.float64), np.array([0, 5]), np.array([0, 1]))
        metres = math.sqrt(measure(pixels, self.plan.transform, self.plan.crs).area[0]) / SQUARE
        pixel = math.sqrt(abs(plane.a * plane.e - plane.b * plane.d))
        return replace(rules, shortest=(self.plan.shortest_edge + ROUNDING) * pixel / metres)

    def _remember(self, faces: _Faces, top: int, decided: Decided) -> None:
        """Keep what features below a row may come near."""
        known = _Faces.concatenate([self.still, faces])
        self.still = known.take(np.flatnonzero(bounds(known.traced)[:, 3] + 2 * self.reach >= top))
        self.decided = decided

    def _described(self, strip: _Strip, polygons: Geometries, is_changed: Flags) -> pa.Table:
        """The table with new geometries, measured."""
        if not is_changed.any():
            return strip.table
        rows = np.unique(strip.row[is_changed])
        parts = np.flatnonzero(np.isin(strip.row, rows))
        owner = np.searchsorted(rows, strip.row[parts])
        sizes = measure(_in_pixels(polygons[parts], self.plan), self.plan.transform, self.plan.crs)
        is_row = np.zeros(len(strip.table), bool)
        is_row[rows] = True
        table = strip.table
        for name, values in (("area_m2", sizes.area), ("perimeter_m", sizes.perimeter)):
            table = replaced(table, name, is_row, np.bincount(owner, values))
        return _with_geometry(table, is_row, encode(_whole(polygons[parts], owner)))


def _boxes(faces: Rings, margin: float) -> Geometries:
    left, top, right, bottom = bounds(faces).T
    boxes: Geometries = shapely.box(left - margin, top - margin, right + margin, bottom + margin)
    return boxes


def _whole(polygons: Geometries, owner: Integers) -> Geometries:
    """One geometry for each feature, whose polygons follow one another."""
    counts = np.bincount(owner)
    whole: Geometries = polygons[np.cumsum(counts) - counts].copy()
    for feature in np.flatnonzero(counts > 1).tolist():
        several = shapely.multipolygons(polygons[owner == feature])
        whole[feature] = several if several.is_valid else shapely.union_all(polygons[owner == feature])
    return whole


def _with_geometry(table: pa.Table, rows: Flags, wkb: pa.Array) -> pa.Table:
    geometry = table.column("geometry").to_numpy(zero_copy_only=False).copy()
    geometry[rows] = wkb.to_numpy(zero_copy_only=False)
    place = table.schema.get_field_index("geometry")
    return table.set_column(place, table.schema.field(place), pa.array(geometry, pa.binary()))
