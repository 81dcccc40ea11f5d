"""Blending: how overlapping tiles become one seamless map.

`integers` turns scores into integers and labels what one tile predicts alone, `fetching` does it on devices; `scores`
chooses; `ramps` sums what several tiles predict. All know arrays of tiles and blocks, nothing of rasters, models or
files.
"""

from __future__ import annotations

import numpy as np

from geoseg.blending import ramps
from geoseg.blending.integers import Mask, label, quantise
from geoseg.blending.ramps import ONE, BlockSums, Strips, Sums, axis_weights, complete, label_ramp, ramp_weights
from geoseg.blending.scores import HostScores, TileScores, tile_scores
from geoseg.files import has_machine_code
from geoseg.grid import TileGrid, Tiling, Window
from geoseg.probabilities import Pixels, apply_threshold

__all__ = [
    "ONE",
    "BlockSums",
    "HostScores",
    "Mask",
    "Strips",
    "Sums",
    "TileScores",
    "axis_weights",
    "compile_loops",
    "complete",
    "is_compiled",
    "label",
    "label_ramp",
    "quantise",
    "ramp_weights",
    "tile_scores",
]


def is_compiled() -> bool:
    """Say whether an earlier start has left its machine code on disk."""
    return has_machine_code(ramps._label_sums)


def compile_loops() -> None:
    """Compile what is compiled, or load it from the cache on disk, ahead of the first tile."""
    import torch

    grid = TileGrid((1, 3), Tiling(2, 0, 1), (1, 1))
    sums, scores = BlockSums(grid, grid.block(0, 0), 1), torch.zeros(1, 1, 2)
    values, wanted, pixels = np.zeros(1, np.uint8), np.ones((1, 2), np.bool_), Pixels.empty((1, 2))
    sums.add(grid.tile(0, 0), HostScores(scores, "none", 1, values))
    label(scores, "none", Window(0, 0, 1, 2), values, wanted, pixels)
    label_ramp(sums.strips().right, values, wanted, pixels)
    apply_threshold(pixels.labels, pixels.best)
