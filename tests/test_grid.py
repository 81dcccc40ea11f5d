"""The equations of the grid."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geoseg.errors import GridError
from geoseg.grid import Axis, TileGrid, Tiling, Window
from tests.strategies import grids, tilings


@given(grids())
def test_cores_of_tiles_partition_the_raster(grid: TileGrid) -> None:
    owners = np.zeros(grid.shape, int)
    for row in range(grid.rows.tiles):
        for col in range(grid.cols.tiles):
            owners[grid.tile(row, col).core.slices()] += 1
    assert (owners == 1).all()


@given(grids())
def test_cores_of_blocks_partition_the_raster_and_are_unions_of_their_tiles_cores(grid: TileGrid) -> None:
    owners = np.zeros(grid.shape, int)
    for block in grid.blocks():
        owners[block.core.slices()] += 1
        tiles = grid.tiles_of(block)
        assert sum(tile.core.area for tile in tiles) == block.core.area
        assert all(block.core.contains(tile.core) and block.reach.contains(tile.reach) for tile in tiles)
    assert (owners == 1).all()


@given(grids())
def test_no_two_blocks_write_the_same_chunk(grid: TileGrid) -> None:
    height, width = grid.chunks
    writers: dict[tuple[int, int], int] = {}
    for block in grid.blocks():
        core = block.core
        for chunk_row in range(core.y // height, -(-core.bottom // height)):
            for chunk_col in range(core.x // width, -(-core.right // width)):
                writers[chunk_row, chunk_col] = writers.get((chunk_row, chunk_col), 0) + 1
    assert set(writers.values()) == {1}


@given(grids())
def test_every_core_is_at_least_a_ramp_long_unless_it_is_the_only_one(grid: TileGrid) -> None:
    for axis in (grid.rows, grid.cols):
        lengths = [end - start for start, end in map(axis.core, range(axis.tiles))]
        assert axis.tiles == 1 or min(lengths) >= grid.tiling.ramp


@given(grids())
def test_a_tile_reads_its_reach_and_a_halo_on_both_sides_in_the_networks_phase(grid: TileGrid) -> None:
    for axis in (grid.rows, grid.cols):
        for tile in range(axis.tiles):
            start, end = axis.read(tile)
            reach_start, reach_end = axis.reach(tile)
            assert end - start == grid.tiling.size
            assert start <= reach_start - grid.tiling.halo
            assert reach_end + grid.tiling.halo <= end
            assert (start + grid.tiling.halo) % grid.tiling.multiple == 0


@given(grids())
def test_tiles_that_do_not_fit_are_moved_inwards_and_not_beyond_what_they_need(grid: TileGrid) -> None:
    for axis in (grid.rows, grid.cols):
        overshoot = axis.read(axis.tiles - 1)[1] - axis.length - grid.tiling.halo
        if axis.length + 2 * grid.tiling.halo >= grid.tiling.size:
            assert overshoot < grid.tiling.multiple


@given(grids())
def test_each_strip_has_one_consumer_who_names_it_as_its_source(grid: TileGrid) -> None:
    for block in grid.blocks():
        for strip, place in grid.consumers_of(block).items():
            assert grid.sources_of(grid.block(*place))[strip] == (block.row, block.col)


@given(tilings(), st.integers(1, 200), st.integers(1, 200))
def test_a_fitted_tiling_never_grows_and_covers_a_small_raster_with_one_tile(
    tiling: Tiling, height: int, width: int
) -> None:
    fitted = tiling.fitted((height, width))
    assert fitted.size <= tiling.size
    if max(height, width) <= tiling.stride:
        assert Axis(height, fitted).tiles == Axis(width, fitted).tiles == 1


@given(st.integers(-9, 9), st.integers(-9, 9), st.integers(0, 9), st.integers(0, 9))
def test_windows_intersect_like_sets_of_pixels(y: int, x: int, height: int, width: int) -> None:
    window, other = Window(y, x, height, width), Window(0, 0, 5, 4)
    pixels = {(row, col) for row in range(y, y + height) for col in range(x, x + width)}
    shared = {(row, col) for row, col in pixels if 0 <= row < 5 and 0 <= col < 4}
    assert window.intersect(other).area == len(shared)
    assert other.contains(window) == (shared == pixels) or not pixels


@pytest.mark.parametrize(
    ("numbers", "sentence"),
    [
        ((0, 0, 0, 1), "must be positive"),
        ((64, 32, 8, 1), "too small"),
        ((64, 8, 40, 1), "too small"),
        ((100, 8, 16, 32), "multiples"),
    ],
)
def test_a_tiling_that_cannot_be_laid_out_is_refused_with_the_remedy(
    numbers: tuple[int, int, int, int], sentence: str
) -> None:
    with pytest.raises(GridError, match=sentence):
        Tiling(*numbers)


@settings(max_examples=10)
@given(grids())
def test_a_raster_without_pixels_and_a_block_without_tiles_are_refused(grid: TileGrid) -> None:
    with pytest.raises(GridError, match="0 px"):
        Axis(0, grid.tiling)
    with pytest.raises(GridError, match="block_tiles 0"):
        Axis(5, grid.tiling, 0)
