"""One block of labels: read its tiles, predict them, blend them, label them.

Strategy. A block reads each of its tiles with the halo, predicts them in batches of one fixed size, and turns
scores into integers at once. Interiors are labelled from the tile alone; ramps are summed. What the
block's neighbours must add to its outer ramps is exchanged as thin strips of sums, so no pixel is predicted twice
beyond the tiles' own overlap. This module knows nothing of where blocks are stored or where they run.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from geoseg.blending import Background, BlockSums, Labels, Strips, Sums, complete, label, label_ramp
from geoseg.grid import Block, TileGrid, Window
from geoseg.models import Model
from geoseg.models.background import background_of, scored_classes
from geoseg.models.semantic import not_finite
from geoseg.models.spec import NODATA, ModelSpec
from geoseg.segmentation.tiles import MaskSource, PixelSource, TileInput, batches, read_wanted, stack


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


def predict_block(
    raster: PixelSource,
    model: Model,
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
    model : Model
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
    draft = Draft(grid, block, model.spec)
    for batch in batches(read_wanted(raster, grid, block, region), batch_size):
        with torch.inference_mode():
            draft.add(batch, model.score(*stack(batch, batch_size)))
    return draft.prediction()


class Draft:
    """A block while its tiles come in: labels where one tile decides, sums on ramps."""

    def __init__(self, grid: TileGrid, block: Block, spec: ModelSpec) -> None:
        self._spec, self._core = spec, block.core
        self._sums = BlockSums(grid, block, 0)
        self._labels = np.full(block.core.shape, NODATA, np.uint8)
        self._confidence = np.zeros(block.core.shape, np.uint8)

    def add(self, batch: list[TileInput], scores: torch.Tensor) -> None:
        """Take in what the model says of a batch, float32 (n, class, y, x)."""
        activation, legend = self._spec.activation, _legend(self._spec, scores.shape[1])
        self._sums = self._sums.of(len(legend.values))
        for item, own in zip(batch, scores, strict=False):
            tile, place = item.tile, item.tile.core.relative_to(self._core)
            core, reach = tile.core.relative_to(tile.read), tile.reach.relative_to(tile.read)
            target = item.wanted, self._labels, self._confidence, (place.y, place.x)
            try:
                label(own, activation, core, legend.values, *target, legend.background)
                self._sums.add(tile, own[(slice(None), *reach.slices())], activation)
            except FloatingPointError as error:
                raise not_finite(self._spec) from error

    def prediction(self) -> Prediction:
        """Label the ramps between the block's own tiles, and hand over."""
        for window, ramp in self._sums.inner_ramps():
            _label_ramp(ramp, self._spec, self._labels, self._confidence, (window.y, window.x))
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
            _label_ramp(sums, spec, labels, confidence)
    return labels, confidence


def _label_ramp(
    sums: Sums, spec: ModelSpec, labels: Labels, confidence: Labels, corner: tuple[int, int] = (0, 0)
) -> None:
    """Label a ramp anew wherever there is a label."""
    legend = _legend(spec, len(sums))
    valid = labels[Window(*corner, *sums.shape[1:]).slices()] != NODATA
    label_ramp(sums, legend.values, valid, labels, confidence, corner, legend.background)


@dataclass(frozen=True)
class _Legend:
    """The label of each score, by its position, and of pixels where none is large enough."""

    values: Labels
    background: Background | None


def _legend(spec: ModelSpec, count: int) -> _Legend:
    """The legend of so many scores of stuff."""
    scored = scored_classes(spec, count, spec.stuff) or ()
    below = background_of(spec, scored)
    background = None if below is None else Background(below[0].value, below[1])
    return _Legend(np.array([item.value for item in scored], np.uint8), background)
