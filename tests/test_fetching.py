"""What a device makes of scores is what the compiled pass makes of them, bit for bit; tried on tensors of the CPU."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from geoseg.blending import fetching, quantise
from geoseg.grid import TileGrid, Tiling, Window
from geoseg.segmentation import blocks, predict_block
from tests.strategies import grids, pixels
from tests.test_segmentation import ArrayRaster
from tests.test_temperature import TemperedModel

ACTIVATIONS = st.sampled_from(["softmax", "sigmoid", "none"])


@st.composite
def batches(draw: st.DrawFn) -> torch.Tensor:
    """Scores of a batch of two, near ties and far from them, in both orders in memory."""
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32 - 1)))
    scores = torch.randn(2, draw(st.integers(1, 9)), 11, 23, generator=generator)
    scores *= draw(st.sampled_from([0.001, 0.1, 1.0, 10.0, 100.0]))
    scores = scores.round() if draw(st.booleans()) else scores
    return scores.contiguous(memory_format=torch.channels_last) if draw(st.booleans()) else scores


@given(batches(), ACTIVATIONS)
def test_integers_are_those_of_the_compiled_pass(scores: torch.Tensor, activation: str) -> None:
    integers, is_finite = fetching.quantise_on_device(scores, activation)
    assert is_finite
    for position, own in enumerate(scores):
        np.testing.assert_array_equal(integers[position], quantise(own, activation))


@given(grids(longest=70), st.integers(1, 5), st.integers(0, 2**32 - 1), st.booleans(), st.data())
def test_a_block_is_the_same_whatever_has_labelled_its_tiles(
    grid: TileGrid, batch_size: int, seed: int, keep: bool, data: st.DataObject
) -> None:
    valid = np.random.default_rng(seed).random(grid.shape) > 0.2
    model = TemperedModel(reach=3, temperature=data.draw(st.sampled_from([None, 0.5, 2.0])))
    raster = ArrayRaster(data.draw(pixels(grid.shape)), valid)
    for block in grid.blocks():
        here = predict_block(raster, model, grid, block, batch_size=batch_size, keep_probabilities=keep)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(blocks, "tile_scores", fetching.fetch)
            patch.setattr(fetching, "PIECE", data.draw(st.sampled_from([1, 2**26])))
            there = predict_block(raster, model, grid, block, batch_size=batch_size, keep_probabilities=keep)
        for name in ("labels", "best", "probabilities"):
            np.testing.assert_array_equal(getattr(there.pixels, name), getattr(here.pixels, name))
        for name in ("top", "left", "right", "below", "corner"):
            np.testing.assert_array_equal(getattr(there.strips, name), getattr(here.strips, name))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("activation", ["softmax", "none"])
def test_scores_that_are_not_finite_are_refused(activation: str, bad: float) -> None:
    scores = torch.zeros(1, 3, 8, 8)
    scores[0, 1, 2, 3] = bad
    with pytest.raises(FloatingPointError, match="not finite"):
        fetching.fetch(scores, activation, Tiling(8, 0, 2), [Window(0, 0, 8, 8)], np.arange(3, dtype=np.uint8))
