"""Ground area of each pixel, where those of a grid differ: in degrees, on Mercator's map, on wide or polar maps.

Areas are whole numbers of a small unit, so their sums have no order and are the same for every layout of blocks.

Strategy. A projection is smooth, so areas are measured at the nodes of a lattice over the whole grid, some hundred
along its longer side, and are linear between them. An area is the cross product of two steps over the ellipsoid in
space, which knows no pole and no antimeridian.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pyproj
from affine import Affine
from numpy.typing import NDArray
from odc.geo.crs import CRS
from odc.geo.geobox import GeoBox

from geoseg.grid import Window
from geoseg.raster.placing import is_plain, pixel_positions

STEPS = 1 << 20
"""Units in the area of a pixel at the centre."""

NODES = 384
"""Steps of the lattice along the longer side of a grid: areas are right to 1e-4 on a map of the world, else to 1e-5."""

TRUE = 2.5e-3
"""Pixels count as their CRS says where that is nowhere wrong by more than this share: 0.22 % in a zone of UTM."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class PixelAreas:
    """Areas of the pixels of a grid.

    Attributes
    ----------
    geobox : GeoBox
        The grid.
    unit : float
        m2.
    """

    geobox: GeoBox
    unit: float

    def units(self, area: float) -> int:
        """An area in m2 as units, rounded up; at least 1."""
        return max(1, math.ceil(area / self.unit - 1e-9))

    @property
    def is_by_row(self) -> bool:
        """Whether all pixels of a row are alike."""
        lattice = _lattice(self.geobox)
        return bool((np.ptp(lattice, axis=1) <= 1e-7 * lattice.max()).all())

    @property
    def smallest(self) -> float:
        """No more units than any pixel has."""
        return float(np.rint(_lattice(self.geobox).min() / self.unit - 1))

    def of_window(self, window: Window) -> NDArray[np.int64]:
        """Units of each pixel of a window, int64 (y, x); they depend on the pixel's place and on nothing else."""
        return np.maximum(np.rint(self._between(window) / self.unit), 1).astype(np.int64)

    def on_ground(self, window: Window) -> Floats:
        """Area of each pixel of a window, float64 (y, x), m2; of one whose centre has no place on the ground 0."""
        areas = self._between(window)
        if not _has_place_everywhere(self.geobox):
            rows, cols = np.mgrid[window.y : window.bottom, window.x : window.right] + 0.5
            areas[~np.isfinite(_in_space(rows, cols, self.geobox)).all(axis=-1)] = 0
        return areas

    def _between(self, window: Window) -> Floats:
        """Area of each pixel, m2, linear between the nodes."""
        lattice = _lattice(self.geobox)
        rows, cols = (
            _between(np.arange(start, start + length, dtype=np.float64) + 0.5, count, self.geobox)
            for start, length, count in zip((window.y, window.x), window.shape, lattice.shape, strict=True)
        )
        (row, down), (col, across) = rows, cols
        lines = lattice[row] * (1 - down)[:, None] + lattice[row + 1] * down[:, None]
        areas: Floats = lines[:, col] * (1 - across) + lines[:, col + 1] * across
        return areas

    def at(self, rows: Floats, cols: Floats) -> Floats:
        """Units of a pixel at places of the grid, px; (0, 0) is the centre of the first pixel."""
        lattice = _lattice(self.geobox) / self.unit
        (row, down), (col, across) = (
            _between(places + 0.5, count, self.geobox)
            for places, count in zip((rows, cols), lattice.shape, strict=True)
        )
        upper = lattice[row, col] * (1 - across) + lattice[row, col + 1] * across
        lower = lattice[row + 1, col] * (1 - across) + lattice[row + 1, col + 1] * across
        areas: Floats = upper * (1 - down) + lower * down
        return areas


def nominal_area(geobox: GeoBox) -> float:
    """Area of a pixel as its CRS counts it, m2: one of 10 m has 100; plain pixels as their transform says."""
    unit: float = geobox.crs.proj.axis_info[0].unit_conversion_factor or 1.0  # type: ignore[union-attr]  # callers check it
    return abs(float(geobox.transform.determinant)) * unit**2


def pixel_areas(geobox: GeoBox) -> PixelAreas | None:
    """Return the areas of a grid's pixels; None where each is what its CRS counts, within 0.25 %, or nobody knows."""
    if geobox.crs is None or is_plain(geobox) or geobox.crs.proj.geodetic_crs is None:
        return None
    lattice = _lattice(geobox)
    if np.isnan(lattice).any() or np.abs(lattice / nominal_area(geobox) - 1).max() <= TRUE:
        return None
    return PixelAreas(geobox, float(lattice[lattice.shape[0] // 2, lattice.shape[1] // 2]) / STEPS)


def _step(geobox: GeoBox) -> int:
    """Px between nodes of the lattice."""
    return -(-max(geobox.shape) // NODES)


def _between(places: Floats, count: int, geobox: GeoBox) -> tuple[NDArray[np.int64], Floats]:
    """The node before each place, and how far the place is on the way to the next one, 0 to 1."""
    steps = places / _step(geobox)
    node = np.clip(steps.astype(np.int64), 0, count - 2)
    return node, steps - node


def _lattice(geobox: GeoBox) -> Floats:
    """Area of a pixel at each node, m2; at one that has no place on the ground, that of the nearest one that has."""
    return _measured(geobox)[0]


def _has_place_everywhere(geobox: GeoBox) -> bool:
    return _measured(geobox)[1]


@lru_cache(maxsize=8)
def _measured(geobox: GeoBox) -> tuple[Floats, bool]:
    """The lattice, and whether each of its nodes has a place on the ground."""
    step = _step(geobox)
    axes = [step * np.arange(-(-length // step) + 1, dtype=np.float64) for length in geobox.shape]
    rows, cols = np.meshgrid(*axes, indexing="ij")
    half = step / 2
    down = _in_space(rows + half, cols, geobox) - _in_space(rows - half, cols, geobox)
    across = _in_space(rows, cols + half, geobox) - _in_space(rows, cols - half, geobox)
    areas: Floats = np.linalg.norm(np.cross(down, across), axis=-1) / step**2
    is_missing = ~np.isfinite(areas)
    if is_missing.all():
        return np.full(areas.shape, np.nan), False
    if not is_missing.any():
        return areas, True
    from scipy.ndimage import distance_transform_edt  # a tenth of a second to load, where few rasters need it

    nearest = distance_transform_edt(is_missing, return_distances=False, return_indices=True)
    filled: Floats = areas[tuple(nearest)]
    return filled, False


def _in_space(rows: Floats, cols: Floats, geobox: GeoBox) -> Floats:
    """Places on the ellipsoid, m, shape (y, x, 3)."""
    proj: pyproj.CRS = geobox.crs.proj  # type: ignore[union-attr]  # callers check it
    geodetic, geod = proj.geodetic_crs or proj, proj.get_geod() or pyproj.Geod(ellps="WGS84")
    unit = geodetic.axis_info[0].unit_conversion_factor
    lat, lon = pixel_positions(rows, cols, geobox, GeoBox((1, 1), Affine.identity(), CRS(geodetic)))
    with np.errstate(invalid="ignore"):
        lat, lon = np.clip(lat * unit, -np.pi / 2, np.pi / 2), lon * unit
        normal = geod.a / np.sqrt(1 - geod.es * np.sin(lat) ** 2)
        return np.stack(
            [
                normal * np.cos(lat) * np.cos(lon),
                normal * np.cos(lat) * np.sin(lon),
                (1 - geod.es) * normal * np.sin(lat),
            ],
            axis=-1,
        )
