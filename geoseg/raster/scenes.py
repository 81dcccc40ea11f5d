"""A scene: what was taken at one time, in one or several files, of which some pixels are clouded.

All bands of a pixel come from one scene. It knows files that lie on the raster's grid; catalogs stand elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoseg.errors import RasterError
from geoseg.grid import Window
from geoseg.raster.layers import PlacedSource
from geoseg.raster.overlay import Pixels
from geoseg.raster.placing import crs_label
from geoseg.raster.source import Source


@dataclass(frozen=True)
class QaMask:
    """A classification of a scene's pixels, which says which of them not to use.

    Attributes
    ----------
    piece : PlacedSource
        The classification on the raster's grid; each pixel is that of the nearest centre.
    exclude : tuple of int
        Classes that are not used.
    bits : int
        A mask: pixels with one of these bits are not used.
    """

    piece: PlacedSource
    exclude: tuple[int, ...] = ()
    bits: int = 0

    def read(self, window: Window) -> NDArray[np.bool_]:
        """Bool (y, x), True = usable; unclassified pixels are not."""
        usable = np.zeros(window.shape, np.bool_)
        shared = self.piece.extent.intersect(window)
        if shared.area:
            rows, columns = shared.relative_to(window).slices()
            classes, known = self.piece.read(shared)
            known &= ~np.isin(classes[0], self.exclude)
            if self.bits:
                known &= (classes[0].astype(np.int64) & self.bits) == 0
            usable[rows, columns] = known
        return usable


@dataclass(frozen=True)
class Scene:
    """What was taken at one time.

    Attributes
    ----------
    name : str
        Its id.
    pieces : tuple of PlacedSource
        The files.
    positions : tuple of tuple of int
        Which bands of its layer each file has, counted from 0.
    dtype : numpy dtype
        Type of the pixels.
    qa_mask : QaMask or None
        Says which pixels may be used.
    href : str
        Where it is described; empty when it is not.
    taken : str
        When, RFC 3339; empty when that is not known.
    item : mapping or None
        The STAC item that describes it, with absolute addresses; it is not sent to workers.
    """

    name: str
    pieces: tuple[PlacedSource, ...]
    positions: tuple[tuple[int, ...], ...]
    dtype: np.dtype[Any]
    qa_mask: QaMask | None = None
    href: str = ""
    taken: str = ""
    item: Mapping[str, Any] | None = field(default=None, compare=False, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        """Send the recipe, never the item."""
        return {**vars(self), "item": None}

    @property
    def extent(self) -> Window:
        """The pixels of the raster that all files cover."""
        return reduce(Window.intersect, (piece.extent for piece in self.pieces))

    def check_overlap(self) -> None:
        """Refuse files that lie apart, so that no pixel has all bands.

        Raises
        ------
        RasterError
            Names the scene and its files.
        """
        if not self.extent.area:
            files = ", ".join(
                f"'{piece.source.given}' in {crs_label(piece.source.geobox.crs)}" for piece in self.pieces
            )
            raise RasterError(
                f"the files of '{self.name}' share no pixel ({files}), so that none has all bands; correct the item, "
                "or give the files of one place by band: `input: {red: ..., nir: ...}`."
            )

    @property
    def all_pieces(self) -> tuple[PlacedSource, ...]:
        """The files, that of the mask last."""
        return self.pieces if self.qa_mask is None else (*self.pieces, self.qa_mask.piece)

    def with_source(self, change: Callable[[Source], Source]) -> Scene:
        """Return the same scene with each source changed."""
        qa_mask = None if self.qa_mask is None else replace(self.qa_mask, piece=self.qa_mask.piece.with_source(change))
        return replace(self, pieces=tuple(piece.with_source(change) for piece in self.pieces), qa_mask=qa_mask)

    def read(self, window: Window) -> Pixels:
        """Read a window that lies within ``extent``; where every pixel is screened, no other file is opened."""
        bands = sum(map(len, self.positions))
        pixels, mask = np.zeros((bands, *window.shape), self.dtype), np.ones(window.shape, np.bool_)
        if self.qa_mask is not None:
            mask &= self.qa_mask.read(window)
        for positions, piece in zip(self.positions, self.pieces, strict=True):
            if not mask.any():
                break
            pixels[list(positions)], valid = piece.read(window)
            mask &= valid
        np.copyto(pixels, 0, where=~mask)
        return pixels, mask
