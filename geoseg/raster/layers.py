"""Layers of a raster: files where they lie, and bands that are read from files or scenes over one another.

It knows sources on a common grid; how a file is opened or resampled stands elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from geoseg.grid import Window
from geoseg.raster.overlay import Order, Overlay, Pixels
from geoseg.raster.placing import footprint, pixel_offset, turned
from geoseg.raster.resample import Resampled, Resampling
from geoseg.raster.source import Source

if TYPE_CHECKING:
    from geoseg.raster.scenes import Scene


@dataclass(frozen=True)
class PlacedSource:
    """One source where it lies in the raster.

    Attributes
    ----------
    source : Source
        The file.
    extent : Window
        The pixels of the raster that it covers.
    resampled : Resampled or None
        How it is brought onto the raster's grid; None when it lies on that grid.
    origin : (int, int)
        Row and column of the raster at which its pixel (0, 0) lies, when it lies on the grid.
    """

    source: Source
    extent: Window
    resampled: Resampled | None = None
    origin: tuple[int, int] = (0, 0)

    @classmethod
    def of(cls, source: Source, geobox: GeoBox, resampling: Resampling = "auto") -> PlacedSource:
        """Place a source on a grid: as it is where the pixels agree, resampled elsewhere."""
        whole = Window(0, 0, *geobox.shape)
        origin = pixel_offset(source.geobox, geobox)
        if origin is not None:
            return cls(source, Window(*origin, *source.geobox.shape).intersect(whole), None, origin)
        extent = footprint(source.geobox, geobox).intersect(whole)
        return cls(source, extent, Resampled(source, geobox, resampling))

    @classmethod
    def all_of(cls, source: Source, geobox: GeoBox, resampling: Resampling = "auto") -> tuple[PlacedSource, ...]:
        """Place a source wherever it lies on a grid; one whose longitudes begin elsewhere may lie at both ends."""
        first = cls.of(source, geobox, resampling)
        if first.resampled is None and first.extent.area == source.extent.area:
            return (first,)
        if first.extent.area and first.extent.area == footprint(source.geobox, geobox).area:
            return (first,)
        away = [cls.of(replace(source, geobox=item), geobox, resampling) for item in turned(source.geobox)]
        if not away:
            away = [
                replace(piece, resampled=Resampled(source, item, resampling))
                for item in turned(geobox)
                for piece in (cls.of(source, item, resampling),)
            ]
        return tuple(piece for piece in (first, *away) if piece.extent.area) or (first,)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the pixels."""
        return self.source.dtype

    @property
    def all_pieces(self) -> tuple[PlacedSource, ...]:
        """The file, as a scene has several."""
        return (self,)

    def with_source(self, change: Callable[[Source], Source]) -> PlacedSource:
        """Return the same piece with its source changed."""
        source = change(self.source)
        resampled = None if self.resampled is None else replace(self.resampled, source=source)
        return replace(self, source=source, resampled=resampled)

    def read(self, window: Window) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Read a window of the raster that lies within ``extent``."""
        if self.resampled is not None:
            return self.resampled.read(window)
        return self.source.read(Window(window.y - self.origin[0], window.x - self.origin[1], *window.shape))


@dataclass(frozen=True)
class Layer:
    """Bands that come from the same files or scenes.

    Attributes
    ----------
    positions : tuple of int
        Which bands of the raster they are, counted from 0.
    parts : tuple of PlacedSource, or of Scene
        Files, or scenes of which all bands of a pixel come together; the first on top.
    order : str
        ``"first"`` or ``"median"``: what a pixel is where several are valid.
    date : str
        Of several dates that are stacked, the one that it belongs to.
    """

    positions: tuple[int, ...]
    parts: tuple[PlacedSource | Scene, ...]
    order: Order = "first"
    date: str = ""

    @cached_property
    def _overlay(self) -> Overlay:
        return Overlay(self.parts, len(self.positions), self.parts[0].dtype, self.order)

    def __getstate__(self) -> dict[str, Any]:
        """Send the recipe, never the index."""
        return {"positions": self.positions, "parts": self.parts, "order": self.order, "date": self.date}

    @property
    def pieces(self) -> tuple[PlacedSource, ...]:
        """The files where they lie, those of masks too, in the order in which they win."""
        return tuple(piece for part in self.parts for piece in part.all_pieces)

    def near(self, window: Window) -> list[Any]:
        """The parts that share pixels with a window."""
        return self._overlay.near(window)

    def read(self, window: Window) -> Pixels:
        """Read a window: pixels (band, y, x), 0 where invalid, and the mask (y, x)."""
        return self._overlay.read(window)

    def with_sources(self, change: Callable[[Source], Source]) -> Layer:
        """Return the same layer with each source changed."""
        return replace(self, parts=tuple(part.with_source(change) for part in self.parts))

    def without(self, files: Collection[str]) -> Layer:
        """Leave out files by their names as they were given, and scenes that have one."""
        sound = (part for part in self.parts if not any(piece.source.given in files for piece in part.all_pieces))
        return replace(self, parts=tuple(sound))
