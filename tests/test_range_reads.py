"""What is read over a network: headers once, then the blocks of the window and nothing else."""

from __future__ import annotations

import pickle
import subprocess
import sys
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from rasterio.errors import NotGeoreferencedWarning

import geoseg
from geoseg.errors import RasterReadError
from geoseg.grid import Window
from geoseg.imagery import open_imagery
from geoseg.raster import open_raster
from geoseg.raster.repeats import take_repeated
from tests.networks import Box, write_model
from tests.rasters import write_raster
from tests.servers import Traffic, serving
from tests.stac import write_json, write_scene

SIDE, BLOCK = 1536, 256
HEADER = 64 * 1024


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two COGs of noise, 600 kB a row of blocks, one of them also with a mask beside it."""
    folder = tmp_path_factory.mktemp("served")
    noise = np.random.default_rng(0).integers(1, 60_000, (2, SIDE, SIDE)).astype(np.uint16)
    item = write_scene(folder, "s", {"B04": noise[0], "B08": noise[1]})
    for asset in item["assets"].values():
        path = Path(asset["href"])
        rasterio.shutil.copy(path, folder / "cog.tif", driver="COG", blocksize=BLOCK, compress="DEFLATE")
        (folder / "cog.tif").rename(path)
        asset["href"] = f"./{path.name}"
    write_json(folder / "s.json", item)
    mask = np.ones((SIDE, SIDE), np.bool_)
    mask[:100] = False
    write_raster(folder / "masked.tif", noise[:1], mask=mask, sidecar=True, tiled=True, blockxsize=256, blockysize=256)
    return folder


@pytest.fixture
def server(folder: Path) -> Iterator[Traffic]:
    """A server of its own for each test, because GDAL remembers what it has read from one."""
    with serving(folder) as traffic:
        yield traffic
    take_repeated()


def blocks_of(path: Path, window: Window) -> int:
    """Bytes of the blocks of a COG that a window touches, as its own directory has them."""
    with rasterio.open(path) as source:
        rows = range(window.y // BLOCK, (window.bottom - 1) // BLOCK + 1)
        columns = range(window.x // BLOCK, (window.right - 1) // BLOCK + 1)
        tags = source.tags(1, ns="TIFF")  # empty; the sizes stand in a namespace of each block
        assert not tags
        sizes = [source.get_tag_item(f"BLOCK_SIZE_{col}_{row}", "TIFF", bidx=1) for row in rows for col in columns]
        return sum(map(int, sizes))


WINDOWS = [Window(0, 0, 256, 256), Window(300, 700, 400, 500), Window(1100, 1000, 436, 536)]


@pytest.mark.parametrize("window", WINDOWS)
def test_a_window_brings_its_own_blocks_and_the_headers(window: Window, folder: Path, server: Traffic) -> None:
    raster = open_imagery(f"{server.url}/s.json", bands=["red", "nir"])
    assert [path for _, path, _ in server.requests] == ["/s.json"]
    server.clear()
    pixels, _ = raster.read(window)
    files = [folder / name for name in ("s_B04.tif", "s_B08.tif")]
    needed = sum(blocks_of(path, window) for path in files)
    assert needed <= server.sent <= needed + 2 * HEADER
    for path, band in zip(files, pixels, strict=True):
        with rasterio.open(path) as source:
            np.testing.assert_array_equal(band, source.read(1)[window.slices()])


def test_a_second_window_asks_for_no_header_again(folder: Path, server: Traffic) -> None:
    raster = open_imagery(f"{server.url}/s.json", bands=["red"])
    raster.read(WINDOWS[0])
    server.clear()
    raster.read(WINDOWS[2])
    assert server.sent <= blocks_of(folder / "s_B04.tif", WINDOWS[2]) + 16 * 1024  # GDAL asks for whole 16 KiB
    assert {method for method, _, _ in server.requests} == {"GET"}


def test_blocks_that_follow_one_another_are_one_request(server: Traffic) -> None:
    raster = open_imagery(f"{server.url}/s.json", bands=["red"])
    raster.read(Window(0, 0, 10, 10))
    server.clear()
    raster.read(Window(600, 0, 300, SIDE))
    assert len(server.requests) == 1


def test_nothing_is_looked_for_beside_the_files_that_an_item_names(server: Traffic) -> None:
    open_imagery(f"{server.url}/s.json", bands=["red", "nir"]).read(WINDOWS[0])
    assert {path for _, path, _ in server.requests} == {"/s.json", "/s_B04.tif", "/s_B08.tif"}


def test_the_mask_beside_a_file_that_a_person_names_is_found(folder: Path, server: Traffic) -> None:
    window = Window(50, 0, 100, 300)
    found = open_raster(f"{server.url}/masked.tif").read(window)
    expected = open_raster(folder / "masked.tif").read(window)
    np.testing.assert_array_equal(found[1], expected[1])
    np.testing.assert_array_equal(found[0], expected[0])
    assert not found[1][:50].any()
    assert "/" not in {path for _, path, _ in server.requests}  # no listing of the folder


def test_beside_a_file_that_a_person_names_few_things_are_looked_for(folder: Path, server: Traffic) -> None:
    raster = open_raster(f"{server.url}/s_B04.tif")
    raster.read(WINDOWS[0])
    assert raster.fingerprint()[0]["size"] == (folder / "s_B04.tif").stat().st_size
    asked = {path.removeprefix("/s_B04.tif").lower() for _, path, _ in server.requests}
    assert asked <= {"", ".msk", ".aux.xml", ".ovr"}  # the last one where it has no overviews of its own
    server.clear()
    code = "import pickle, sys; raster, window = pickle.load(sys.stdin.buffer); print(raster.read(window)[0].sum())"
    given = pickle.dumps((raster, WINDOWS[1]))
    done = subprocess.run([sys.executable, "-c", code], input=given, capture_output=True, check=True)
    assert {path for _, path, _ in server.requests} == {"/s_B04.tif"}  # a worker knows that there is no mask
    with rasterio.open(folder / "s_B04.tif") as source:
        assert int(done.stdout) == source.read(1)[WINDOWS[1].slices()].sum(dtype=np.int64)


def test_nothing_is_looked_for_beside_an_address_with_a_signature(server: Traffic) -> None:
    open_raster(f"{server.url}/masked.tif?sig=abc").read(WINDOWS[0])
    assert {path for _, path, _ in server.requests} == {"/masked.tif?sig=abc"}


def test_a_file_in_an_archive_on_a_server_is_read(folder: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name in ("masked.tif", "masked.tif.msk"):
            archive.write(folder / name, name)
    expected = open_raster(folder / "masked.tif").read(WINDOWS[0])
    with serving(tmp_path) as traffic:
        for address in (f"zip+{traffic.url}/a.zip!masked.tif", f"/vsizip//vsicurl/{traffic.url}/a.zip/masked.tif"):
            found = open_raster(address).read(WINDOWS[0])
            np.testing.assert_array_equal(found[0], expected[0])
            np.testing.assert_array_equal(found[1], expected[1])


def test_metadata_and_a_place_beside_a_file_on_a_server_are_found(tmp_path: Path) -> None:
    pixels = np.arange(64, dtype=np.uint8).reshape(1, 8, 8)
    for name in ("nodata", "placed"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with rasterio.open(tmp_path / f"{name}.tif", "w", "GTiff", 8, 8, 1, dtype="uint8") as file:
                file.write(pixels)
    (tmp_path / "nodata.tif.aux.xml").write_text(
        "<PAMDataset><PAMRasterBand band='1'><NoDataValue>7</NoDataValue></PAMRasterBand></PAMDataset>"
    )
    (tmp_path / "placed.tfw").write_text("10\n0\n0\n-10\n500005\n4999995\n")
    with serving(tmp_path) as traffic:
        found = open_raster(f"{traffic.url}/nodata.tif", require_crs=False)
        assert not found.read(Window(0, 0, 8, 8))[1][0, 7]
        placed = open_raster(f"{traffic.url}/placed.tif", require_crs=False)
        assert tuple(placed.transform)[:6] == (10, 0, 500_000, 0, -10, 5_000_000)


def test_a_busy_server_is_asked_again(server: Traffic, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GDAL_HTTP_RETRY_DELAY", "0.05")
    raster = open_imagery(f"{server.url}/s.json", bands=["red"])
    server.fail(3)
    assert raster.read(WINDOWS[0])[1].all()


def test_a_file_that_could_not_be_reached_is_tried_again_in_the_same_process(
    server: Traffic, monkeypatch: pytest.MonkeyPatch
) -> None:
    """GDAL remembers that a file was not there: every retry of a block would fail at once, asking nobody."""
    raster = open_imagery(f"{server.url}/s.json", bands=["red"])
    with rasterio.Env(GDAL_HTTP_MAX_RETRY=0):
        monkeypatch.setattr("geoseg.raster.handles.WAITS", (0.0,))
        server.fail(20)
        with pytest.raises(RasterReadError, match="run the same command again"):
            raster.read(WINDOWS[0])
        server.fail(0)
        assert raster.read(WINDOWS[0])[1].all()


def test_a_remote_file_is_identified_by_its_server(folder: Path, server: Traffic) -> None:
    found = open_raster(f"{server.url}/masked.tif").fingerprint()[0]
    assert found["path"] == f"{server.url}/masked.tif"
    assert found["size"] == (folder / "masked.tif").stat().st_size


@pytest.mark.slow
def test_a_run_over_the_network_is_the_run_of_the_files(folder: Path, server: Traffic, tmp_path: Path) -> None:
    model = str(write_model(tmp_path / "model", Box(1), name="box", halo=1, tile_size=512))
    labels = []
    for name, address in (("near", str(folder / "s.json")), ("far", f"{server.url}/s.json")):
        wanted = {"model": model, "input": address, "bands": ["red", "nir"], "output": str(tmp_path / name)}
        result = geoseg.run(wanted, workers=1, region="440000,4195000,446000,4200000,EPSG:32618", features=[])
        with rasterio.open(result.labels_path) as source:
            labels.append(source.read(1))
    np.testing.assert_array_equal(*labels)
    assert server.paths == {"/s.json", "/s_B04.tif", "/s_B08.tif"}
