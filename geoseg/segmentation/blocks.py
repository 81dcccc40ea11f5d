"""One block of labels: read its tiles, predict them, blend them, label them.

Strategy. A block reads each of its tiles with the halo, predicts them in batches of one fixed size, and turns
scores into integers at once. Interiors are labelled from the tile alone; ramps are summed. What the
block's neighbours must add to its outer ramps is exchanged as thin strips of sums, so no pixel is predicted twice
beyond the tiles' own overlap. This module knows nothing of where blocks are stored or where they run.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from geoseg.blending import BlockSums, Strips, Sums, TileScores, complete, label_ramp, tile_scores
from geoseg.grid import Block, Tile, TileGrid, Window
from geoseg.models import Model
from geoseg.models.background import background_of, find_background, probable_classes, scored_classes
from geoseg.models.spec import ModelSpec
from geoseg.models.streams import in_flight
from geoseg.probabilities import NODATA, SCALE, Background, Labels, Pixels, Stored, apply_threshold, powers_of
from geoseg.segmentation.tiles import MaskSource, PixelSource, TileInput, batches, read_wanted, stack

if TYPE_CHECKING:
    import torch


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
    strips: Collection[str] | None = None,
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
    strips : collection of str, optional
        The only strips that are wanted, of ``right``, ``below`` and ``corner``: tiles that give none are left out.

    Returns
    -------
    Prediction
        Pixels and strips of the block.
    """
    draft = Draft(grid, block, model.spec, keep_probabilities=keep_probabilities)
    where = None if strips is None else partial(_gives, grid, block, strips)
    for batch in batches(read_wanted(raster, grid, block, region, where), batch_size):
        pixels = stack(batch, batch_size)
        with in_flight(model.device):
            scores = draft.take(batch, model.score(*pixels))
        draft.add(batch, scores)
    return draft.prediction()


def _gives(grid: TileGrid, block: Block, strips: Collection[str], tile: Tile) -> bool:
    """Whether a tile reaches into some strips of its block."""
    is_lowest = tile.row == grid.rows.block_range(block.row)[1] - 1
    is_last = tile.col == grid.cols.block_range(block.col)[1] - 1
    reached = {"right": is_last, "below": is_lowest, "corner": is_lowest and is_last}
    return any(reached[strip] for strip in strips)


class Draft:
    """A block while its tiles come in: labels where one tile decides, sums on ramps."""

    def __init__(self, grid: TileGrid, block: Block, spec: ModelSpec, *, keep_probabilities: bool = False) -> None:
        self._spec, self._core, self._tiling = spec, block.core, grid.tiling
        self._sums, self._keeps = BlockSums(grid, block, 0), keep_probabilities
        self._pixels = Pixels.empty(block.core.shape)

    def take(self, batch: list[TileInput], scores: torch.Tensor) -> list[TileScores]:
        """Take what is needed off the device of a batch's scores, float32 (n, class, y, x); padding is left there."""
        values = _values(self._spec, scores.shape[1])
        reaches = [item.tile.reach.relative_to(item.tile.read) for item in batch]
        self._sums = self._sums.of(len(values))
        if self._keeps and not len(self._pixels.probabilities):
            self._pixels = Pixels.empty(self._core.shape, len(values))
        with self._finite():
            own = scores[: len(batch)]
            powers, activation = powers_of(self._spec.temperature), self._spec.activation
            return tile_scores(own, activation, self._tiling, reaches, values, keep_all=self._keeps, powers=powers)

    def add(self, batch: list[TileInput], scores: list[TileScores]) -> None:
        """Label a batch, and sum up its ramps."""
        for item, own in zip(batch, scores, strict=True):
            place = item.tile.core.relative_to(self._core)
            with self._finite():
                own.label(item.tile.core.shape, item.wanted, self._pixels, (place.y, place.x))
                self._sums.add(item.tile, own)

    @contextmanager
    def _finite(self) -> Iterator[None]:
        """Say of which model scores are that are no numbers."""
        try:
            yield
        except FloatingPointError as error:
            from geoseg.models.semantic import not_finite  # it needs torch

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
    if not len(probabilities):  # no tile has data
        return Pixels.empty(pixels.labels.shape, len(classes)).probabilities
    if len(probabilities) == len(classes):
        return probabilities
    rest = np.where(pixels.labels == NODATA, pixels.best, SCALE - pixels.best)
    place = classes.index(find_background(spec))
    return np.insert(probabilities, place, rest, axis=0)


def _label_ramp(sums: Sums, spec: ModelSpec, pixels: Pixels, corner: tuple[int, int] = (0, 0)) -> None:
    """Label a ramp anew wherever there is a label."""
    valid = pixels.labels[Window(*corner, *sums.shape[1:]).slices()] != NODATA
    label_ramp(sums, _values(spec, len(sums)), valid, pixels, corner, powers_of(spec.temperature))


def _values(spec: ModelSpec, count: int) -> Labels:
    """The label of each of so many scores of stuff, by its position."""
    return np.array([item.value for item in scored_classes(spec, count, spec.stuff) or ()], np.uint8)
