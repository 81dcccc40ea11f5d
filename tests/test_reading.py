"""Bytes of imagery that a plan expects to be read, beside those of the parts of a file that windows touch."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
import rasterio.shutil

import geoseg
from geoseg.cli import main
from geoseg.grid import TileGrid, Tiling, Window
from geoseg.planning.reading import bytes_read
from geoseg.raster import open_raster
from tests.networks import Box, write_model
from tests.rasters import write_raster

BLOCK = 64
MANY = 1000
"""Workers, each of which does so few blocks that it reads nothing twice."""


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A COG with overviews, of noise in one half and of constants in the other."""
    folder = tmp_path_factory.mktemp("scene")
    pixels = np.random.default_rng(0).integers(1, 200, (2, 500, 400), np.uint8)
    pixels[:, 250:] = 7
    plain = write_raster(folder / "plain.tif", pixels)
    rasterio.shutil.copy(plain, folder / "scene.tif", driver="COG", blocksize=BLOCK, compress="DEFLATE")
    return folder / "scene.tif"


def touched(path: Path, grid: TileGrid, places: set[tuple[int, int]] | None = None) -> int:
    """Bytes of the parts of a file that the tiles of each block touch, each once a block."""
    total = 0
    with rasterio.open(path) as file:
        for block in grid.blocks():
            if places is not None and (block.row, block.col) not in places:
                continue
            parts = set()
            for tile in grid.tiles_of(block):
                window = tile.read.intersect(Window(0, 0, *grid.shape))
                rows = range(window.y // BLOCK, (window.bottom - 1) // BLOCK + 1)
                cols = range(window.x // BLOCK, (window.right - 1) // BLOCK + 1)
                parts |= {(row, col) for row in rows for col in cols}
            total += sum(int(file.get_tag_item(f"BLOCK_SIZE_{col}_{row}", "TIFF", bidx=1)) for row, col in parts)
    return total


@pytest.mark.parametrize("block_tiles", [(1, 1), (2, 2)])
def test_what_a_run_of_all_blocks_reads_is_what_the_file_says_of_its_parts(
    scene: Path, block_tiles: tuple[int, int]
) -> None:
    grid = TileGrid((500, 400), Tiling(96, 8, 16, 8), block_tiles)
    assert bytes_read(open_raster(scene), grid, None, MANY) == pytest.approx(touched(scene, grid), rel=0.1)


def test_blocks_of_a_region_read_their_part(scene: Path) -> None:
    grid = TileGrid((500, 400), Tiling(96, 8, 16, 8), (1, 1))
    every = {(block.row, block.col) for block in grid.blocks()}
    raster = open_raster(scene)
    assert bytes_read(raster, grid, every, MANY) == bytes_read(raster, grid, None, MANY)
    left = {place for place in every if place[1] < 2}
    assert bytes_read(raster, grid, left, MANY) == pytest.approx(touched(scene, grid, left), rel=0.15)
    assert bytes_read(raster, grid, set(), MANY) == 0


def test_a_worker_whose_cache_holds_the_scene_reads_it_once(scene: Path) -> None:
    raster, whole = open_raster(scene), TileGrid((500, 400), Tiling(512, 0, 0, 8), (1, 1))
    grid = TileGrid((500, 400), Tiling(96, 8, 16, 8), (1, 1))
    once = bytes_read(raster, whole, None, 1)
    assert once == pytest.approx(touched(scene, whole), rel=0.1)
    assert [bytes_read(raster, grid, None, workers) for workers in (1, 2)] == pytest.approx([once, 2 * once], rel=0.01)


def test_of_scenes_over_one_another_a_pixel_is_read_once(scene: Path) -> None:
    grid = TileGrid((500, 400), Tiling(96, 8, 16, 8), (1, 1))
    (scene.parent / "copy.tif").write_bytes(scene.read_bytes())
    both = open_raster([scene, scene.parent / "copy.tif"])
    assert bytes_read(both, grid, None, MANY) == bytes_read(open_raster(scene), grid, None, MANY)


def test_a_plan_states_what_it_reads_writes_and_costs(
    scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = write_model(tmp_path / "model", Box(1), name="box", halo=1)
    monkeypatch.setattr("geoseg.planning.Plan.estimated_seconds", 2.0)
    arguments = ["plan", str(scene), "--model", str(model), "--output", str(tmp_path / "out"), "--ramp", "8"]
    arguments += ["--workers", "1", "--price-per-core-hour", "3600"]
    assert main([*arguments, "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["cost"] == pytest.approx(plan["estimate"]["core_hours"] * 3600)
    assert plan["cost"] == pytest.approx(plan["estimate"]["seconds"])
    assert plan["written_bytes"] == plan["state_bytes"] + plan["result_bytes"]
    assert plan["read_bytes"] == geoseg.plan(scene, model=str(model), ramp=8, workers=1).read_bytes > 0
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    assert f"about {plan['cost']:,.2f} for core hours" in printed
    assert "MiB to read" in printed
