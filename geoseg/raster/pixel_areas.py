"""Ground area of pixels by row, where latitude alone decides it: degrees, and Mercator's and other cylindrical maps.

Areas are whole numbers of a small unit, so their sums have no order and are the same for every layout of blocks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from odc.geo.crs import CRS
from odc.geo.geobox import GeoBox

from geoseg.raster.placing import ground_resolution, is_plain, pixel_positions

STEPS = 1 << 20
"""Units in the area of a pixel at the centre."""

_ALIKE = 1e-3
"""Pixels whose areas differ by this share or less from top to bottom count as alike."""

_CHUNK = 1024
"""Rows whose areas are computed together, from a multiple of it on, so that each is the same in every window."""


@dataclass(frozen=True)
class RowAreas:
    """Areas of the pixels of each row of a grid.

    Attributes
    ----------
    geobox : GeoBox
        The grid.
    degrees : GeoBox
        Pixels of one degree in the grid's own geographic CRS.
    axis, eccentricity : float
        Of the ellipsoid: the longer half axis, m.
    unit : float
        m2.
    """

    geobox: GeoBox
    degrees: GeoBox
    axis: float
    eccentricity: float
    unit: float

    def units(self, area: float) -> int:
        """An area in m2 as units, rounded up; at least 1."""
        return max(1, math.ceil(area / self.unit - 1e-9))

    def of_rows(self, rows: NDArray[Any]) -> NDArray[np.int64]:
        """Units of a pixel of each of some rows, counted from 0; int64, the shape of ``rows``."""
        result = np.empty(rows.shape, np.int64)
        chunks = rows // _CHUNK
        for chunk in np.unique(chunks):
            chosen = chunks == chunk
            result[chosen] = _chunk(self, int(chunk))[rows[chosen] - chunk * _CHUNK]
        return result


def row_areas(geobox: GeoBox) -> RowAreas | None:
    """Return the areas of a grid's rows; None where rows are no parallels, or their pixels are alike within 0.1 %."""
    if geobox.crs is None or is_plain(geobox) or geobox.transform.b or geobox.transform.d:
        return None
    geod, geodetic = geobox.crs.proj.get_geod(), geobox.crs.proj.geodetic_crs
    if geod is None or geodetic is None:
        return None
    degrees = GeoBox((1, 1), Affine.identity(), CRS(geodetic))
    if not _is_cylindrical(geobox, degrees):
        return None
    height, width = ground_resolution(geobox)
    areas = RowAreas(geobox, degrees, geod.a, math.sqrt(geod.es), height * width / STEPS)
    rows = np.unique(np.linspace(0, geobox.shape[0] - 1, 9).astype(np.int64))
    sizes = areas.of_rows(rows)
    return None if sizes.max() - sizes.min() <= _ALIKE * sizes.max() else areas


def _is_cylindrical(geobox: GeoBox, degrees: GeoBox) -> bool:
    """Say whether latitude depends on the row and longitude on the column alone."""
    height, width = geobox.shape
    rows, columns = np.meshgrid([0.0, height / 2, height], [0.0, width / 2, width], indexing="ij")
    lat, lon = (values.reshape(3, 3) for values in pixel_positions(rows, columns, geobox, degrees))
    return bool(np.isfinite(lat).all() and np.ptp(lat, axis=1).max() < 1e-9 and np.ptp(lon % 360, axis=0).max() < 1e-9)


@lru_cache(maxsize=64)
def _chunk(areas: RowAreas, number: int) -> NDArray[np.int64]:
    """Units of a pixel of each row of a chunk: of the zone between two parallels (Snyder 1987, equation 3-12)."""
    geobox, degrees = areas.geobox, areas.degrees
    edges = np.arange(number * _CHUNK, (number + 1) * _CHUNK + 1, dtype=np.float64)
    half = geobox.shape[1] / 2
    lat, _ = pixel_positions(edges, np.zeros_like(edges), geobox, degrees)
    _, lon = pixel_positions(np.zeros(2), np.array([0.0, half]), geobox, degrees)
    zones = np.abs(np.diff(_authalic(np.radians(np.clip(lat, -90, 90)), areas.eccentricity)))
    width = math.radians((lon[1] - lon[0]) % 360) / half
    with np.errstate(invalid="ignore"):
        units = np.rint(areas.axis**2 / 2 * width * zones / areas.unit)
    result: NDArray[np.int64] = np.maximum(np.nan_to_num(units, nan=1.0), 1.0).astype(np.int64)
    return result


def _authalic(lat: NDArray[np.float64], eccentricity: float) -> NDArray[np.float64]:
    """Snyder's q of latitudes in radians: twice the sine on a sphere."""
    sine, e = np.sin(lat), eccentricity
    if e == 0:
        return np.asarray(2 * sine)
    return np.asarray((1 - e * e) * (sine / (1 - (e * sine) ** 2) + np.arctanh(e * sine) / e))
