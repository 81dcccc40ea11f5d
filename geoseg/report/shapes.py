"""The largest polygons of a run, in a picture's pixels: as many as a page or a picture can hold.

Batches are read, simplified to what the picture can show, and reduced to the largest so far; memory depends on the
limits. It knows polygon files and a frame; nothing of colours.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from pyproj import Transformer

from geoseg.report.features import FeatureSource
from geoseg.report.framing import Frame

TOLERANCE = 0.35
"""How far boundaries may stray on a picture that is coarser than the raster, px."""

CHANGED = 0.05
"""Part of its area by which a polygon may grow or shrink before it is simplified with more care."""

PART = 8
"""No polygon takes more than this part of the vertices: one coast must not push out all fields."""

AT_ONCE = 256
"""Polygons that are decoded and simplified at once."""

VERTICES_OF_RING = 4
"""A ring has no fewer: so many rings cannot be drawn with the vertices there are."""

SUBPIXEL = 8
"""Steps of a coordinate within a picture's pixel, as they are encoded."""

Columns = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Limits:
    """What may be kept.

    Attributes
    ----------
    count : int
        Polygons.
    vertices : int
        Their vertices, after simplification.
    """

    count: int
    vertices: int


@dataclass(frozen=True)
class Shapes:
    """Polygons in px of a picture, the largest first.

    Attributes
    ----------
    polygons : object (shape,)
        Shapely polygons and multipolygons; (0, 0) is the picture's upper left corner.
    columns : dict
        What is known of them, by column.
    """

    polygons: NDArray[np.object_]
    columns: Columns

    def __len__(self) -> int:
        """Count them."""
        return len(self.polygons)

    def joined(self, other: Shapes) -> Shapes:
        """Take others in."""
        columns = {name: np.concatenate([values, other.columns[name]]) for name, values in self.columns.items()}
        return Shapes(np.concatenate([self.polygons, other.polygons]), columns)

    def largest(self, limits: Limits) -> Shapes:
        """Keep the largest that fit."""
        order = np.argsort(-self.columns["area_m2"], kind="stable")[: limits.count]
        vertices = np.cumsum(shapely.get_num_coordinates(self.polygons[order]))
        fitting = int(np.searchsorted(vertices, limits.vertices, side="right"))
        order = order[: max(1, fitting)]
        return Shapes(self.polygons[order], {name: values[order] for name, values in self.columns.items()})


def read_shapes(file: FeatureSource, frame: Frame, limits: Limits, min_area: float | None = None) -> Shapes:
    """Read the largest polygons.

    Parameters
    ----------
    file : FeatureFile or Outlines
        Of these.
    frame : Frame
        The picture.
    limits : Limits
        How many.
    min_area : float, optional
        m2; smaller ones are not even looked at.
    """
    columns = file.columns()
    known: list[str] = [name for name in ("class", "area_m2", "confidence", "score", "instance") if name in columns]
    kept = Shapes(np.empty(0, object), {name: np.empty(0) for name in known})
    place, too_small = _placing(file, frame), -math.inf
    for batch in file.batches(known, min_area=min_area, geometry=True):
        for part in _by_size(batch):
            part = {name: values[~(part["area_m2"] <= too_small)] for name, values in part.items()}
            polygons = _tamed(place(shapely.from_wkb(part.pop("geometry"))), max(16, limits.vertices // PART))
            joined = kept.joined(Shapes(polygons, {name: np.asarray(part[name], np.float64) for name in known}))
            kept = joined.largest(limits)
            if len(kept) < len(joined):
                too_small = -np.sort(-joined.columns["area_m2"])[len(kept)]
    return kept


def _by_size(batch: Columns) -> Iterator[Columns]:
    """Parts of a batch, the largest polygons first: what follows may have no room, and is not even decoded then."""
    order = np.argsort(-batch["area_m2"], kind="stable")
    for start in range(0, len(order), AT_ONCE):
        yield {name: values[order[start : start + AT_ONCE]] for name, values in batch.items()}


def _tamed(polygons: NDArray[np.object_], most: int) -> NDArray[np.object_]:
    """Simplify polygons with more than so many vertices, ever more, until they have no more.

    Holes that the tolerance blurs go first, until there are few: a noisy map has tens of thousands in one polygon, and
    simplifying compares each with all others.
    """
    tolerance, last = TOLERANCE, TOLERANCE * 2**6
    while (large := shapely.get_num_coordinates(polygons) > most).any() and tolerance < last:
        tolerance *= 2
        filled = _without_small_holes(polygons[large], (2 * tolerance) ** 2)
        simple = (_count_rings(filled) <= most // VERTICES_OF_RING) | (tolerance >= last)
        filled[simple] = shapely.simplify(filled[simple], tolerance, preserve_topology=False)
        polygons[large] = filled
    return polygons


def _count_rings(polygons: NDArray[np.object_]) -> NDArray[np.int64]:
    """Shells and holes of each."""
    parts, owners = shapely.get_parts(polygons, return_index=True)
    rings = 1 + shapely.get_num_interior_rings(parts)
    found: NDArray[np.int64] = np.bincount(owners, rings, len(polygons)).astype(np.int64)
    return found


def _without_small_holes(polygons: NDArray[np.object_], least: float) -> NDArray[np.object_]:
    """The polygons, as multipolygons, without holes of a smaller area."""
    parts, owners = shapely.get_parts(polygons, return_index=True)
    rings, owner_parts = shapely.get_rings(parts, return_index=True)
    is_shell = np.diff(owner_parts, prepend=-1) > 0
    kept = is_shell | (shapely.area(shapely.polygons(rings)) >= least)
    rebuilt = shapely.polygons(rings[kept], indices=owner_parts[kept])
    found: NDArray[np.object_] = shapely.multipolygons(rebuilt, indices=owners)
    return found


def _placing(file: FeatureSource, frame: Frame) -> Callable[[NDArray[np.object_]], NDArray[np.object_]]:
    """From a file's coordinates to a picture's pixels, without what its pixels cannot show."""
    inverse = ~frame.transform
    from_degrees = None
    if file.is_in_degrees and frame.crs is not None:
        from_degrees = Transformer.from_crs("OGC:CRS84", frame.crs, always_xy=True)
    tolerance = 0.0 if frame.factor == 1 else TOLERANCE
    a, b, _, d, e, *_ = frame.transform
    side = min(math.hypot(a, d), math.hypot(b, e))

    def to_pixels(xy: NDArray[np.float64]) -> NDArray[np.float64]:
        x, y = xy.T if from_degrees is None else from_degrees.transform(*xy.T)
        return np.column_stack(inverse @ (np.asarray(x), np.asarray(y)))

    def place(polygons: NDArray[np.object_]) -> NDArray[np.object_]:
        if from_degrees is not None:
            return _simplified(shapely.transform(polygons, to_pixels), tolerance)
        placed: NDArray[np.object_] = shapely.transform(_simplified(polygons, tolerance * side), to_pixels)
        return placed

    return place


def _simplified(polygons: NDArray[np.object_], tolerance: float) -> NDArray[np.object_]:
    """Polygons without vertices within a tolerance; those that lose themselves or a part by it keep their topology.

    To look after the topology of all takes twenty times as long.
    """
    if not tolerance:
        return polygons
    simple: NDArray[np.object_] = shapely.simplify(polygons, tolerance, preserve_topology=False)
    (areas, now), (bounds, after) = ((measure(polygons), measure(simple)) for measure in (shapely.area, shapely.bounds))
    changed = (np.abs(now - areas) > CHANGED * areas) | (np.abs(after - bounds) > 2 * tolerance).any(axis=1)
    simple[changed] = shapely.simplify(polygons[changed], tolerance)
    return simple


def encode(shapes: Shapes) -> bytes:
    """Polygons as compressed integers, for a page to draw.

    Returns
    -------
    bytes
        Deflated (RFC 1950) variable-length integers, seven bits a byte, lowest first: for each polygon the number of
        rings, for each ring the number of points, and for each point the steps in x and y from the point before, in
        1 / `SUBPIXEL` px, zigzag-coded (0, -1, 1, -2, ...). Rings are not closed, and the first point of all is a
        step from (0, 0).
    """
    parts, owner = shapely.get_parts(shapes.polygons, return_index=True)
    _, xy, (rings, polygons) = shapely.to_ragged_array(parts) if len(parts) else (None, np.empty((0, 2)), ([0], [0]))
    points = np.rint(xy * SUBPIXEL).astype(np.int64)
    is_last = np.zeros(len(points), bool)
    is_last[np.asarray(rings[1:], np.int64) - 1] = True
    points, lengths = points[~is_last], np.diff(rings) - 1
    counts = np.bincount(owner, weights=np.diff(polygons), minlength=len(shapes)).astype(np.int64)
    steps = np.diff(points, axis=0, prepend=np.zeros((1, 2), np.int64))
    zigzag = np.where(steps < 0, -2 * steps - 1, 2 * steps).ravel()
    # Heads stand before what they count: ring lengths before their points, ring counts before the first length.
    first_points = np.cumsum(lengths) - lengths
    stream = np.insert(zigzag, 2 * first_points, lengths)
    first_rings = np.cumsum(counts) - counts
    heads = 2 * np.append(first_points, len(points))[first_rings] + first_rings
    return zlib.compress(_variable_length(np.insert(stream, heads, counts)))


def _variable_length(values: NDArray[np.int64]) -> bytes:
    """Integers of seven bits a byte, lowest first; the highest bit says that more follow."""
    sizes = np.ones(len(values), np.int64)
    for shift in range(7, 63, 7):
        sizes += values >= 1 << shift
    ends = np.cumsum(sizes)
    owner = np.repeat(np.arange(len(values)), sizes)
    position = np.arange(int(ends[-1]) if len(ends) else 0) - np.repeat(ends - sizes, sizes)
    data = (values[owner] >> (7 * position)) & 0x7F
    data[position < sizes[owner] - 1] |= 0x80
    return bytes(data.astype(np.uint8))
