"""What label files declare as nodata where GDAL reads something else: Zarr's fill value, and 64-bit integers."""

from __future__ import annotations

import base64
import struct
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
import pytest
import rasterio
import rasterio.shutil
import tifffile
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.io import MemoryFile

import geoseg
from geoseg.cli import main
from geoseg.errors import BlockError
from geoseg.grid import Window
from geoseg.raster import open_raster, read_labels
from geoseg.raster.facts import declared_nodata
from tests.rasters import write_raster
from tests.servers import serving

ALL = Window(0, 0, 20, 20)


def write_zarr(path: Path, labels: np.ndarray, fill_value: float | None, **attributes: Any) -> str:
    array = zarr.create_array(
        path, shape=labels.shape, chunks=labels.shape, dtype=labels.dtype, fill_value=fill_value, zarr_format=2,
        attributes=attributes,
    )  # fmt: skip
    array[:] = labels
    return f"ZARR:{path}"


def ramp(dtype: str = "uint8") -> np.ndarray:
    """Labels 0 to 9, all of them 40 times."""
    return (np.arange(400).reshape(20, 20) % 10).astype(dtype)


@pytest.mark.parametrize(
    ("dtype", "fill_value", "attributes", "nodata"),
    [
        ("uint8", 0, {}, None),
        ("uint8", 7, {}, 7),
        ("uint8", 0, {"_FillValue": 0}, 0),
        ("uint8", 0, {"_FillValue": 7}, 7),
        ("uint8", 0, {"missing_value": 7}, 7),
        ("float32", 0, {"_FillValue": base64.b64encode(struct.pack("<d", 7.0)).decode()}, 7),
        ("float32", 0, {"long_name": "land"}, None),
    ],
)
def test_zeros_of_a_zarr_array_are_labels_unless_it_declares_them_as_nodata(
    tmp_path: Path, dtype: str, fill_value: float, attributes: dict[str, Any], nodata: int | None
) -> None:
    path = write_zarr(tmp_path / "labels.zarr", ramp(dtype), fill_value, **attributes)
    labels, mask = read_labels(open_raster(path, require_crs=False), ALL)
    np.testing.assert_array_equal(mask, np.ones((20, 20)) if nodata is None else ramp() != nodata)
    np.testing.assert_array_equal(labels[mask], ramp()[mask])


@pytest.mark.parametrize(("dtype", "nodata"), [("int64", -(2**63)), ("uint64", 2**63)])
def test_nodata_of_64_bits_is_what_the_file_declares(tmp_path: Path, dtype: str, nodata: int) -> None:
    """rasterio writes it as the text of a float, and GDAL reads that up to its decimal point: -9 or 9."""
    values = np.full((20, 20), 9, dtype)
    values[:5] = nodata
    if dtype == "int64":
        values[5:10] = -9
    path = write_raster(tmp_path / "a.tif", values[None], nodata=nodata)
    with rasterio.open(path) as source:
        assert source.nodata in (-9, 9)
    labels, mask = read_labels(open_raster(path), ALL)
    np.testing.assert_array_equal(mask, values != nodata)
    np.testing.assert_array_equal(labels[mask], values[mask])


@settings(max_examples=30, deadline=None)
@given(digits=st.integers(1, 9), power=st.integers(1, 18), big=st.booleans(), order=st.sampled_from("<>"))
def test_nodata_is_read_from_every_form_of_a_tiff(
    tmp_path_factory: pytest.TempPathFactory, digits: int, power: int, big: bool, order: str
) -> None:
    path = tmp_path_factory.mktemp("tiff") / "a.tif"
    text = f"{digits}.5e{power:+d}"
    tag = (42113, "s", len(text) + 1, text, True)
    tifffile.imwrite(path, np.zeros((4, 4), np.int64), extratags=[tag], bigtiff=big, byteorder=order)
    with rasterio.open(path) as opened:
        assert opened.nodata == digits
        assert declared_nodata(opened) == (int(float(text)),)


def test_nodata_of_one_digit_is_that_digit(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif", np.zeros((1, 9, 9), np.int64), nodata=-9)
    assert open_raster(path).sources[0].nodata == (-9,)
    assert open_raster(write_raster(tmp_path / "b.tif", np.zeros((1, 9, 9), np.int64))).sources[0].nodata == (None,)


def test_nodata_of_64_bits_is_read_from_a_server(tmp_path: Path) -> None:
    write_raster(tmp_path / "a.tif", np.zeros((1, 9, 9), np.int64), nodata=-(2**63))
    with serving(tmp_path) as traffic:
        assert open_raster(f"{traffic.url}/a.tif").sources[0].nodata == (-(2**63),)


@pytest.mark.parametrize("is_remote", [False, True])
@pytest.mark.parametrize("own", [None, -(2**63)])
@pytest.mark.parametrize(("text", "nodata"), [("-9.22337203685477581E+18", -(2**63)), ("5", 5), ("-9", -9)])
def test_nodata_beside_a_file_of_64_bits_goes_before_its_own(
    tmp_path: Path, text: str, nodata: int, own: int | None, is_remote: bool
) -> None:
    path = write_raster(tmp_path / "a.tif", np.zeros((1, 9, 9), np.int64), nodata=own)
    histogram = f"<Metadata><MDI key='a'>{'7' * 70_000}</MDI></Metadata>"
    band = f'<PAMRasterBand band="1"><NoDataValue>{text}</NoDataValue></PAMRasterBand>'
    path.with_name("a.tif.aux.xml").write_text(f"<PAMDataset>{histogram}{band}</PAMDataset>")
    with serving(tmp_path) if is_remote else nullcontext() as traffic:
        name = str(path) if traffic is None else f"{traffic.url}/a.tif"
        assert open_raster(name).sources[0].nodata == (nodata,)


def test_nodata_of_a_vrt_of_64_bits_is_what_its_text_means(tmp_path: Path) -> None:
    write_raster(tmp_path / "a.tif", np.zeros((1, 20, 20), np.int64))
    with MemoryFile(ext=".vrt") as file:
        rasterio.shutil.copy(tmp_path / "a.tif", file.name, driver="VRT")
        text = file.read().decode()
    band = '<VRTRasterBand dataType="Int64" band="1">'
    assert band in text
    (tmp_path / "a.vrt").write_text(text.replace(band, f"{band}<NoDataValue>-9.2233720368547758e+18</NoDataValue>"))
    assert open_raster(str(tmp_path / "a.vrt")).sources[0].nodata == (-(2**63),)


def polygons(path: Path) -> dict[int, int]:
    frame = pyogrio.read_dataframe(path)
    return {int(value): int(pixels) for value, pixels in frame.groupby("class")["pixels"].sum().items()}


def test_the_command_takes_nodata_of_labels_and_none(tmp_path: Path) -> None:
    labels = np.ones((20, 20), np.uint8)
    labels[:5], labels[5:8] = 0, 2
    path = write_raster(tmp_path / "a.tif", labels[None], nodata=0)
    for word, expected in (("2", {0: 100, 1: 240}), ("none", {0: 100, 1: 240, 2: 60})):
        output = tmp_path / f"{word}.gpkg"
        assert main(["polygonize", str(path), str(output), "--nodata", word, "--workers", "1", "--quiet"]) == 0
        assert polygons(output) == expected


def test_the_least_number_that_no_file_declares_as_nodata_does_not_vanish(tmp_path: Path) -> None:
    labels = np.ones((20, 20), np.int64)
    labels[:5] = -(2**63)
    path = write_raster(tmp_path / "a.tif", labels[None])
    with pytest.raises(BlockError, match="holds -9223372036854775808, which no label can be; declare it as nodata"):
        geoseg.polygonize(str(path), tmp_path / "a.gpkg", workers=1, retries=0)
    geoseg.polygonize(str(path), tmp_path / "a.gpkg", workers=1, nodata=-(2**63))
    assert polygons(tmp_path / "a.gpkg") == {1: 300}
