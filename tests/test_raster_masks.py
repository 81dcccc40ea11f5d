"""Nodata stays nodata: each way in which a file says that a pixel is invalid, and all of them together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st

from geoseg.grid import Window
from geoseg.raster import open_raster
from tests.rasters import noise, write_raster

SHAPE = (20, 30)
WHOLE = Window(0, 0, *SHAPE)
HOLE = np.zeros(SHAPE, np.bool_)
HOLE[3:9, 5:21] = True


def holes(path: Path) -> np.ndarray:
    """Return where the raster is invalid, and see that those pixels are 0."""
    pixels, mask = open_raster(path).read(WHOLE)
    assert (pixels[:, ~mask] == 0).all()
    return ~mask


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"])
def test_declared_nodata_is_invalid_in_every_integer_type(tmp_path: Path, dtype: str) -> None:
    pixels = noise(2, *SHAPE, dtype)
    pixels[1, HOLE] = 125
    path = write_raster(tmp_path / "a.tif", pixels, nodata=125)
    assert np.array_equal(holes(path), HOLE)
    assert open_raster(path).read(WHOLE)[0].dtype == dtype


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("nodata", [-9999.0, -3.4e38, -3.4028234663852886e38, float("nan"), None])
def test_nodata_nan_and_infinity_are_invalid_in_float_rasters(tmp_path: Path, dtype: str, nodata: float | None) -> None:
    pixels = noise(2, *SHAPE, dtype)
    pixels[0, HOLE] = np.nan if nodata is None else nodata
    pixels[1, 0, 0] = np.nan
    pixels[1, 0, 1] = -np.inf
    expected = HOLE.copy()
    expected[0, :2] = True
    assert np.array_equal(holes(write_raster(tmp_path / "a.tif", pixels, nodata=nodata)), expected)


@pytest.mark.parametrize("nodata", [9_999_999, 16_777_215, 255])
def test_whole_numbers_beside_nodata_stay_data_in_floats(tmp_path: Path, nodata: int) -> None:
    pixels = np.full((1, *SHAPE), nodata + 1, np.float32)
    pixels[0, HOLE], pixels[0, 0] = nodata, nodata - 1
    assert np.array_equal(holes(write_raster(tmp_path / "a.tif", pixels, nodata=nodata)), HOLE)


def test_a_nodata_value_that_the_type_cannot_hold_hides_nothing(tmp_path: Path) -> None:
    plain = write_raster(tmp_path / "plain.tif", noise(1, *SHAPE))
    vrt = tmp_path / "odd.vrt"
    vrt.write_text(vrt_of(plain, ["-9999"]))
    assert not holes(vrt).any()


def test_each_band_has_its_own_nodata_value(tmp_path: Path) -> None:
    pixels = noise(2, *SHAPE)
    pixels[0, 0, 0], pixels[1, 0, 0] = 200, 1
    pixels[0, 0, 1], pixels[1, 0, 1] = 1, 201
    pixels[0, 0, 2], pixels[1, 0, 2] = 201, 200
    vrt = tmp_path / "two.vrt"
    vrt.write_text(vrt_of(write_raster(tmp_path / "plain.tif", pixels), ["200", "201"]))
    assert np.argwhere(holes(vrt)).tolist() == [[0, 0], [0, 1]]


def test_transparent_pixels_are_invalid_and_half_transparent_ones_valid(tmp_path: Path) -> None:
    alpha = np.where(HOLE, 0, 255).astype(np.uint8)
    alpha[0, 0] = 1
    pixels = np.concatenate([noise(3, *SHAPE), alpha[np.newaxis]])
    path = write_raster(tmp_path / "a.tif", pixels, colorinterp=["red", "green", "blue", "alpha"])
    assert np.array_equal(holes(path), HOLE)


def test_alpha_and_nodata_are_both_respected(tmp_path: Path) -> None:
    pixels = np.concatenate([noise(3, *SHAPE), np.where(HOLE, 0, 255).astype(np.uint8)[np.newaxis]])
    pixels[1, 15, 15] = 250
    path = write_raster(tmp_path / "a.tif", pixels, colorinterp=["red", "green", "blue", "alpha"], nodata=250)
    expected = HOLE.copy()
    expected[15, 15] = True
    assert np.array_equal(holes(path), expected)


@pytest.mark.parametrize("sidecar", [False, True])
def test_internal_and_sidecar_masks_are_respected_with_nodata_too(tmp_path: Path, sidecar: bool) -> None:
    pixels = noise(3, *SHAPE)
    pixels[0, 15, 15] = 250
    path = write_raster(tmp_path / "a.tif", pixels, mask=~HOLE, sidecar=sidecar, nodata=250)
    assert (tmp_path / "a.tif.msk").exists() == sidecar
    expected = HOLE.copy()
    expected[15, 15] = True
    assert np.array_equal(holes(path), expected)


def test_bands_that_are_not_read_invalidate_nothing(tmp_path: Path) -> None:
    pixels = noise(2, *SHAPE)
    pixels[1, HOLE] = 200
    path = write_raster(tmp_path / "a.tif", pixels, nodata=200)
    assert open_raster(path, bands=[1]).read(WHOLE)[1].all()


def test_bands_of_several_files_are_valid_only_together(tmp_path: Path) -> None:
    one, two = noise(1, *SHAPE), noise(1, *SHAPE)
    one[0, HOLE] = 200
    two[0, 19, 29] = 200
    raster = open_raster(
        {"a": write_raster(tmp_path / "a.tif", one, nodata=200), "b": write_raster(tmp_path / "b.tif", two, nodata=200)}
    )
    pixels, mask = raster.read(WHOLE)
    expected = HOLE.copy()
    expected[19, 29] = True
    assert np.array_equal(~mask, expected)
    assert (pixels[:, expected] == 0).all()


def test_digital_numbers_come_without_scale_and_offset(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif", noise(1, *SHAPE, "int16"))
    with rasterio.open(path, "r+") as dataset:
        dataset.scales, dataset.offsets = (0.0001,), (1000.0,)
    assert np.array_equal(open_raster(path).read(WHOLE)[0], noise(1, *SHAPE, "int16"))


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 2**16), kind=st.sampled_from(["nodata", "alpha", "mask", "sidecar"]))
def test_the_mask_is_what_gdal_says(tmp_path_factory: pytest.TempPathFactory, seed: int, kind: str) -> None:
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 4, (3, *SHAPE)).astype(np.uint8)
    valid = rng.random(SHAPE) < 0.7
    path = tmp_path_factory.mktemp("masks") / "a.tif"
    if kind == "alpha":
        layers = np.concatenate([pixels, valid[np.newaxis] * np.uint8(255)])
        write_raster(path, layers, colorinterp=["red", "green", "blue", "alpha"])
    elif kind == "nodata":
        write_raster(path, pixels, nodata=0)
    else:
        write_raster(path, pixels, mask=valid, sidecar=kind == "sidecar")
    with rasterio.open(path) as dataset:
        expected = (dataset.read_masks([1, 2, 3]) > 0).all(axis=0)
    assert np.array_equal(~holes(path), expected)


def vrt_of(path: Path, nodata: list[str]) -> str:
    """Return a VRT that reads a file's bands and declares a nodata value for each."""
    bands = "".join(
        f'<VRTRasterBand dataType="Byte" band="{band}"><NoDataValue>{value}</NoDataValue><SimpleSource>'
        f"<SourceFilename>{path}</SourceFilename><SourceBand>{band}</SourceBand></SimpleSource></VRTRasterBand>"
        for band, value in enumerate(nodata, start=1)
    )
    return (
        f'<VRTDataset rasterXSize="{SHAPE[1]}" rasterYSize="{SHAPE[0]}"><SRS>EPSG:32618</SRS>'
        f"<GeoTransform>440000, 10, 0, 4200000, 0, -10</GeoTransform>{bands}</VRTDataset>"
    )
