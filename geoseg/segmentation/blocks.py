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

from geoseg.blending import BlockSums, Strips, Sums, complete, label, label_ramp
from geoseg.grid import Block, TileGrid, Window
from geoseg.models import Model
from geoseg.models.background import background_of, find_background, probable_classes, scored_classes
from geoseg.models.semantic import not_finite
from geoseg.models.spec import ModelSpec
from geoseg.probabilities import NODATA, SCALE, Background, Labels, Pixels, Stored, apply_threshold
from geoseg.segmentation.tiles import MaskSource, PixelSource, TileInput, batches, read_wanted, stack


@dataclass(frozen=True)
class Prediction:
    """A block as its own tiles see it.

    Attributes
    ----------
    pixels : Pixels
        Of the block's core; final but for the block's top and left ramps.
    strips : Strips
        Raw sums on the block's outer ramps.
    """

    pixels: Pixels
    strips: Strips


def predict_block(
    raster: PixelSource,
    model: Model,
    grid: TileGrid,
    block: Block,
    *,
    region: MaskSource | None = None,
    batch_size: int = 1,
    keep_probabilities: bool = False,
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
    keep_probabilities : bool
        Whether the probabilities of all classes are wanted, beside the best one.

    Returns
    -------
    Prediction
        Pixels and strips of the block.
    """
    draft = Draft(grid, block, model.spec, keep_probabilities=keep_probabilities)
    for batch in batches(read_wanted(raster, grid, block, region), batch_size):
        with torch.inference_mode():
            draft.add(batch, model.score(*stack(batch, batch_size)))
    return draft.prediction()


class Draft:
    """A block while its tiles come in: labels where one tile decides, sums on ramps."""

    def __init__(self, grid: TileGrid, block: Block, spec: ModelSpec, *, keep_probabilities: bool = False) -> None:
        self._spec, self._core = spec, block.core
        self._sums, self._keeps = BlockSums(grid, block, 0), keep_probabilities
        self._pixels = Pixels.empty(block.core.shape)

    def add(self, batch: list[TileInput], scores: torch.Tensor) -> None:
        """Take in what the model says of a batch, float32 (n, class, y, x)."""
        activation, values = self._spec.activation, _values(self._spec, scores.shape[1])
        self._sums = self._sums.of(len(values))
        if self._keeps and not len(self._pixels.probabilities):
            self._pixels = Pixels.empty(self._core.shape, len(values))
        for item, own in zip(batch, scores, strict=False):
            tile, place = item.tile, item.tile.core.relative_to(self._core)
            core, reach = tile.core.relative_to(tile.read), tile.reach.relative_to(tile.read)
            try:
                label(own, activation, core, values, item.wanted, self._pixels, (place.y, place.x))
                self._sums.add(tile, own[(slice(None), *reach.slices())], activation)
            except FloatingPointError as error:
                raise not_finite(self._spec) from error

    def prediction(self) -> Prediction:
        """Label the ramps between the block's own tiles, and hand over."""
        for window, ramp in self._sums.inner_ramps():
            _label_ramp(ramp, self._spec, self._pixels, (window.y, window.x))
        return Prediction(self._pixels, self._sums.strips())


def finish_block(prediction: Prediction, neighbours: dict[str, Sums], spec: ModelSpec) -> Pixels:
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
    Pixels
        Final.
    """
    pixels = prediction.pixels.copy()
    for sums in complete(prediction.strips, neighbours):
        if sums.size:
            _label_ramp(sums, spec, pixels)
    return pixels


def label_block(pixels: Pixels, spec: ModelSpec, count: int) -> tuple[Labels, Labels]:
    """Labels and confidence, uint8 (y, x), of a finished block of a model that gives so many scores."""
    scored = scored_classes(spec, count, spec.stuff) or ()
    below = background_of(spec, scored)
    background = None if below is None else Background(below[0].value, below[1])
    return apply_threshold(pixels.labels, pixels.best, background)


def by_class(pixels: Pixels, spec: ModelSpec) -> Stored:
    """Probabilities of the classes that the spec describes, uint16 (class, y, x), 65,535 = no data.

    Background that the network does not score gets what the best class leaves of 1.
    """
    probabilities, classes = pixels.probabilities, probable_classes(spec)
    if len(probabilities) in (0, len(classes)):
        return probabilities
    rest = np.where(pixels.labels == NODATA, pixels.best, SCALE - pixels.best)
    place = classes.index(find_background(spec))
    return np.insert(probabilities, place, rest, axis=0)


def _label_ramp(sums: Sums, spec: ModelSpec, pixels: Pixels, corner: tuple[int, int] = (0, 0)) -> None:
    """Label a ramp anew wherever there is a label."""
    valid = pixels.labels[Window(*corner, *sums.shape[1:]).slices()] != NODATA
    label_ramp(sums, _values(spec, len(sums)), valid, pixels, corner)


def _values(spec: ModelSpec, count: int) -> Labels:
    """The label of each of so many scores of stuff, by its position."""
    return np.array([item.value for item in scored_classes(spec, count, spec.stuff) or ()], np.uint8)
