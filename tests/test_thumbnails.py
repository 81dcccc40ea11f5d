"""The picture of the imagery that blocks keep: the same for every layout, and never worth a run."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pytest
import shapely
from distributed import Client
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

import geoseg
from geoseg.engine import connect
from geoseg.grid import TileGrid, Tiling, Window
from geoseg.planning import Plan
from geoseg.raster import open_raster
from geoseg.report import RunRecord, read_record
from geoseg.report.framing import Frame
from geoseg.report.imagery import read_imagery, read_seen
from geoseg.report.measures import geobox_of
from geoseg.thumbnails import PictureGrid, Thumbnail
from geoseg.workflow import make_report, read_workflow
from geoseg.workflow.planning import make_plan
from tests.networks import Box, write_model
from tests.rasters import noise, write_raster
from tests.test_damaged_state import change, cut_off, empty, remove


class Numbers:
    """A raster in memory."""

    def __init__(self, pixels: NDArray[Any], mask: NDArray[np.bool_]) -> None:
        self.pixels, self.mask, self.shape = pixels, mask, mask.shape

    def read(self, window: Window) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        return self.pixels[(..., *window.slices())], self.mask[window.slices()]


def seen(raster: Numbers, grid: PictureGrid, layout: TileGrid) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sums and counts that the blocks of a layout keep, tile by tile, halos and all."""
    sums, counts = np.zeros((len(grid.bands), *grid.cells)), np.zeros(grid.cells)
    for block in layout.blocks():
        thumbnail = Thumbnail(grid, raster, block.core)
        for tile in layout.tiles_of(block):
            thumbnail.read(tile.read.intersect(Window(0, 0, *raster.shape)))
        grid.add(thumbnail.arrays(), sums, counts)
    return sums, counts


layouts = st.builds(
    lambda stride, halo, ramp, down, across: (Tiling(stride + 2 * halo + ramp, halo, ramp, 1), (down, across)),
    st.integers(3, 40), st.integers(0, 5), st.integers(0, 3), st.integers(1, 3), st.integers(1, 3),
)  # fmt: skip


@given(
    st.tuples(st.integers(1, 90), st.integers(1, 90)),
    st.integers(0, 5),
    layouts,
    st.sampled_from(["uint8", "int16", "uint16", "float32"]),
    st.integers(0, 99),
)
def test_the_picture_is_the_mean_of_its_samples_for_every_layout(
    shape: tuple[int, int], level: int, layout: tuple[Tiling, tuple[int, int]], dtype: str, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 100, (4, *shape)).astype(dtype)
    mask = rng.random(shape) < 0.7
    if dtype == "float32":
        pixels[:, ~mask] = np.nan
    grid = PictureGrid(shape, (2, 0, 1), 2**level)
    sums, counts = seen(Numbers(pixels, mask), grid, TileGrid(shape, *layout))
    step = max(1, grid.factor // 2)
    rows, cols = (sorted({min(begin + step // 2, length - 1) for begin in range(0, length, step)}) for length in shape)
    for row in range(grid.cells[0]):
        for col in range(grid.cells[1]):
            here = [(y, x) for y in rows for x in cols if (y // grid.factor, x // grid.factor) == (row, col)]
            valid = [place for place in here if mask[place]]
            assert here
            assert counts[row, col] == len(valid)
            for number, band in enumerate(grid.bands):
                assert sums[number, row, col] == sum(float(pixels[band][place]) for place in valid)


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with connect(None, 1) as client:
        yield client


@pytest.fixture(scope="module")
def wanted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A strip so long that its picture is thinned; some of it has no data."""
    folder = tmp_path_factory.mktemp("thumbnails")
    pixels = np.maximum(noise(2, 70, 4_500), 1)
    pixels[:, 20:30, 100:300] = 0
    scene = write_raster(folder / "scene.tif", pixels, nodata=0)
    model = write_model(folder / "model", Box(3), name="box", halo=3, tile_size=64)
    return {"model": str(model), "input": str(scene), "ramp": 8, "report": False, "features": []}


@pytest.fixture(scope="module")
def whole(wanted: dict[str, Any], client: Client, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("whole") / "out"
    geoseg.run(wanted, output=str(output), client=client, block_tiles=[2, 9])
    return output


def frame_of(record: RunRecord, factor: int) -> Frame:
    return Frame(geobox_of(record), factor)


def test_a_run_keeps_a_picture_that_is_that_of_the_imagery(whole: Path, wanted: dict[str, Any]) -> None:
    record, raster = read_record(whole), open_raster(wanted["input"])
    fine, coarse = (read_seen(record, frame_of(record, factor)) for factor in (4, 8))
    assert fine is not None
    assert coarse is not None
    expected = read_imagery(raster, (0,), frame_of(record, 4))  # GDAL takes the same samples
    assert fine.bands == ("b1",)
    np.testing.assert_array_equal(fine.pixels, expected.pixels)
    samples, mask = raster.read(Window(0, 0, 64, 4_496))
    samples = np.where(mask, samples[0].astype(float), np.nan)[1::2, 1::2].reshape(16 // 2, 4, 562, 4)
    np.testing.assert_allclose(coarse.pixels[0, :8, :562], np.nanmean(samples, axis=(1, 3)), rtol=1e-6)
    assert read_seen(record, frame_of(record, 2)) is None, "a finer picture than was kept"


def test_pictures_of_two_layouts_are_one_bit_for_bit(
    whole: Path, wanted: dict[str, Any], client: Client, tmp_path: Path
) -> None:
    geoseg.run(wanted, output=str(tmp_path), client=client, block_tiles=[1, 5], tile_size=96)
    one, other = (read_seen(record, frame_of(record, 4)) for record in map(read_record, (whole, tmp_path)))
    assert one is not None
    assert other is not None
    np.testing.assert_array_equal(one.pixels, other.pixels)


def test_a_report_of_a_run_needs_its_imagery_no_more(whole: Path, wanted: dict[str, Any], tmp_path: Path) -> None:
    shutil.copytree(whole, tmp_path / "out")
    scene = Path(wanted["input"])
    scene.rename(scene.with_suffix(".away"))
    try:
        assert 'id="imagery"' in make_report(tmp_path / "out").read_text()
    finally:
        scene.with_suffix(".away").rename(scene)


@pytest.mark.parametrize("damage", [remove, cut_off, empty, change])
def test_a_damaged_thumbnail_repeats_no_block_and_the_imagery_is_read_instead(
    damage: Callable[[Path], None], whole: Path, wanted: dict[str, Any], client: Client, tmp_path: Path
) -> None:
    shutil.copytree(whole, tmp_path / "out")
    record = read_record(tmp_path / "out")
    before = make_report(record.path).read_text()
    damage(record.folder.thumbnail(0, 3))
    assert read_seen(record, frame_of(record, 4)) is None
    again = geoseg.run(wanted, output=str(record.path), client=client, block_tiles=[2, 9], outputs=["confidence"])
    assert not {"predict", "finish"} & set(again.outcome.done)
    page = make_report(record.path).read_text()
    assert 'id="imagery"' in page
    assert page != before


def test_thumbnails_of_another_picture_or_run_are_not_shown(
    whole: Path, wanted: dict[str, Any], client: Client, tmp_path: Path
) -> None:
    shutil.copytree(whole, tmp_path / "out")
    record = read_record(tmp_path / "out")
    other = dict(np.load(record.folder.thumbnail(0, 1)))
    np.savez(record.folder.thumbnail(0, 1), **(other | {"grid": other["grid"] + 1}))
    assert read_seen(record, frame_of(record, 4)) is None
    geoseg.run(wanted, output=str(record.path), client=client, overwrite=True, block_tiles=[2, 20])
    kept = sorted(path.name for path in record.folder.thumbnails.iterdir())
    assert kept == [f"0-{col}.npz" for col in range(len(kept))]
    assert len(kept) < 9
    assert read_seen(read_record(record.path), frame_of(record, 4)) is not None


def test_a_plan_counts_the_picture(whole: Path, wanted: dict[str, Any]) -> None:
    plan: Plan = make_plan(read_workflow(wanted, output=str(whole), block_tiles=[2, 9]))
    assert plan.picture is not None
    files = list(read_record(whole).folder.thumbnails.iterdir())
    blocks = plan.grid.rows.blocks, plan.grid.cols.blocks
    size = sum(path.stat().st_size for path in files)
    assert len(files) == plan.block_count
    assert size <= plan.picture.kept_bytes(blocks, plan.raster.dtype) < 2 * size
    assert plan.worker_bytes["a picture of a block"] > 0


def test_a_run_of_a_region_keeps_no_picture_and_shows_the_imagery(
    wanted: dict[str, Any], client: Client, tmp_path: Path
) -> None:
    area = gpd.GeoDataFrame(geometry=[shapely.box(441_000, 4_199_400, 443_000, 4_199_900)], crs="EPSG:32618")
    area.to_file(tmp_path / "area.gpkg")
    geoseg.run(wanted, output=str(tmp_path / "out"), client=client, region=str(tmp_path / "area.gpkg"))
    assert not (tmp_path / "out" / "state" / "thumbnails").exists()
    assert 'id="imagery"' in make_report(tmp_path / "out").read_text()
