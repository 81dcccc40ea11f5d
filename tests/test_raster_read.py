"""Pixels are read where they lie, at full resolution, from any thread, and the same for every window."""

from __future__ import annotations

import pickle
import warnings
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from pyproj import Transformer
from rasterio.enums import Resampling
from rasterio.errors import NotGeoreferencedWarning
from rasterio.warp import reproject

from geoseg.errors import GeosegError, RasterReadError, WindowError
from geoseg.grid import Window
from geoseg.raster import Raster, ground_resolution, open_raster
from tests.rasters import TEN_METRES, noise, write_raster


def whole(raster: Raster) -> Window:
    return Window(0, 0, *raster.shape)


def windows_within(height: int, width: int) -> st.SearchStrategy[Window]:
    """Draw a window of a raster."""
    return st.tuples(
        st.integers(0, height - 1), st.integers(0, width - 1), st.integers(1, height), st.integers(1, width)
    ).map(lambda t: Window(t[0], t[1], min(t[2], height - t[0]), min(t[3], width - t[1])))


def shifted(columns: float, rows: float) -> Affine:
    return TEN_METRES @ Affine.translation(columns, rows)


# One file


@pytest.mark.parametrize(
    "transform",
    [
        TEN_METRES,
        Affine(10, 0, 440_000, 0, 10, 4_000_000),
        TEN_METRES @ Affine.rotation(31),
        Affine(-10, 0, 500_000, 0, -7, 4_200_000),
        Affine(10, 3, 440_000, 1, -8, 4_200_000),
    ],
    ids=["north-up", "south-up", "rotated", "mirrored", "sheared"],
)
def test_a_file_keeps_its_own_grid_and_its_pixels(tmp_path: Path, transform: Affine) -> None:
    pixels = noise(3, 21, 34, "uint16")
    raster = open_raster(write_raster(tmp_path / "a.tif", pixels, transform=transform))
    read, mask = raster.read(whole(raster))
    assert raster.transform == transform
    assert raster.shape == (21, 34)
    assert mask.all()
    assert np.array_equal(read, pixels)


@given(window=windows_within(40, 50))
def test_every_window_is_a_part_of_the_whole(tmp_path_factory: pytest.TempPathFactory, window: Window) -> None:
    path = tmp_path_factory.getbasetemp() / "windows.tif"
    pixels = noise(2, 40, 50)
    if not path.exists():
        write_raster(path, pixels, tiled=True, blockxsize=16, blockysize=16)
    read, mask = open_raster(path).read(window)
    assert read.flags.writeable
    assert np.array_equal(read, pixels[:, *window.slices()])
    assert mask.shape == window.shape


@pytest.mark.parametrize(
    "window", [Window(-1, 0, 5, 5), Window(0, 0, 11, 5), Window(5, 18, 5, 5), Window(0, 0, 0, 5), Window(10, 0, 1, 1)]
)
def test_a_window_that_leaves_the_raster_is_refused(tmp_path: Path, window: Window) -> None:
    raster = open_raster(write_raster(tmp_path / "a.tif", noise(1, 10, 20)))
    with pytest.raises(WindowError, match="10 x 20 px"):
        raster.read(window)


@pytest.mark.parametrize("resolution", [None, 20.0, 15.0])
def test_overviews_are_never_read(tmp_path: Path, resolution: float | None) -> None:
    pixels = noise(1, 512, 512)
    clean = write_raster(tmp_path / "clean.tif", pixels)
    path = write_raster(tmp_path / "a.tif", pixels, tiled=True, blockxsize=128, blockysize=128, overviews=[2, 4])
    for level in (0, 1):
        with rasterio.open(path, "r+", overview_level=level) as poisoned:
            poisoned.write(np.full(poisoned.shape, 255, np.uint8), 1)
    raster, expected = open_raster(path, resolution=resolution), open_raster(clean, resolution=resolution)
    assert np.array_equal(raster.read(whole(raster))[0], expected.read(whole(expected))[0])
    with rasterio.open(path) as dataset:
        assert (dataset.read(out_shape=(1, 256, 256)) == 255).all()  # what would have been read


def read_all(raster: Raster) -> bytes:
    return raster.read(whole(raster))[0].tobytes()


def test_a_raster_travels_to_other_threads_and_processes(tmp_path: Path) -> None:
    raster = open_raster(write_raster(tmp_path / "a.tif", noise(3, 64, 64)), resolution=20)
    expected = read_all(raster)
    assert len(pickle.dumps(raster)) < 4000
    assert read_all(pickle.loads(pickle.dumps(raster))) == expected
    with ThreadPoolExecutor(8) as threads:
        assert set(threads.map(read_all, [raster] * 64)) == {expected}
    with get_context("spawn").Pool(2) as processes:
        assert set(processes.map(read_all, [raster] * 4)) == {expected}


def test_many_files_share_few_handles(tmp_path: Path) -> None:
    tiles = [noise(1, 4, 4, seed=number) for number in range(80)]
    for number, pixels in enumerate(tiles):
        write_raster(tmp_path / f"{number:03}.tif", pixels, transform=shifted(4 * number, 0))
    raster = open_raster(str(tmp_path / "*.tif"))
    expected = np.concatenate(tiles, axis=2)
    for _ in range(2):
        assert np.array_equal(raster.read(whole(raster))[0], expected)
    descriptors = [link.resolve() for link in Path("/proc/self/fd").iterdir() if link.exists()]
    assert sum(tmp_path in path.parents for path in descriptors) <= 32


def test_a_file_that_changed_is_read_anew(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif", noise(1, 8, 8, seed=1))
    raster = open_raster(path)
    raster.read(whole(raster))
    write_raster(tmp_path / "b.tif", noise(1, 8, 8, seed=2)).replace(path)
    assert np.array_equal(raster.read(whole(raster))[0], noise(1, 8, 8, seed=2))


def test_a_truncated_file_fails_with_its_name_and_the_window(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif", noise(1, 256, 256), tiled=True, blockxsize=64, blockysize=64)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    raster = open_raster(path)
    raster.read(Window(0, 0, 64, 64))
    with pytest.raises(RasterReadError, match=r"a\.tif' cannot be read at Window\(y=192.*copy or download") as caught:
        raster.read(Window(192, 192, 64, 64))
    assert "\n" not in str(caught.value)


def test_a_truncated_jpeg_does_not_turn_grey(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.jpg", noise(3, 256, 256), driver="JPEG", worldfile="YES")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    raster = open_raster(path)
    with pytest.raises(RasterReadError, match=r"a\.jpg"):
        raster.read(whole(raster))


def test_a_file_that_is_gone_fails_with_its_name(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif", noise(1, 8, 8))
    raster = open_raster(path)
    path.unlink()
    with pytest.raises(RasterReadError, match=r"a\.tif"):
        raster.read(whole(raster))


# Several files


@given(
    offsets=st.lists(st.tuples(st.integers(-30, 30), st.integers(-30, 30)), min_size=1, max_size=4),
    data=st.data(),
)
def test_shifted_files_lie_where_they_belong_and_the_first_valid_pixel_wins(
    tmp_path_factory: pytest.TempPathFactory, offsets: list[tuple[int, int]], data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("mosaic")
    offsets = [(0, 0), *offsets]
    top, left = min(y for y, _ in offsets), min(x for _, x in offsets)
    height, width = max(y for y, _ in offsets) + 20 - top, max(x for _, x in offsets) + 25 - left
    expected, paths = np.zeros((2, height, width), np.uint8), []
    covered = np.zeros((height, width), np.bool_)
    for number, (y, x) in enumerate(offsets):
        pixels = noise(2, 20, 25, seed=number)
        pixels[0, 4:9, 6:13] = 0
        paths.append(write_raster(folder / f"{number}.tif", pixels, transform=shifted(x, y), nodata=0))
        place = slice(y - top, y - top + 20), slice(x - left, x - left + 25)
        new = (pixels != 0).all(axis=0) & ~covered[place]
        expected[:, *place] = np.where(new, pixels, expected[:, *place])
        covered[place] |= new
    raster = open_raster(paths)
    assert raster.shape == (height, width)
    assert raster.transform == shifted(left, top)
    window = data.draw(windows_within(height, width))
    pixels, mask = raster.read(window)
    assert np.array_equal(mask, covered[window.slices()])
    assert np.array_equal(pixels, expected[:, *window.slices()])


def test_bands_of_two_resolutions_and_origins_come_onto_one_grid(tmp_path: Path) -> None:
    fine, coarse = noise(1, 40, 40, "uint16"), noise(1, 20, 21, "uint16")
    raster = open_raster(
        {
            "B02": write_raster(tmp_path / "fine.tif", fine),
            "B11": write_raster(tmp_path / "coarse.tif", coarse, transform=shifted(-1, 0) @ Affine.scale(2)),
        }
    )
    pixels, mask = raster.read(whole(raster))
    assert raster.bands == ("B02", "B11")
    assert raster.transform == shifted(-1, 0)
    assert raster.shape == (40, 42)
    assert not mask[:, 0].any()
    assert mask[:, 1:41].all()
    assert not mask[:, 41].any()
    assert np.array_equal(pixels[0, :, 1:41], fine[0])
    # column 2 of the raster lies a quarter of a coarse pixel right of the centre of coarse column 0
    middle = 0.75 * (0.75 * coarse[0, 1, 1] + 0.25 * coarse[0, 1, 2]) + 0.25 * (
        0.75 * coarse[0, 2, 1] + 0.25 * coarse[0, 2, 2]
    )
    assert pixels[1, 3, 3] == round(float(middle))


def test_files_with_one_band_each_are_put_together_by_their_names(tmp_path: Path) -> None:
    for number, name in enumerate(["T18_B02", "T18_B8A", "T18_B08"]):
        write_raster(tmp_path / f"{name}.tif", np.full((1, 3, 3), number, np.uint8))
    raster = open_raster(tmp_path, bands=["nir", "B02"])
    assert raster.read(Window(0, 0, 1, 1))[0].ravel().tolist() == [2, 0]


# Resampling


@given(factor=st.integers(2, 9), seed=st.integers(0, 99))
def test_coarser_pixels_are_the_average_of_the_valid_ones(
    tmp_path_factory: pytest.TempPathFactory, factor: int, seed: int
) -> None:
    pixels = noise(1, 4 * factor, 3 * factor, "int16", seed)
    pixels[np.random.default_rng(seed).random(pixels.shape) < 0.4] = -1
    path = write_raster(tmp_path_factory.mktemp("coarse") / "a.tif", pixels, nodata=-1)
    raster = open_raster(path, resolution=10 * factor)
    read, mask = raster.read(whole(raster))
    cells = pixels[0].reshape(4, factor, 3, factor).swapaxes(1, 2).reshape(4, 3, -1)
    valid = cells != -1
    assert raster.transform == TEN_METRES @ Affine.scale(factor)
    assert np.array_equal(mask, valid.sum(axis=-1) >= factor**2 / 2)
    mean = np.where(valid, cells, 0).sum(axis=-1) / np.maximum(valid.sum(axis=-1), 1)
    assert np.abs(np.where(mask, read[0] - mean, 0)).max() <= 0.5001
    assert not read[0][~mask].any()


@pytest.mark.parametrize("resolution", [3.3, 5.0, 8.0])
def test_finer_pixels_are_gdals_bilinear_ones(tmp_path: Path, resolution: float) -> None:
    pixels = noise(1, 30, 40, "float32")
    raster = open_raster(write_raster(tmp_path / "a.tif", pixels), resolution=resolution)
    expected = np.zeros((1, *raster.shape), np.float32)
    reproject(
        pixels, expected, src_transform=TEN_METRES, src_crs="EPSG:32618", dst_transform=raster.transform,
        dst_crs="EPSG:32618", resampling=Resampling.bilinear,
    )  # fmt: skip
    read, mask = raster.read(whole(raster))
    assert mask.all()
    inner = slice(None), slice(2, -2), slice(2, -2)
    np.testing.assert_allclose(read[inner], expected[inner], atol=1e-3)


@pytest.mark.parametrize(
    ("crs", "transform"),
    [
        ("EPSG:32618", TEN_METRES @ Affine.translation(30, 40) @ Affine.rotation(20)),
        ("EPSG:3857", Affine(13.0, 0, -8_424_900, 0, -13.0, 4_571_700)),
        ("EPSG:4326", Affine(1e-4, 0, -75.682, 0, -9e-5, 37.945)),
        ("EPSG:32617", Affine(10.0, 0, 967_400, 0, -10.0, 4_213_000)),
    ],
    ids=["rotated", "mercator", "geographic", "next-zone"],
)
def test_other_grids_see_the_pixels_where_they_lie(tmp_path: Path, crs: str, transform: Affine) -> None:
    smooth = np.add.outer(np.arange(200.0), 3 * np.arange(220.0)).astype(np.float32)[np.newaxis]
    path = write_raster(tmp_path / "a.tif", smooth)
    geobox = GeoBox((90, 100), transform, crs)
    pixels, mask = open_raster(path, geobox=geobox).read(Window(0, 0, 90, 100))
    rows, columns = np.mgrid[:90, :100] + 0.5
    a, b, c, d, e, f = tuple(transform)[:6]
    to_utm = Transformer.from_crs(crs, "EPSG:32618", always_xy=True)
    x, y = to_utm.transform(a * columns + b * rows + c, d * columns + e * rows + f)
    right, down = (x - TEN_METRES.c) / 10, (TEN_METRES.f - y) / 10
    inside = (right > 1) & (right < 219) & (down > 1) & (down < 199)
    assert inside.mean() > 0.5
    to_edge = np.min([np.abs(right), np.abs(220 - right), np.abs(down), np.abs(200 - down)], axis=0)
    expected = (right >= 0) & (right < 220) & (down >= 0) & (down < 200)
    assert np.array_equal(mask[to_edge > 1e-3], expected[to_edge > 1e-3])
    # One pixel down adds 1 and one to the right adds 3: placed within a thousandth of a pixel.
    assert np.abs(pixels[0] - ((down - 0.5) + 3 * (right - 0.5)))[inside].max() < 2e-3


GRIDS = {
    "finer": TEN_METRES @ Affine.scale(0.37),
    "coarser": TEN_METRES @ Affine.scale(2.6),
    "shifted": shifted(0.4, 0.7),
    "rotated": TEN_METRES @ Affine.rotation(25),
    "rotated-coarser": TEN_METRES @ Affine.rotation(25) @ Affine.scale(3.3),
}


@given(name=st.sampled_from([*GRIDS, "mercator"]), data=st.data(), dtype=st.sampled_from(["uint8", "float32", "int32"]))
def test_a_resampled_pixel_is_the_same_in_every_window(
    tmp_path_factory: pytest.TempPathFactory, name: str, data: st.DataObject, dtype: str
) -> None:
    path = tmp_path_factory.getbasetemp() / f"layout_{dtype}.tif"
    if not path.exists():
        pixels = noise(2, 90, 120, dtype)
        pixels[0, 10:25, 5:30] = 0
        write_raster(path, pixels, nodata=0)
    geobox = (
        GeoBox((80, 100), Affine(11.0, 0, -8_424_980, 0, -11.0, 4_571_740), "EPSG:3857")
        if name == "mercator"
        else GeoBox((80, 100), GRIDS[name], "EPSG:32618")
    )
    raster = open_raster(path, geobox=geobox)
    pixels, mask = raster.read(whole(raster))
    assert 0.05 < mask.mean() < 0.98
    window = data.draw(windows_within(80, 100))
    part, part_mask = raster.read(window)
    assert np.array_equal(part_mask, mask[window.slices()])
    assert part.tobytes() == np.ascontiguousarray(pixels[:, *window.slices()]).tobytes()


@pytest.mark.slow
def test_a_window_too_large_for_memory_is_read_in_parts_with_the_same_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_raster(tmp_path / "a.tif", noise(2, 300, 200))
    for geobox in (
        GeoBox((60, 40), TEN_METRES @ Affine.scale(5), "EPSG:32618"),
        GeoBox((60, 40), TEN_METRES @ Affine.rotation(10) @ Affine.scale(5), "EPSG:32618"),
    ):
        raster = open_raster(path, geobox=geobox)
        expected = read_all(raster)
        with monkeypatch.context() as patch:
            patch.setattr("geoseg.raster.resample.READ_BYTES", 5000)
            assert read_all(raster) == expected


def test_across_the_dateline_a_global_raster_is_read_from_both_of_its_ends(tmp_path: Path) -> None:
    longitude = np.arange(-179.5, 180, 1.0, dtype=np.float32)
    east = np.broadcast_to(np.where(longitude < 0, longitude + 360, longitude), (1, 180, 360))
    path = write_raster(tmp_path / "world.tif", east, crs="EPSG:4326", transform=Affine(1, 0, -180, 0, -1, 90))
    geobox = GeoBox((40, 400), Affine(2000.0, 0, 100_000, 0, -2000.0, 300_000), "EPSG:32660")
    pixels, mask = open_raster(path, geobox=geobox).read(Window(0, 0, 40, 400))
    assert mask.all()
    columns = 100_000 + 2000 * (np.arange(400) + 0.5)
    to_degrees = Transformer.from_crs("EPSG:32660", "EPSG:4326", always_xy=True)
    expected, _ = to_degrees.transform(columns, np.full(400, 259_000.0))
    assert pixels[0].min() < 174 < 180.5 < pixels[0].max()
    assert np.abs(pixels[0, 20] - expected % 360).max() < 0.51  # at 180 degrees the file's last pixel has no neighbour


def test_nearest_keeps_labels_as_they_are(tmp_path: Path) -> None:
    labels = noise(1, 40, 50)
    raster = open_raster(write_raster(tmp_path / "a.tif", labels), resolution=30, resampling="nearest")
    assert np.array_equal(raster.read(Window(0, 0, 13, 16))[0], labels[:, 1::3, 1::3][:, :13, :16])


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16", "int32", "uint32", "float32", "float64"])
@pytest.mark.parametrize("resolution", [4.0, 23.0])
def test_a_constant_stays_constant_in_every_type_up_to_the_outer_ring(
    tmp_path: Path, dtype: str, resolution: float
) -> None:
    top = np.iinfo(dtype).max if np.dtype(dtype).kind in "iu" else 1e30
    raster = open_raster(write_raster(tmp_path / "a.tif", np.full((1, 31, 43), top, dtype)), resolution=resolution)
    pixels, mask = raster.read(whole(raster))
    assert mask.all()
    np.testing.assert_allclose(pixels.astype(np.float64), float(top), rtol=1e-7)


# On the ground


@pytest.mark.parametrize(
    ("crs", "transform", "expected"),
    [
        ("EPSG:32618", TEN_METRES, (10, 10)),
        ("EPSG:3857", Affine(1, 0, 3_600_000, 0, -1, 4_000_000), (0.8301, 0.8301)),
        ("EPSG:4326", Affine(1e-4, 0, 10, 0, -1e-4, 60), (11.141, 5.5800)),
        ("EPSG:2263", Affine(1, 0, 980_000, 0, -1, 200_000), (0.3048, 0.3048)),
        ("IAU_2015:49910", Affine(5, 0, 0, 0, -5, 0), (5, 5)),
    ],
    ids=["utm", "mercator", "geographic", "feet", "mars"],
)
def test_resolution_is_measured_in_metres_on_the_ground(
    crs: str, transform: Affine, expected: tuple[float, float]
) -> None:
    assert ground_resolution(GeoBox((2, 2), transform, crs)) == pytest.approx(expected, rel=2e-3)


@pytest.mark.parametrize(("resolution", "read_as_it_is"), [(10.09, True), (9.91, True), (10.2, False), (9.8, False)])
def test_a_resolution_within_one_percent_is_read_as_it_is(
    tmp_path: Path, resolution: float, read_as_it_is: bool
) -> None:
    raster = open_raster(write_raster(tmp_path / "a.tif", noise(1, 30, 30)), resolution=resolution)
    assert (raster.transform == TEN_METRES) == read_as_it_is
    assert raster.is_resampled != read_as_it_is


@given(
    height=st.integers(1, 200),
    width=st.integers(1, 200),
    resolution=st.floats(0.7, 90),
    angle=st.sampled_from([0, 33]),
)
def test_a_resampled_grid_begins_at_the_same_corner_and_covers_the_bounds(
    height: int, width: int, resolution: float, angle: float
) -> None:
    from geoseg.raster.placing import at_resolution

    before = GeoBox((height, width), TEN_METRES @ Affine.rotation(angle), "EPSG:32618")
    after = at_resolution(before, resolution)
    assert (after.transform.c, after.transform.f) == (before.transform.c, before.transform.f)
    for pixels, given_pixels in zip(after.shape, before.shape, strict=True):
        size = resolution if after is not before else 10
        assert given_pixels * 10 - 0.01 * size <= pixels * size < given_pixels * 10 + size or pixels == 1


def test_mercator_pixels_are_rebuilt_to_metres_on_the_ground(tmp_path: Path) -> None:
    transform = Affine(0.1493, 0, 3_600_000, 0, -0.1493, 3_200_000)
    path = write_raster(tmp_path / "a.tif", noise(1, 100, 100), crs="EPSG:3857", transform=transform)
    raster = open_raster(path, resolution=0.2)
    assert raster.resolution == pytest.approx((0.2, 0.2), rel=1e-3)


# Real and awkward files


def test_awkward_files_are_placed_and_masked_as_gdal_does_or_refused_in_one_sentence(shared_data: Path) -> None:
    paths = [p for p in sorted((shared_data / "weird").iterdir()) if p.suffix in (".tif", ".jpg")]
    for path in paths:
        try:
            raster = open_raster(path)
        except GeosegError as error:
            assert "\n" not in str(error)
            continue
        with warnings.catch_warnings(), rasterio.open(path) as dataset:
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            assert raster.transform == dataset.transform, path
            height, width = raster.shape
            window = Window(height // 3, width // 3, max(1, min(400, height // 3)), max(1, min(400, width // 3)))
            rows, columns = window.slices()
            pixels, mask = raster.read(window)
            at = rasterio.windows.Window.from_slices(rows, columns)
            indexes = [i for i in dataset.indexes if dataset.colorinterp[i - 1].name != "alpha"]
            expected: np.ndarray[Any, Any] = dataset.read(indexes, window=at)
            valid = (dataset.read_masks(indexes, window=at) > 0).all(axis=0)
            if expected.dtype.kind == "f":
                valid &= np.isfinite(expected).all(axis=0)
        assert np.array_equal(mask, valid), path
        assert np.array_equal(pixels, np.where(valid, expected, 0)), path


def test_a_sentinel_scene_comes_together_from_its_files(shared_data: Path) -> None:
    folder = shared_data / "s2_delmarva"
    bands = ["B02", "B03", "B04", "B08", "B11"]
    by_name = open_raster({band: folder / f"s2_{band}.jp2" for band in bands}, resolution=10)
    by_folder = open_raster(folder, bands=bands, resolution=10)
    window = Window(700, 300, 120, 130)
    pixels, mask = by_name.read(window)
    assert mask.all()
    assert np.array_equal(by_folder.read(window)[0], pixels)
    with rasterio.open(folder / "s2_B04.jp2") as dataset:
        shift = ~dataset.transform @ by_name.transform
        at = rasterio.windows.Window(300 + round(shift.c), 700 + round(shift.f), 130, 120)
        assert np.array_equal(dataset.read(1, window=at), pixels[2])


def test_what_is_gone_is_told_apart_from_what_is_damaged(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif", np.ones((1, 8, 8), np.uint8))
    (tmp_path / "b.vrt").write_text(
        '<VRTDataset rasterXSize="8" rasterYSize="8"><SRS>EPSG:32618</SRS><GeoTransform>0,1,0,0,0,-1</GeoTransform>'
        '<VRTRasterBand dataType="Byte" band="1"><SimpleSource><SourceFilename relativeToVRT="1">gone.tif'
        "</SourceFilename><SourceBand>1</SourceBand></SimpleSource></VRTRasterBand></VRTDataset>"
    )
    whole, stacked, window = open_raster(str(path)), open_raster(str(tmp_path / "b.vrt")), Window(0, 0, 8, 8)
    path.unlink()
    for raster, told in ((whole, "; the file is not"), (stacked, "; a file that it names is not")):
        with pytest.raises(RasterReadError, match=f"No such file or directory.*{told} there any more: put it back"):
            raster.read(window)
