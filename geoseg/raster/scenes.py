"""A scene: what was taken at one time, in one or several files, of which some pixels are clouded.

All bands of a pixel come from one scene. It knows files that lie on the raster's grid; catalogs stand elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from geoseg.errors import RasterError
from geoseg.grid import Window
from geoseg.raster.mosaic import PlacedSource
from geoseg.raster.overlay import Order, Overlay, Pixels
from geoseg.raster.source import Source

if TYPE_CHECKING:
    from geoseg.raster.mosaic import Raster


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
        Which bands of the raster each file has, counted from 0.
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

    @property
    def extent(self) -> Window:
        """The pixels of the raster that all files cover."""
        return reduce(Window.intersect, (piece.extent for piece in self.pieces))

    @property
    def all_pieces(self) -> tuple[PlacedSource, ...]:
        """The files, that of the screen last."""
        return self.pieces if self.qa_mask is None else (*self.pieces, self.qa_mask.piece)

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


@dataclass(frozen=True)
class Scenes:
    """Scenes over one another.

    Attributes
    ----------
    scenes : tuple of Scene
        The first on top.
    order : str
        ``"first"`` or ``"median"``.
    """

    scenes: tuple[Scene, ...]
    order: Order = "first"

    @cached_property
    def _overlay(self) -> Overlay:
        first = self.scenes[0]
        return Overlay(self.scenes, sum(map(len, first.positions)), first.dtype, self.order)

    def __getstate__(self) -> dict[str, Any]:
        """Send the recipe, never the index or the items."""
        return {"scenes": tuple(replace(scene, item=None) for scene in self.scenes), "order": self.order}

    def with_sources(self, change: Callable[[Source], Source]) -> Scenes:
        """Return the same scenes with each source changed."""

        def changed(scene: Scene) -> Scene:
            qa_mask = (
                None if scene.qa_mask is None else replace(scene.qa_mask, piece=scene.qa_mask.piece.with_source(change))
            )
            return replace(scene, pieces=tuple(piece.with_source(change) for piece in scene.pieces), qa_mask=qa_mask)

        return replace(self, scenes=tuple(map(changed, self.scenes)))

    def near(self, window: Window) -> Sequence[Any]:
        """The scenes that share pixels with a window."""
        return self._overlay.near(window)

    def read(self, window: Window) -> Pixels:
        """Read a window of the raster."""
        return self._overlay.read(window)


def scenes_of(raster: Raster) -> Scenes:
    """The scenes of a raster: those of its items, the files that hold all of its bands, or one of a file a band.

    Raises
    ------
    RasterError
        Bands have several files each, of which nothing says which belong together.
    """
    if raster.scenes is not None:
        return raster.scenes
    if all(len(layer.pieces) == 1 for layer in raster.layers):
        groups = [tuple((layer.positions, layer.pieces[0]) for layer in raster.layers)]
    elif len(raster.layers) == 1:
        groups = [((raster.layers[0].positions, piece),) for piece in raster.layers[0].pieces]
    else:
        raise RasterError(
            "mask goes with one file a band, or a model as mask with files that have all bands; describe several "
            "scenes first with `geoseg catalog add`."
        )
    scenes = (
        Scene(
            Path(group[0][1].source.given).stem,
            tuple(piece for _, piece in group),
            tuple(at for at, _ in group),
            raster.dtype,
        )
        for group in groups
    )
    return Scenes(tuple(scenes), raster.order)
