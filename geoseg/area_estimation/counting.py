"""Ground by class and zone: each pixel weighs its area on the ellipsoid, times the part of it that lies in the zone.

Strategy. The raster is read once, in windows; the parts of pixels are those of exactextract, exact but for float32,
on the raster's own grid, so that rotated rasters are counted like others. It is asked only where a zone ends: a window
that no zone covers whole is divided until its quarters are small. Memory is that of a window.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from geoseg.errors import EvaluationError
from geoseg.grid import Window
from geoseg.raster import Raster, read_labels
from geoseg.report.areas import ground_areas
from geoseg.report.framing import Frame

SIDE = 2048
"""Side of the windows, px."""

EDGE = 256
"""Longest side of the windows, px, in which the parts of pixels are asked for where a zone ends."""

KINDS = 256
"""Classes that a map may have."""

VALUES = 65_536
"""Their values are below this, as those that are evaluated."""

Progress = Callable[[int, int], object]
"""Called with the windows that are done, and all."""

Shapes = NDArray[np.object_]
Floats = NDArray[np.float64]


class Codes:
    """Classes of a map as indices, in the order in which they are seen."""

    def __init__(self) -> None:
        self.values: list[int] = []
        self._table = np.full(VALUES, -1, np.int64)

    def indices(self, labels: NDArray[Any], name: str) -> NDArray[np.int64]:
        """Index of each label, int64; the map's name is for messages.

        Raises
        ------
        EvaluationError
            A number is no class, or there are too many.
        """
        wrong = (labels < 0) | (labels >= VALUES)
        if wrong.any():
            raise EvaluationError(
                f"{name} holds {labels[wrong][0]}, which is no class from 0 to {VALUES - 1:,}; give a raster of classes"
            )
        found: NDArray[np.int64] = self._table[labels]
        if (found < 0).any():
            for value in np.unique(labels[found < 0]).tolist():
                self._table[value] = len(self.values)
                self.values.append(value)
            if len(self.values) > KINDS:
                raise EvaluationError(f"{name} holds more than {KINDS} values; give a raster of classes")
            found = self._table[labels]
        return found


def count_areas(raster: Raster, name: str, zones: Shapes, progress: Progress | None = None) -> tuple[list[int], Floats]:
    """Measure each class in each zone, and in the whole map.

    Parameters
    ----------
    raster : Raster
        Classes, one band.
    name : str
        Of the map, for messages.
    zones : array of Polygon or MultiPolygon
        In the raster's CRS.
    progress : callable, optional
        Called after each window.

    Returns
    -------
    values : list of int
        The classes.
    areas : NDArray
        float64, shape (zone + 1, class), m2 (px where the raster lies nowhere): zones in their order, then the map.
    """
    frame, placed, codes = Frame(raster.geobox), on_grid(zones, raster), Codes()
    tree, areas = shapely.STRtree(placed), np.zeros((len(zones) + 1, KINDS))
    for window, labels, weights in class_windows(raster, name, frame, codes, progress):
        areas[-1] += np.bincount(labels, weights, KINDS)
        touched = np.sort(tree.query(_box(window), predicate="intersects"))
        labels, weights = labels.reshape(window.shape), weights.reshape(window.shape)
        for zone, part, covered in _covered(window, touched, placed[touched]):
            place = part.relative_to(window).slices()
            areas[zone] += np.bincount(labels[place].ravel(), (weights[place] * covered).ravel(), KINDS)
    return codes.values, areas[:, : len(codes.values)]


def class_windows(
    raster: Raster, name: str, frame: Frame, codes: Codes, progress: Progress | None = None
) -> Iterator[tuple[Window, NDArray[np.int64], Floats]]:
    """Read a map of classes window by window.

    Yields
    ------
    tuple
        The window; the indices of its classes, int64 (y x,); the ground of its pixels, float64 (y x,), m2, 0 where
        there is no class.

    Raises
    ------
    EvaluationError
        A number is no class.
    RasterError
        A number is not whole.
    """
    height, width = raster.shape
    places = [(y, x) for y in range(0, height, SIDE) for x in range(0, width, SIDE)]
    for number, (y, x) in enumerate(places, 1):
        window = Window(y, x, min(SIDE, height - y), min(SIDE, width - x))
        labels, mask = read_labels(raster, window, name)
        indices = np.zeros(window.shape, np.int64)
        indices[mask] = codes.indices(labels[mask], name)
        yield window, indices.ravel(), np.where(mask, ground_areas(window, frame), 0.0).ravel()
        if progress is not None:
            progress(number, len(places))


def on_grid(shapes: Shapes, raster: Raster) -> Shapes:
    """Shapes in the CRS of a raster in its px: to the right, and, negative, downwards."""
    inverse = ~raster.transform

    def move(xy: Floats) -> Floats:
        columns, rows = inverse @ (xy[:, 0], xy[:, 1])
        return np.stack([columns, -rows], axis=1)

    moved: Shapes = shapely.transform(shapes, move)
    return moved


def _covered(window: Window, zones: NDArray[np.int64], shapes: Shapes) -> Iterator[tuple[int, Window, Floats | float]]:
    """Where zones cover a window: the number of the zone, a part of the window, and how much of its pixels (y, x)."""
    around = _box(window)
    touches = shapely.intersects(shapes, around)
    zones, shapes = zones[touches], shapes[touches]
    is_whole = shapely.covers(shapes, around)
    for zone in zones[is_whole]:
        yield int(zone), window, 1.0
    zones, shapes = zones[~is_whole], shapes[~is_whole]
    if max(window.shape) <= EDGE:
        yield from _exactly_covered(window, zones, shapes)
    elif len(zones):
        clipped = np.array([_surface(shape) for shape in shapely.intersection(shapes, _box(window, margin=1))])
        for part in _quarters(window):
            yield from _covered(part, zones, clipped)


def _exactly_covered(
    window: Window, zones: NDArray[np.int64], shapes: Shapes
) -> Iterator[tuple[int, Window, Floats | float]]:
    from exactextract import exact_extract  # takes GEOS of its own: loaded where zones are
    from exactextract.feature import JSONFeatureSource
    from exactextract.raster import NumPyRasterSource

    if not len(zones):
        return
    sides = {"xmin": window.x, "xmax": window.right, "ymin": -window.bottom, "ymax": -window.y}
    source = NumPyRasterSource(np.zeros(window.shape, np.uint8), **sides)
    features = [{"type": "Feature", "properties": {}, "geometry": shape.__geo_interface__} for shape in shapes]
    rows = exact_extract(source, JSONFeatureSource(features), ["cell_id", "coverage"])
    for zone, row in zip(zones, rows, strict=True):
        covered = np.zeros(window.area)
        covered[np.asarray(row["properties"]["cell_id"], np.int64)] = row["properties"]["coverage"]
        yield int(zone), window, covered.reshape(window.shape)


def _box(window: Window, margin: int = 0) -> Any:
    """A window as zones see it: rows go down."""
    return shapely.box(window.x - margin, -window.bottom - margin, window.right + margin, -window.y + margin)


def _quarters(window: Window) -> list[Window]:
    middle, center = window.y + (window.height + 1) // 2, window.x + (window.width + 1) // 2
    rows, cols = ((window.y, middle), (middle, window.bottom)), ((window.x, center), (center, window.right))
    parts = [Window(y, x, bottom - y, right - x) for y, bottom in rows for x, right in cols]
    return [part for part in parts if part.area]


def _surface(shape: Any) -> Any:
    """A clipped shape without the lines and points in which it meets the clip."""
    if shape.geom_type != "GeometryCollection":
        return shape
    return shapely.union_all([part for part in shape.geoms if part.geom_type in ("Polygon", "MultiPolygon")])
