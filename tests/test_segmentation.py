"""Blocks against the whole image: the same labels, bit for bit."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from geoseg.blending import Mask, quantise
from geoseg.grid import TileGrid, Tiling, Window
from geoseg.models.spec import NODATA, Band, ClassSpec, ModelSpec
from geoseg.probabilities import SCALE
from geoseg.segmentation import Prediction, by_class, finish_block, label_block, predict_block, read_tile
from tests.strategies import grids, pixels, tilings

CLASSES = tuple(ClassSpec(value, f"class {value}") for value in (0, 1, 2))


@dataclass
class ArrayRaster:
    """A raster in memory."""

    pixels: NDArray[np.uint8]
    valid: Mask | None = None

    @property
    def shape(self) -> tuple[int, int]:
        return self.pixels.shape[1], self.pixels.shape[2]

    def read(self, window: Window) -> tuple[NDArray[np.uint8], Mask]:
        assert Window(0, 0, *self.shape).contains(window)
        place = window.slices()
        valid = np.ones(self.shape, bool) if self.valid is None else self.valid
        return self.pixels[(slice(None), *place)], valid[place]


@dataclass
class BoxModel:
    """A box filter of 2 * reach + 1 px; sums of integers, so its floats are exact."""

    reach: int = 1
    classes: tuple[ClassSpec, ...] = CLASSES
    batches: list[tuple[int, ...]] = field(default_factory=list)

    @property
    def device(self) -> torch.device:
        return torch.device("cpu")

    @property
    def spec(self) -> ModelSpec:
        return ModelSpec("box", "semantic-segmentation", (Band("a"), Band("b")), self.classes)

    def score(self, pixels: NDArray[np.generic], mask: Mask) -> torch.Tensor:
        self.batches.append(pixels.shape)
        values = torch.from_numpy(pixels.astype(np.float32)) * torch.from_numpy(mask)[:, None]
        size = 2 * self.reach + 1
        sums = torch.nn.functional.avg_pool2d(values, size, 1, self.reach, divisor_override=1)
        return torch.cat([sums, sums[:, :1] * 0.5 + sums[:, 1:] * 0.5], 1) / (255 * size * size)


def run_blocks(raster: ArrayRaster, model: BoxModel, grid: TileGrid, **options: object) -> tuple[Mask, ...]:
    """Predict and finish every block of a grid, in memory."""
    predictions = {(b.row, b.col): predict_block(raster, model, grid, b, **options) for b in grid.blocks()}
    labels, confidence = np.zeros(grid.shape, np.uint8), np.zeros(grid.shape, np.uint8)
    for block in grid.blocks():
        sources = grid.sources_of(block).items()
        strips = {strip: getattr(predictions[place].strips, strip) for strip, place in sources}
        prediction = predictions[block.row, block.col]
        pixels = finish_block(prediction, strips, model.spec)
        place = block.core.slices()
        labels[place], confidence[place] = label_block(pixels, model.spec, len(prediction.strips.top))
    return labels, confidence


def whole_image(raster: ArrayRaster, model: BoxModel, halo: int) -> tuple[Mask, Mask]:
    """Predict the image at once, reflected by the halo by an index map."""
    height, width = raster.shape
    rows, cols = reflect(np.arange(-halo, height + halo), height), reflect(np.arange(-halo, width + halo), width)
    padded = raster.pixels[:, rows[:, None], cols]
    scores = model.score(padded[None], np.ones((1, *padded.shape[1:]), bool))[0]
    integers = quantise(scores[:, halo : halo + height, halo : halo + width], "softmax").astype(np.int64)
    confidence = np.floor(integers.max(0) * 255 / SCALE + 0.5).astype(np.uint8)
    return integers.argmax(0).astype(np.uint8), confidence


def reflect(indices: NDArray[np.int64], length: int) -> NDArray[np.int64]:
    """``m = t mod 2 (n - 1)``, ``m if m < n else 2 (n - 1) - m``; one pixel reflects into itself."""
    if length == 1:
        return np.zeros_like(indices)
    folded = indices % (2 * (length - 1))
    return np.where(folded < length, folded, 2 * (length - 1) - folded)


@given(grids(longest=70), st.data())
def test_a_box_filter_within_the_halo_gives_the_whole_image_result_bit_for_bit(
    grid: TileGrid, data: st.DataObject
) -> None:
    raster = ArrayRaster(data.draw(pixels(grid.shape)))
    model = BoxModel(reach=data.draw(st.integers(0, grid.tiling.halo)))
    expected = whole_image(raster, model, grid.tiling.halo)
    for found, wanted in zip(run_blocks(raster, model, grid), expected, strict=True):
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.slow
@given(tilings(), st.integers(1, 70), st.integers(1, 70), st.data())
def test_labels_and_confidence_do_not_depend_on_blocks_even_when_the_halo_is_too_small(
    tiling: Tiling, height: int, width: int, data: st.DataObject
) -> None:
    valid = np.random.default_rng(height).random((height, width)) > 0.2
    raster = ArrayRaster(data.draw(pixels((height, width))), valid)
    model = BoxModel(reach=9)
    results = [run_blocks(raster, model, TileGrid((height, width), tiling, size)) for size in ((1, 1), (3, 2), (8, 8))]
    for labels, confidence in results[1:]:
        np.testing.assert_array_equal(labels, results[0][0])
        np.testing.assert_array_equal(confidence, results[0][1])
    np.testing.assert_array_equal(results[0][0] == NODATA, ~valid)
    assert (results[0][1][~valid] == 0).all()


@given(tilings(), st.integers(1, 60), st.integers(1, 60))
def test_a_constant_image_gives_a_constant_map_outer_ring_and_corners_included(
    tiling: Tiling, height: int, width: int
) -> None:
    raster = ArrayRaster(np.full((2, height, width), 77, np.uint8))
    labels, confidence = run_blocks(raster, BoxModel(reach=0), TileGrid((height, width), tiling, (2, 1)))
    assert np.unique(labels).size == 1
    assert np.unique(confidence).size == 1


@given(st.integers(1, 40), st.integers(1, 40), tilings())
def test_a_tile_sees_the_raster_reflected(height: int, width: int, tiling: Tiling) -> None:
    image = np.arange(height * width, dtype=np.int32).reshape(1, height, width)
    tile = TileGrid((height, width), tiling).tile(0, 0)
    seen = read_tile(ArrayRaster(image), tile).pixels[0]
    rows = reflect(np.arange(tile.read.y, tile.read.bottom), height)
    cols = reflect(np.arange(tile.read.x, tile.read.right), width)
    np.testing.assert_array_equal(seen, image[0][rows[:, None], cols])


@dataclass
class LeftHalf:
    """A region: everything left of a column."""

    column: int

    def mask(self, window: Window) -> Mask:
        inside = np.arange(window.x, window.right) < self.column
        return np.broadcast_to(inside, window.shape).copy()


@given(grids(longest=60), st.data())
def test_inside_a_region_labels_are_those_of_the_whole_raster_and_outside_is_nodata(
    grid: TileGrid, data: st.DataObject
) -> None:
    raster, model = ArrayRaster(data.draw(pixels(grid.shape))), BoxModel(reach=grid.tiling.halo)
    column = data.draw(st.integers(0, grid.shape[1]))
    everywhere, _ = run_blocks(raster, model, grid)
    inside, _ = run_blocks(raster, model, grid, region=LeftHalf(column))
    np.testing.assert_array_equal(inside[:, :column], everywhere[:, :column])
    assert (inside[:, column:] == NODATA).all()


def test_tiles_without_a_valid_pixel_are_not_predicted() -> None:
    valid = np.zeros((40, 40), bool)
    valid[2, 3] = True
    model = BoxModel()
    run_blocks(ArrayRaster(np.ones((2, 40, 40), np.uint8), valid), model, TileGrid((40, 40), Tiling(12, 1, 2), (2, 2)))
    assert len(model.batches) == 1


@given(grids(longest=70), st.sets(st.sampled_from(["right", "below", "corner"])), st.data())
def test_strips_alone_are_those_of_the_whole_block_and_take_no_other_tiles(
    grid: TileGrid, wanted: set[str], data: st.DataObject
) -> None:
    raster, model = ArrayRaster(data.draw(pixels(grid.shape))), BoxModel()
    for block in grid.blocks():
        whole = predict_block(raster, model, grid, block).strips
        model.batches.clear()
        strips = predict_block(raster, model, grid, block, strips=wanted).strips
        for name in wanted:
            np.testing.assert_array_equal(getattr(strips, name), getattr(whole, name))
        down = len({tile.row for tile in grid.tiles_of(block)})
        across = len({tile.col for tile in grid.tiles_of(block)})
        counts = {"right": down, "below": across, "corner": 1}
        most = sum(counts[name] for name in wanted) - ({"right", "below"} <= wanted)
        assert len(model.batches) == (most - ("corner" in wanted and len(wanted) > 1) if wanted else 0)


@pytest.mark.parametrize("batch_size", [1, 3, 5])
def test_every_batch_has_the_same_size_and_the_labels_stay(batch_size: int) -> None:
    raster = ArrayRaster(np.random.default_rng(0).integers(0, 256, (2, 50, 41), dtype=np.uint8))
    grid, model = TileGrid((50, 41), Tiling(16, 2, 4), (2, 2)), BoxModel()
    expected = run_blocks(raster, BoxModel(), grid)
    found = run_blocks(raster, model, grid, batch_size=batch_size)
    assert {shape[0] for shape in model.batches} == {batch_size}
    np.testing.assert_array_equal(found[0], expected[0])


def test_labels_are_the_values_of_the_classes_not_their_positions() -> None:
    raster = ArrayRaster(np.random.default_rng(0).integers(0, 256, (2, 30, 30), dtype=np.uint8))
    grid = TileGrid((30, 30), Tiling(16, 2, 4), (1, 1))
    positions, _ = run_blocks(raster, BoxModel(), grid)
    named = BoxModel(classes=tuple(ClassSpec(value, "") for value in (7, 40, 3)))
    labels, _ = run_blocks(raster, named, grid)
    np.testing.assert_array_equal(labels, np.array([7, 40, 3], np.uint8)[positions])


def test_finishing_twice_changes_nothing() -> None:
    raster = ArrayRaster(np.random.default_rng(1).integers(0, 256, (2, 40, 40), dtype=np.uint8))
    grid, model = TileGrid((40, 40), Tiling(16, 2, 4), (2, 2)), BoxModel()
    first, second = (predict_block(raster, model, grid, grid.block(0, col)) for col in (0, 1))
    neighbours = {"right": first.strips.right}
    once = finish_block(second, neighbours, model.spec)
    again = finish_block(Prediction(once, second.strips), neighbours, model.spec)
    for one, other in zip(vars(once).values(), vars(again).values(), strict=True):
        np.testing.assert_array_equal(one, other)


def probabilities_of(raster: ArrayRaster, model: BoxModel, grid: TileGrid) -> NDArray[np.uint16]:
    """Probabilities of all classes, uint16 (class, y, x), in memory."""
    keep = {"keep_probabilities": True}
    predictions = {(b.row, b.col): predict_block(raster, model, grid, b, **keep) for b in grid.blocks()}
    found = np.full((3, *grid.shape), 65_535, np.uint16)
    for block in grid.blocks():
        strips = {strip: getattr(predictions[at].strips, strip) for strip, at in grid.sources_of(block).items()}
        pixels = finish_block(predictions[block.row, block.col], strips, model.spec)
        if len(pixels.probabilities):
            found[(slice(None), *block.core.slices())] = by_class(pixels, model.spec)
    return found


@given(grids(longest=60), st.data())
def test_probabilities_are_those_of_the_whole_image_and_the_first_largest_is_the_label(
    grid: TileGrid, data: st.DataObject
) -> None:
    raster = ArrayRaster(data.draw(pixels(grid.shape)))
    model = BoxModel(reach=data.draw(st.integers(0, grid.tiling.halo)))
    found = probabilities_of(raster, model, grid)
    height, width = grid.shape
    halo = grid.tiling.halo
    rows, cols = reflect(np.arange(-halo, height + halo), height), reflect(np.arange(-halo, width + halo), width)
    padded = raster.pixels[:, rows[:, None], cols]
    scores = model.score(padded[None], np.ones((1, *padded.shape[1:]), bool))[0]
    np.testing.assert_array_equal(found, quantise(scores[:, halo : halo + height, halo : halo + width], "softmax"))


@given(tilings(), st.integers(1, 60), st.integers(1, 60), st.data())
def test_probabilities_do_not_depend_on_blocks_and_labels_are_made_of_them(
    tiling: Tiling, height: int, width: int, data: st.DataObject
) -> None:
    valid = np.random.default_rng(width).random((height, width)) > 0.2
    raster, model = ArrayRaster(data.draw(pixels((height, width))), valid), BoxModel(reach=9)
    layouts = [TileGrid((height, width), tiling, size) for size in ((1, 1), (2, 3), (8, 8))]
    first, *others = (probabilities_of(raster, model, grid) for grid in layouts)
    for other in others:
        np.testing.assert_array_equal(first, other)
    labels, confidence = run_blocks(raster, model, layouts[0])
    np.testing.assert_array_equal((first == 65_535).all(0), ~valid)
    np.testing.assert_array_equal(labels[valid], first.argmax(0)[valid])
    np.testing.assert_array_equal(confidence[valid], np.floor(first.max(0)[valid].astype(float) * 255 / SCALE + 0.5))
