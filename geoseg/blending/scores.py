"""Scores of tiles as blocks use them: in memory, or brought over from a device (`geoseg.blending.fetching`).

It knows scores and ramps, nothing of networks or of blocks, and loads no torch: most processes of a run only store.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from geoseg.blending.integers import AS_THEY_ARE, Integers, Mask, Powers, label, quantise
from geoseg.grid import Tiling, Window
from geoseg.probabilities import Labels, Pixels

if TYPE_CHECKING:
    import torch


class TileScores(Protocol):
    """What a model says of a tile, over its reach."""

    def label(self, shape: tuple[int, int], wanted: Mask, pixels: Pixels, corner: tuple[int, int]) -> None:
        """Label the tile's core, of a shape in px, at a corner of pixels; see `geoseg.blending.label`."""

    def across(self, y: int) -> Integers:
        """Integers of the ramp that begins at a row, int16 (class, ramp, x), over the whole width or more."""

    def down(self, x: int) -> Integers:
        """Integers of the ramp that begins at a column, int16 (class, y, ramp), over the whole height or more."""


@dataclass(frozen=True)
class HostScores:
    """See `TileScores`: scores in memory, float32 (class, y, x), which the compiled pass reads as they are needed."""

    scores: torch.Tensor
    activation: str
    ramp: int
    values: Labels
    powers: Powers = field(default_factory=lambda: AS_THEY_ARE)

    def label(self, shape: tuple[int, int], wanted: Mask, pixels: Pixels, corner: tuple[int, int]) -> None:
        """See `TileScores`."""
        window = Window(0, 0, *shape)
        label(self.scores, self.activation, window, self.values, wanted, pixels, corner, self.powers)

    def across(self, y: int) -> Integers:
        """See `TileScores`."""
        return quantise(self.scores[:, y : y + self.ramp], self.activation)

    def down(self, x: int) -> Integers:
        """See `TileScores`."""
        return quantise(self.scores[:, :, x : x + self.ramp], self.activation)


def tile_scores(
    scores: torch.Tensor,
    activation: str,
    tiling: Tiling,
    reaches: Sequence[Window],
    values: Labels,
    *,
    keep_all: bool = False,
    powers: Powers = AS_THEY_ARE,
) -> list[TileScores]:
    """Take over the scores of a batch.

    Parameters
    ----------
    scores : torch.Tensor
        float32, shape (n, class, y, x) over what tiles read.
    activation : str
        See `geoseg.blending.quantise`.
    tiling : Tiling
        Where ramps are.
    reaches : sequence of Window
        What each tile predicts, counted from the first pixel that it reads.
    values : uint8 array
        Shape (class,): the label of each class.
    keep_all : bool
        Whether the probabilities of all classes are wanted, not only that of the best.
    powers : int32 array
        Of the model's temperature, see `geoseg.probabilities.powers_of`.

    Returns
    -------
    list of TileScores
        One a tile.

    Raises
    ------
    FloatingPointError
        Scores on a device are not finite; those in memory are looked at when they are used.
    """
    if scores.device.type == "cpu":
        found = (item[(slice(None), *reach.slices())] for item, reach in zip(scores, reaches, strict=True))
        return [HostScores(item, activation, tiling.ramp, values, powers) for item in found]
    from geoseg.blending.fetching import fetch  # it needs torch

    return fetch(scores, activation, tiling, reaches, values, keep_all=keep_all, powers=powers)
