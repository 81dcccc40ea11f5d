"""Evaluation grid: one grid for both inputs, the region that counts, and the windows that are read.

It knows rasters, grids and regions; nothing of what the pixels mean.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from geoseg.errors import CrsError, EvaluationError
from geoseg.grid import Window
from geoseg.raster import Raster, ground_resolution
from geoseg.raster.handles import dataset
from geoseg.raster.layers import Layer, PlacedSource
from geoseg.raster.placing import is_plain
from geoseg.raster.source import Source
from geoseg.vector import Region, place_region

SIDE = 2048
"""Side of the windows that are read, px; those of a file of strips are as wide as it, and hold as many pixels."""


@dataclass(frozen=True, eq=False)
class EvaluationGrid:
    """A grid, and what of it counts.

    Attributes
    ----------
    geobox : GeoBox
        The grid.
    region : Region or None
        In the grid's CRS; a pixel counts when its centre lies inside.
    striped : bool
        Whether windows are as wide as the grid, because a file is.
    """

    geobox: GeoBox
    region: Region | None = None
    striped: bool = False

    @property
    def whole(self) -> Window:
        """Every pixel."""
        return Window(0, 0, *self.geobox.shape)

    @property
    def pixel_size(self) -> float | None:
        """Side of a pixel in metres on the ground, at the grid's centre; None where the grid lies nowhere."""
        if not is_placed(self.geobox) or is_plain(self.geobox):
            return None
        return float(np.sqrt(np.prod(ground_resolution(self.geobox))))

    def windows(self) -> list[Window]:
        """The windows that hold something that counts; together they hold each pixel that does once."""
        return [window for window in self._all_windows() if self.counts(window)]

    def _all_windows(self) -> Iterator[Window]:
        height, width = self.geobox.shape
        rows, cols = (max(1, SIDE * SIDE // width), width) if self.striped else (SIDE, SIDE)
        for y in range(0, height, rows):
            for x in range(0, width, cols):
                yield Window(y, x, rows, cols).intersect(self.whole)

    def counts(self, window: Window) -> bool:
        """Whether something of a window may count."""
        return self.region is None or self.region.touches(window, self.geobox.affine)

    def inside(self, window: Window) -> NDArray[np.bool_]:
        """Bool (y, x), True = it counts, of a window."""
        if self.region is None:
            return np.ones(window.shape, np.bool_)
        return self.region.mask(window, self.geobox.affine)


def make_evaluation_grid(geobox: GeoBox, rasters: list[Raster], region: Region | None) -> EvaluationGrid:
    """Make the evaluation grid of rasters that lie on a grid.

    Raises
    ------
    RegionError
        The region lies outside of the grid.
    CrsError
        There is a region, and the grid lies nowhere.
    """
    if region is not None:
        if not is_placed(geobox):
            raise CrsError(
                "the rasters have no coordinate reference system, so a region cannot be located in them; omit it"
            )
        region = place_region(region, geobox)
    return EvaluationGrid(geobox, region, any(map(_is_striped, rasters)))


def is_placed(geobox: GeoBox) -> bool:
    """Say whether a grid lies somewhere, on the ground or among plain pixels."""
    return geobox.crs is not None and not geobox.transform.is_identity


def bring_onto(raster: Raster, geobox: GeoBox, names: tuple[str, str] = ("the prediction", "the truth")) -> Raster:
    """Bring a raster of labels onto a grid, by the nearest pixel; where one of both lies nowhere, pixel by pixel.

    Parameters
    ----------
    raster : Raster
        Labels or numbers of objects.
    geobox : GeoBox
        The grid.
    names : (str, str)
        What the raster and the grid are called.

    Raises
    ------
    EvaluationError
        They do not meet, or they have no place and different shapes.
    """
    if not (is_placed(raster.geobox) and is_placed(geobox)):
        if raster.shape != tuple(geobox.shape):
            (one, other), (height, width) = names, geobox.shape
            raise EvaluationError(
                f"{one} has {raster.shape[1]} x {raster.shape[0]} px and {other} {width} x {height} px, and not both "
                "are georeferenced; give rasters of one shape, or with a coordinate reference system"
            )
        return raster
    placed = _rebuilt(raster, geobox, lambda source: source)
    whole = Window(0, 0, *geobox.shape)
    if not any(piece.extent.intersect(whole).area for layer in placed.layers for piece in layer.pieces):
        raise EvaluationError(f"{names[0]} and {names[1]} do not overlap; give two of the same area")
    return placed


def without_nodata(raster: Raster, value: int | None = None) -> Raster:
    """The same raster, of which pixels are valid although a file declares their value, or any value, as nodata."""

    def spared(source: Source) -> Source:
        kept = tuple(None if value is None or item == value else item for item in source.nodata)
        return replace(source, nodata=kept)

    return _rebuilt(raster, raster.geobox, spared)


def _rebuilt(raster: Raster, geobox: GeoBox, change: Callable[[Source], Source]) -> Raster:
    """The same files, changed, on a grid."""
    layers = [
        Layer(
            layer.positions,
            tuple(
                placed
                for piece in layer.pieces
                for placed in PlacedSource.all_of(change(piece.source), geobox, "nearest")
            ),
        )
        for layer in raster.layers
    ]
    return replace(raster, geobox=geobox, layers=tuple(layers))


def _is_striped(raster: Raster) -> bool:
    """Say whether windows narrower than the file would decode its rows again and again."""
    sources = raster.sources
    return any(
        source.is_file
        and source.geobox.shape[1] > SIDE
        and dataset(source.path).block_shapes[0][1] >= source.geobox.shape[1]
        for source in sources[:16]
    )
