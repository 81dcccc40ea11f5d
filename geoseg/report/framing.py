"""The grid of a picture: how many pixels of the raster one of its pixels stands for, and where it lies on earth.

Arithmetic of geoboxes: it knows no file and no pixel.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from pyproj import CRS, Transformer

from geoseg.grid import Window
from geoseg.raster import ground_resolution
from geoseg.raster.placing import is_plain
from geoseg.thumbnails import factor_within

_TURN = 90.0  # degrees of longitude from one point to the next that only happen around a pole


@dataclass(frozen=True)
class Frame:
    """The pixel grid of a picture of a raster.

    A picture keeps the raster's rows and columns, so that a pixel is a pixel; a raster whose rows run from south to
    north would be seen in a mirror, and is turned over.

    Attributes
    ----------
    raster : GeoBox
        The raster's grid.
    factor : int
        Raster pixels along the side of a picture's pixel; a power of two, as overviews have it.
    """

    raster: GeoBox
    factor: int = 1

    @classmethod
    def of(cls, raster: GeoBox, *, side: int, pixels: float = math.inf) -> Frame:
        """Return the finest frame whose longer side is within ``side`` px, and that has at most ``pixels`` of them."""
        height, width = map(int, raster.shape)
        return cls(raster, factor_within((height, width), side=side, pixels=pixels))

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the picture, px."""
        height, width = self.raster.shape
        return -(-int(height) // self.factor), -(-int(width) // self.factor)

    @property
    def is_mirrored(self) -> bool:
        """Whether the raster's rows have to be turned over."""
        return bool(self.raster.transform.determinant > 0)

    @property
    def transform(self) -> Affine:
        """From px of the picture as it is shown, (0, 0) its upper left corner, to CRS units."""
        transform: Affine = self.raster.transform @ Affine.scale(self.factor)
        return transform @ Affine(1, 0, 0, 0, -1, self.shape[0]) if self.is_mirrored else transform

    def arrange(self, picture: NDArray[np.generic]) -> NDArray[np.generic]:
        """Turn an array (..., y, x) of the raster's rows into the picture that is shown."""
        return picture[..., ::-1, :] if self.is_mirrored else picture

    def place(self, window: Window) -> tuple[float, float, float, float]:
        """Left, top, right and bottom of a window of the raster, px of the picture as it is shown."""
        left, right = window.x / self.factor, window.right / self.factor
        top, bottom = window.y / self.factor, window.bottom / self.factor
        height = self.shape[0]
        return (left, height - bottom, right, height - top) if self.is_mirrored else (left, top, right, bottom)

    @property
    def crs(self) -> CRS | None:
        """The raster's CRS if it lies on an ellipsoid; plain pixels do not."""
        crs: CRS | None = None if self.raster.crs is None else self.raster.crs.proj
        return crs if crs is not None and crs.geodetic_crs is not None else None

    @property
    def has_place(self) -> bool:
        """Whether the raster lies on an ellipsoid."""
        return self.crs is not None

    @property
    def square(self) -> str:
        """The unit of areas where there is no ground: squares of pixels, or of the CRS's own unit."""
        return "px²" if is_plain(self.raster) else "units²"

    @cached_property
    def aspect(self) -> float:
        """Height of a pixel on the ground, in its widths."""
        height, width = ground_resolution(self.raster) if self.has_place else (1.0, 1.0)
        return height / width

    @cached_property
    def metres(self) -> float | None:
        """Width of a picture's pixel on the ground at the centre, m; None where there is no ground."""
        return ground_resolution(self.raster)[1] * self.factor if self.has_place else None

    @cached_property
    def north(self) -> float | None:
        """Where north is at the centre of the picture, degrees clockwise from up; None where there is none."""
        if not self.has_place:
            return None
        height, width = self.shape
        x, y = self.transform @ (width / 2, height / 2)
        longitude, latitude = self._to_earth.transform(x, y)
        step = 1e-5 if latitude < 89.9 else -1e-5  # degrees; there is nothing north of the pole
        ends = zip(
            *self._to_earth.transform([longitude] * 2, [latitude, latitude + step], direction="INVERSE"), strict=True
        )
        (column, row), (next_column, next_row) = (~self.transform @ end for end in ends)
        across, down = (next_column - column) * step, (next_row - row) * step * self.aspect
        if not math.isfinite(across) or not math.isfinite(down) or across == down == 0:
            return None
        return math.degrees(math.atan2(across, -down))

    def coordinates(self, count: int = 17) -> NDArray[np.float64] | None:
        """Longitude and latitude at ``count`` x ``count`` points from corner to corner, shape (2, count, count).

        Longitudes run on over the antimeridian; NaN where the CRS has no such place, None where there is no earth, and
        around a pole, where longitudes do not run on.
        """
        if not self.has_place:
            return None
        height, width = self.shape
        along = np.linspace(0, 1, count)
        columns, rows = np.meshgrid(along * width, along * height)
        a, b, c, d, e, f = tuple(self.transform)[:6]
        longitude, latitude = self._to_earth.transform(a * columns + b * rows + c, d * columns + e * rows + f)
        places = np.stack([np.asarray(longitude), np.asarray(latitude)])
        places[:, ~np.isfinite(places).all(axis=0)] = np.nan
        places[0] -= 360 * np.round((places[0] - places[0, count // 2, count // 2]) / 360)
        turns = [np.abs(np.diff(places[0], axis=axis)) > _TURN for axis in (0, 1)]
        return None if any(turn.any() for turn in turns) else places

    @cached_property
    def _to_earth(self) -> Transformer:
        """From CRS units to longitude and latitude, degrees."""
        assert self.crs is not None  # noqa: S101 - callers ask first
        return Transformer.from_crs(self.crs, self.crs.geodetic_crs, always_xy=True)
