"""The equations of ramps and sums, against sums over the whole raster in 64 bits."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from geoseg.blending import (
    ONE,
    BlockSums,
    HostScores,
    axis_weights,
    complete,
    label,
    label_ramp,
    quantise,
    ramp_weights,
)
from geoseg.grid import TileGrid, Window
from geoseg.probabilities import NO_INTEGER, SCALE, Pixels, apply_threshold
from tests.strategies import grids

ONE_PIXEL = Window(0, 0, 1, 1)
VALUES = np.arange(3, dtype=np.uint8)


def labelled(scores: torch.Tensor, window: Window, activation: str = "none") -> tuple[NDArray[np.uint8], ...]:
    """Positions of the classes, and confidence, of a window in which every pixel is wanted."""
    pixels = Pixels.empty(window.shape, len(scores))
    label(scores, activation, window, np.arange(len(scores), dtype=np.uint8), np.ones(window.shape, bool), pixels)
    np.testing.assert_array_equal(pixels.probabilities.max(0), pixels.best)
    np.testing.assert_array_equal(pixels.probabilities.argmax(0), pixels.labels)
    return apply_threshold(pixels.labels, pixels.best)


@given(st.integers(0, 600))
def test_the_weights_of_two_tiles_on_a_ramp_sum_to_one(ramp: int) -> None:
    weights = ramp_weights(ramp)
    assert ((weights >= 0) & (weights <= ONE)).all()
    np.testing.assert_array_equal(weights + (ONE - weights), ONE)
    np.testing.assert_array_equal(np.sort(weights), weights)


@given(grids())
def test_weights_sum_to_one_at_every_pixel_outer_ring_and_corners_too(grid: TileGrid) -> None:
    sums = np.zeros(grid.shape, np.int64)
    for row in range(grid.rows.tiles):
        for col in range(grid.cols.tiles):
            weights = axis_weights(grid.rows, row)[:, None] * axis_weights(grid.cols, col)
            sums[grid.tile(row, col).reach.slices()] += weights
    assert (sums == ONE * ONE).all()


def _tile_integers(grid: TileGrid, row: int, col: int, seed: int) -> NDArray[np.int16]:
    """What a tile predicts: any integers, other ones for each tile."""
    shape = (3, *grid.tile(row, col).reach.shape)
    return np.random.default_rng([seed, row, col]).integers(0, SCALE + 1, shape, dtype=np.int16)


def _whole(grid: TileGrid, seed: int) -> NDArray[np.int64]:
    """The weighted sum over all tiles of the raster, without blocks."""
    sums = np.zeros((3, *grid.shape), np.int64)
    for row in range(grid.rows.tiles):
        for col in range(grid.cols.tiles):
            weights = axis_weights(grid.rows, row)[:, None] * axis_weights(grid.cols, col)
            place = grid.tile(row, col).reach.slices()
            sums[(slice(None), *place)] += weights * _tile_integers(grid, row, col, seed).astype(np.int64)
    return sums


@settings(deadline=None)
@given(grids(), st.integers(0, 999), st.booleans())
def test_strips_complete_the_ramps_of_every_block_exactly(grid: TileGrid, seed: int, backwards: bool) -> None:
    whole, strips = _whole(grid, seed), {}
    for block in grid.blocks():
        sums = BlockSums(grid, block, 3)
        for tile in sorted(grid.tiles_of(block), key=lambda tile: (tile.row, tile.col), reverse=backwards):
            integers = _tile_integers(grid, tile.row, tile.col, seed)
            scores = torch.from_numpy(integers.astype(np.float32) / SCALE)
            sums.add(tile, HostScores(scores, "none", grid.tiling.ramp, VALUES))
        strips[block.row, block.col] = sums.strips()
        outer = (grid.tiling.ramp if block.row else 0, grid.tiling.ramp if block.col else 0)
        for window, ramp in sums.inner_ramps():
            part = whole[:, block.core.y : block.core.bottom, block.core.x : block.core.right][
                (slice(None), *window.slices())
            ]
            top, left = max(0, outer[0] - window.y), max(0, outer[1] - window.x)
            np.testing.assert_array_equal(ramp[:, top:, left:], part[:, top:, left:])
    for block in grid.blocks():
        neighbours = {strip: getattr(strips[place], strip) for strip, place in grid.sources_of(block).items()}
        for ramp in complete(strips[block.row, block.col], neighbours):
            if not ramp.size:
                continue
            y, x = block.core.y, block.core.x
            np.testing.assert_array_equal(ramp, whole[:, y : y + ramp.shape[1], x : x + ramp.shape[2]])


@given(st.lists(st.floats(0, 1, width=32), min_size=2, max_size=20), st.integers(1, 64), st.data())
def test_a_constant_model_is_labelled_alike_on_ramps_and_elsewhere(
    values: list[float], ramp: int, data: st.DataObject
) -> None:
    probabilities = torch.tensor(values, dtype=torch.float32)[:, None, None]
    down = int(data.draw(st.sampled_from(ramp_weights(ramp).tolist())))
    across = int(data.draw(st.sampled_from(ramp_weights(ramp).tolist())))
    weights = [down * across, down * (ONE - across), (ONE - down) * across, (ONE - down) * (ONE - across)]
    sums = np.zeros((len(values), 1, 1), np.int32)
    for weight in weights:
        sums += quantise(probabilities) * np.int32(weight)
    alone, blended = Pixels.empty((1, 1), len(values)), Pixels.empty((1, 1), len(values))
    positions, everywhere = np.arange(len(values), dtype=np.uint8), np.ones((1, 1), bool)
    label(probabilities, "none", ONE_PIXEL, positions, everywhere, alone)
    label_ramp(sums, positions, everywhere, blended)
    for one, other in zip(vars(alone).values(), vars(blended).values(), strict=True):
        np.testing.assert_array_equal(one, other)


@given(st.integers(1, 9), st.integers(0, 2**32 - 1), st.data())
def test_labels_are_the_first_largest_of_the_integers_in_any_window(
    classes: int, seed: int, data: st.DataObject
) -> None:
    rng = np.random.default_rng(seed)
    coarse = rng.random((classes, 13, 17), np.float32).round(rng.integers(1, 6))  # ties among them
    y, x = data.draw(st.integers(0, 12)), data.draw(st.integers(0, 16))
    window = Window(y, x, data.draw(st.integers(1, 13 - y)), data.draw(st.integers(1, 17 - x)))
    scores = torch.from_numpy(coarse)
    if data.draw(st.booleans()):
        scores = scores[None].contiguous(memory_format=torch.channels_last)[0]
    indices, confidence = labelled(scores, window)
    integers = np.rint(coarse * np.float32(SCALE)).astype(np.int64)[(slice(None), *window.slices())]
    np.testing.assert_array_equal(indices, integers.argmax(0))
    np.testing.assert_array_equal(confidence, np.maximum(np.floor(integers.max(0) * 255 / SCALE + 0.5), 1))


def test_ties_go_to_the_first_class() -> None:
    near = torch.tensor([0.2, 0.4, 0.400001, 0.4])[:, None, None]
    assert labelled(near, ONE_PIXEL)[0].item() == 1


def test_pixels_that_are_not_wanted_keep_what_they_have() -> None:
    pixels = Pixels.empty((2, 3), 2)
    wanted = np.array([[True, False, True], [False, True, False]])
    scores = torch.zeros(2, 2, 3)
    scores[1] = 1
    label(scores, "none", Window(0, 0, 2, 3), np.array([4, 7], np.uint8), wanted, pixels)
    np.testing.assert_array_equal(pixels.labels, np.where(wanted, 7, 255))
    np.testing.assert_array_equal(pixels.best, np.where(wanted, SCALE, NO_INTEGER))
    np.testing.assert_array_equal(pixels.probabilities, np.where(wanted, [[[0]], [[SCALE]]], NO_INTEGER))
    labels, confidence = apply_threshold(pixels.labels, pixels.best)
    np.testing.assert_array_equal(labels, pixels.labels)
    np.testing.assert_array_equal(confidence, np.where(wanted, 255, 0))


@given(st.integers(1, 9), st.integers(0, 2**32 - 1), st.sampled_from([0.1, 1.0, 10.0, 60.0]), st.booleans())
def test_integers_are_within_one_of_those_from_probabilities_in_64_bits(
    classes: int, seed: int, spread: float, is_last: bool
) -> None:
    scores = spread * torch.randn(classes, 7, 33, generator=torch.Generator().manual_seed(seed))
    wide = scores.double()
    laid_out = scores[None].contiguous(memory_format=torch.channels_last)[0] if is_last else scores
    for activation, exact in (("softmax", wide.softmax(0)), ("sigmoid", wide.sigmoid())):
        integers = quantise(laid_out, activation).astype(np.int64)
        off = np.abs(integers - exact.numpy() * SCALE)
        assert off.max() < 0.51  # a half, and what 32 bits round
        indices, _ = labelled(laid_out, Window(0, 0, 7, 33), activation)
        np.testing.assert_array_equal(indices, integers.argmax(0))


@pytest.mark.parametrize("activation", ["softmax", "sigmoid", "none"])
def test_scores_that_are_not_finite_are_refused(activation: str) -> None:
    scores = torch.zeros(3, 4, 5)
    scores[1, 2, 3] = float("nan")
    with pytest.raises(FloatingPointError, match="not finite"):
        quantise(scores, activation)
    with pytest.raises(FloatingPointError, match="not finite"):
        labelled(scores, Window(0, 0, 4, 5), activation)


def test_confidence_is_the_probability_in_255ths() -> None:
    probabilities = torch.linspace(0.5, 1, 101)[None, None]
    both = torch.cat([probabilities, 1 - probabilities])
    confidence = labelled(both, Window(0, 0, 1, 101))[1][0]
    np.testing.assert_allclose(confidence, np.linspace(0.5, 1, 101) * 255, atol=0.51)


def test_the_largest_sum_fits_32_bits() -> None:
    assert SCALE * ONE * ONE <= np.iinfo(np.int32).max
