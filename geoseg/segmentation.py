"""One block: read its tiles, predict them, blend them, label them.

Strategy. A block reads each of its tiles with the halo, predicts them in batches of one fixed size, and turns
scores into integers at once. Interiors are labelled from the tile alone; ramps are summed. What the
block's neighbours must add to its outer ramps is exchanged as thin strips of sums, so no pixel is predicted twice
beyond the tiles' own overlap. This module knows nothing of where blocks are stored or where they run.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from geoseg.blending import BlockSums, Labels, Mask, Strips, Sums, complete, label, label_ramp
from geoseg.grid import Block, Tile, TileGrid, Window
from geoseg.models.semantic import not_finite
from geoseg.models.spec import NODATA, ModelSpec


class PixelSource(Protocol):
    """What a block reads from: a `geoseg.raster.Raster`, or anything with its two faces."""

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width, px."""

    def read(self, window: Window) -> tuple[NDArray[np.generic], Mask]:
        """Pixels (band, y, x) and mask (y, x), True = valid, of a window inside the raster."""


class MaskSource(Protocol):
    """Which pixels are wanted: a region of interest on the raster's grid."""

    def mask(self, window: Window) -> Mask:
        """Bool (y, x), True = wanted, of a window inside the raster."""


class SemanticModel(Protocol):
    """What turns pixels into scores."""

    @property
    def spec(self) -> ModelSpec:
        """What the model promises."""

    def score(self, pixels: NDArray[np.generic], mask: Mask) -> torch.Tensor:
        """Scores, float32 (n, class, y, x), of pixels (n, band, y, x) and mask (n, y, x)."""


@dataclass(frozen=True)
class Prediction:
    """A block as its own tiles see it.

    Attributes
    ----------
    labels : uint8 array
        Shape (y, x) over the block's core, 255 = nodata; final but for the block's top and left ramps.
    confidence : uint8 array
        Shape (y, x), 255 = 1.0, 0 where there is no data.
    strips : Strips
        Raw sums on the block's outer ramps.
    """

    labels: Labels
    confidence: Labels
    strips: Strips


@dataclass(frozen=True)
class _TileInput:
    """A tile as it is fed to the model: pixels, mask of the imagery, and the wanted pixels of its reach."""

    tile: Tile
    pixels: NDArray[np.generic]
    mask: Mask
    wanted: Mask


def predict_block(
    raster: PixelSource,
    model: SemanticModel,
    grid: TileGrid,
    block: Block,
    *,
    region: MaskSource | None = None,
    batch_size: int = 1,
) -> Prediction:
    """Predict a block's tiles.

    Parameters
    ----------
    raster : PixelSource
        Where pixels come from.
    model : SemanticModel
        What predicts them.
    grid : TileGrid
        The raster's layout.
    block : Block
        One of the grid's blocks.
    region : MaskSource, optional
        Pixels outside of it become nodata; the model still sees them as context.
    batch_size : int
        Tiles per forward pass; the last batch is padded, because a network's floats depend on it.

    Returns
    -------
    Prediction
        Labels, confidence and strips of the block.
    """
    draft = _Draft(grid, block, model.spec)
    inputs = (read_tile(raster, tile, region) for tile in grid.tiles_of(block))
    for batch in _batches((item for item in inputs if item.wanted.any()), batch_size):
        draft.add(batch, _score_batch(model, batch, batch_size))
    return draft.prediction()


class _Draft:
    """A block while its tiles come in: labels where one tile decides, sums on ramps."""

    def __init__(self, grid: TileGrid, block: Block, spec: ModelSpec) -> None:
        self._spec, self._core, self._values = spec, block.core, _values(spec)
        self._sums = BlockSums(grid, block, len(spec.classes))
        self._labels = np.full(block.core.shape, NODATA, np.uint8)
        self._confidence = np.zeros(block.core.shape, np.uint8)

    def add(self, batch: list[_TileInput], scores: torch.Tensor) -> None:
        """Take in what the model says of a batch, float32 (n, class, y, x)."""
        activation = self._spec.activation
        for item, own in zip(batch, scores, strict=False):
            tile, place = item.tile, item.tile.core.relative_to(self._core)
            core, reach = tile.core.relative_to(tile.read), tile.reach.relative_to(tile.read)
            target = self._values, item.wanted, self._labels, self._confidence, (place.y, place.x)
            try:
                label(own, activation, core, *target)
                self._sums.add(tile, own[(slice(None), *reach.slices())], activation)
            except FloatingPointError as error:
                raise not_finite(self._spec) from error

    def prediction(self) -> Prediction:
        """Label the ramps between the block's own tiles, and hand over."""
        for window, ramp in self._sums.inner_ramps():
            _label_ramp(ramp, self._values, self._labels, self._confidence, (window.y, window.x))
        return Prediction(self._labels, self._confidence, self._sums.strips())


def finish_block(prediction: Prediction, neighbours: dict[str, Sums], spec: ModelSpec) -> tuple[Labels, Labels]:
    """Complete a block's top and left ramps with its neighbours' strips.

    It changes ramps only, so running it again on its own result gives the same result.

    Parameters
    ----------
    prediction : Prediction
        The block; only ``top`` and ``left`` of its strips are used.
    neighbours : dict
        See `geoseg.blending.complete`.
    spec : ModelSpec
        Gives the classes' labels.

    Returns
    -------
    labels, confidence : uint8 arrays
        Shape (y, x), final.
    """
    labels, confidence = prediction.labels.copy(), prediction.confidence.copy()
    for sums in complete(prediction.strips, neighbours):
        if sums.size:
            _label_ramp(sums, _values(spec), labels, confidence)
    return labels, confidence


def _label_ramp(
    sums: Sums, values: Labels, labels: Labels, confidence: Labels, corner: tuple[int, int] = (0, 0)
) -> None:
    """Label a ramp anew wherever there is a label."""
    valid = labels[Window(*corner, *sums.shape[1:]).slices()] != NODATA
    label_ramp(sums, values, valid, labels, confidence, corner)


def read_tile(raster: PixelSource, tile: Tile, region: MaskSource | None = None) -> _TileInput:
    """Read what a tile's model sees; outside the raster its pixels are reflected.

    Pixel t of an axis of n is pixel ``m = t mod 2 (n - 1)``, ``m if m < n else 2 (n - 1) - m``, however far outside it
    lies; with n == 1 every t is pixel 0.

    Parameters
    ----------
    raster : PixelSource
        Where pixels come from.
    tile : Tile
        One of the grid's tiles.
    region : MaskSource, optional
        Pixels outside of it are not wanted.
    """
    window = tile.read.intersect(Window(0, 0, *raster.shape))
    pixels, mask = raster.read(window)
    wanted = mask[tile.reach.relative_to(window).slices()]
    if region is not None and wanted.any():
        wanted = wanted & region.mask(tile.reach)
    if window != tile.read:
        rows = (window.y - tile.read.y, tile.read.bottom - window.bottom)
        cols = (window.x - tile.read.x, tile.read.right - window.right)
        pixels = np.pad(pixels, ((0, 0), rows, cols), mode="reflect")
        mask = np.pad(mask, (rows, cols), mode="reflect")
    return _TileInput(tile, pixels, mask, wanted)


def _batches(inputs: Iterator[_TileInput], size: int) -> Iterator[list[_TileInput]]:
    """Collect inputs into lists of at most ``size``."""
    batch: list[_TileInput] = []
    for item in inputs:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def _score_batch(model: SemanticModel, batch: list[_TileInput], size: int) -> torch.Tensor:
    """Scores, float32 (n, class, y, x), of what each tile reads; a short batch is padded with empty tiles."""
    if size == 1:
        pixels, masks = batch[0].pixels[None], batch[0].mask[None]
    else:
        pixels = np.zeros((size, *batch[0].pixels.shape), batch[0].pixels.dtype)
        masks = np.zeros((size, *batch[0].mask.shape), np.bool_)
        for position, item in enumerate(batch):
            pixels[position], masks[position] = item.pixels, item.mask
    with torch.inference_mode():
        return model.score(pixels, masks)


def _values(spec: ModelSpec) -> Labels:
    """The label of each class, by its position."""
    return np.array([item.value for item in spec.classes], np.uint8)
