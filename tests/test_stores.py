"""Zarr stores and netCDF files by path: read by window, and labelled as GeoTIFFs of the same pixels are."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import rasterio.shutil
import rioxarray  # noqa: F401 - registers array.rio
import xarray as xr
import zarr
from affine import Affine

import geoseg
from geoseg.cli import main
from geoseg.errors import BandError, CrsError, RasterError
from geoseg.grid import Window
from geoseg.imagery import open_imagery
from geoseg.raster import open_raster
from tests.networks import Box, write_model
from tests.rasters import TEN_METRES, noise, write_raster

SHAPE = (190, 230)
PIXELS = noise(2, *SHAPE, seed=4)
PIXELS[:, 30:60, 40:90] = 200
NODATA = 200
NAMES = "red", "nir"


def dataset(transform: Affine = TEN_METRES, *, crs: bool = True) -> xr.Dataset:
    """Two bands as rioxarray places them, with a coordinate for each row and column."""
    y = transform.f + transform.e * (np.arange(SHAPE[0]) + 0.5)
    x = transform.c + transform.a * (np.arange(SHAPE[1]) + 0.5)
    bands = {name: (("y", "x"), band) for name, band in zip(NAMES, PIXELS, strict=True)}
    made = xr.Dataset(bands, coords={"y": y, "x": x})
    for name in NAMES:
        made[name].attrs["_FillValue"] = np.uint8(NODATA)
    return made.rio.write_crs("EPSG:32618").rio.write_transform(transform) if crs else made


def chunked(zarr_format: int) -> dict[str, Any]:
    layout = {"chunks": (64, 64), "shards": (128, 128)} if zarr_format == 3 else {"chunks": (64, 64)}
    return dict.fromkeys(NAMES, layout)


def geotiff(path: Path, **more: Any) -> Path:
    return write_raster(path, PIXELS, nodata=NODATA, descriptions=list(NAMES), **more)


def assert_same(given: Any, expected: Any, bands: list[str] | None = None, **more: Any) -> None:
    one, other = (open_imagery(item, bands=bands or list(NAMES), **more) for item in (given, expected))
    assert one.geobox == other.geobox
    assert one.bands == other.bands
    for window in (Window(0, 0, *SHAPE), Window(13, 57, 70, 90)):
        for first, second in zip(one.read(window), other.read(window), strict=True):
            np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("how", ["path", "address", "subgroup", "arrays"])
def test_a_store_is_read_as_the_geotiff_of_its_pixels(zarr_format: int, how: str, tmp_path: Path) -> None:
    group = "measurements/r10m" if how == "subgroup" else None
    store = tmp_path / "scene.zarr"
    dataset().to_zarr(store, group=group, zarr_format=zarr_format, encoding=chunked(zarr_format), consolidated=False)
    given: Any = {"address": f"file://{store}", "subgroup": str(store / "measurements/r10m")}.get(how, str(store))
    expected = geotiff(tmp_path / "a.tif")
    assert_same({name: str(store / name) for name in NAMES} if how == "arrays" else given, expected)


def test_labels_of_a_store_are_those_of_the_geotiff_and_nothing_is_read_twice(tmp_path: Path) -> None:
    store = tmp_path / "scene.zarr"
    dataset().to_zarr(store, zarr_format=3, encoding=chunked(3), consolidated=False)
    model = str(write_model(tmp_path / "model", Box(2), name="box", halo=4))
    settings = {"model": model, "ramp": 8, "workers": 2, "report": False, "bands": "red,nir"}
    results = [
        geoseg.run(settings, input=str(path), output=str(tmp_path / name))
        for name, path in (("store", store), ("tif", geotiff(tmp_path / "a.tif")))
    ]
    with rasterio.open(results[0].labels_path) as one, rasterio.open(results[1].labels_path) as other:
        np.testing.assert_array_equal(one.read(), other.read())
        assert (one.transform, one.crs) == (other.transform, other.crs)
    assert results[0].features.to_wkb().equals(results[1].features.to_wkb())
    assert geoseg.resume(results[0].output).is_unchanged


CONVENTIONS: list[dict[str, Any]] = [
    {"proj:code": "EPSG:32618", "spatial:transform": list(TEN_METRES)[:6], "spatial:dimensions": ["lines", "samples"]},
    {"proj:epsg": 32618, "proj:transform": list(TEN_METRES)},
    {
        "proj:wkt2": rasterio.CRS.from_epsg(32618).to_wkt(version="WKT2_2019"),
        "spatial:transform": list(TEN_METRES @ Affine.translation(0.5, 0.5))[:6],
        "spatial:registration": "node",
    },
]


@pytest.mark.parametrize("said", CONVENTIONS)
@pytest.mark.parametrize("on", ["group", "array"])
def test_geozarr_says_the_place_on_the_group_or_on_the_array(said: dict[str, Any], on: str, tmp_path: Path) -> None:
    group = zarr.create_group(tmp_path / "a.zarr", zarr_format=3)
    dims = said.get("spatial:dimensions", ["y", "x"])
    for name, band in zip(NAMES, PIXELS, strict=True):
        array = group.create_array(name, data=band, chunks=(64, 64), fill_value=NODATA, dimension_names=dims)
        if on == "array":
            array.attrs.update(said)
    if on == "group":
        group.attrs.update(said)
    assert_same(str(tmp_path / "a.zarr"), geotiff(tmp_path / "a.tif"))


@pytest.mark.parametrize("crs", ["EPSG:32618", "EPSG:4326", "+proj=laea +lat_0=40 +lon_0=-75 +datum=WGS84 +units=m"])
def test_a_store_that_gdal_has_written_has_its_crs(crs: str, tmp_path: Path) -> None:
    transform = Affine(0.01, 0, -75, 0, -0.01, 40) if crs == "EPSG:4326" else TEN_METRES
    path = write_raster(tmp_path / "a.tif", noise(1, 40, 50), crs=crs, transform=transform)
    rasterio.shutil.copy(path, tmp_path / "a.zarr", driver="Zarr", FORMAT="ZARR_V2")
    raster, wanted = open_raster(tmp_path / "a.zarr"), open_raster(path)
    assert raster.crs == wanted.crs
    assert raster.transform.almost_equals(wanted.transform, 1e-9)
    whole = Window(0, 0, 40, 50)
    np.testing.assert_array_equal(raster.read(whole)[0], wanted.read(whole)[0])


def test_a_store_of_format_3_that_gdal_has_written_is_read_or_refused_with_the_remedy(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif", noise(1, 40, 50))
    rasterio.shutil.copy(path, tmp_path / "a.zarr", driver="Zarr", FORMAT="ZARR_V3")
    try:
        raster = open_raster(tmp_path / "a.zarr")
    except RasterError as error:
        assert "has metadata that zarr does not read (" in str(error)
        assert str(error).endswith("as GDAL writes it with FORMAT=ZARR_V3; write it with FORMAT=ZARR_V2.")
    else:
        assert raster.crs == open_raster(path).crs


def test_of_several_scales_the_finest_is_read(tmp_path: Path) -> None:
    store = tmp_path / "a.zarr"
    dataset().to_zarr(store, group="0", zarr_format=3, consolidated=False)
    dataset().isel(y=slice(None, None, 2), x=slice(None, None, 2)).to_zarr(
        store, group="1", zarr_format=3, consolidated=False
    )
    zarr.open_group(store, mode="a").attrs["multiscales"] = {
        "layout": [{"asset": "0", "transform": {"scale": [1.0, 1.0]}}, {"asset": "1", "derived_from": "0"}]
    }
    assert_same(str(store), geotiff(tmp_path / "a.tif"))


@pytest.mark.parametrize("is_array", [False, True])
def test_a_scale_may_say_its_place_where_all_are_listed(is_array: bool, tmp_path: Path) -> None:
    store = tmp_path / "a.zarr"
    group = zarr.create_group(store, zarr_format=3)
    for level in (0, 1):
        step = 2**level
        home = group if is_array else group.create_group(f"{level}")
        names = {f"level{level}": PIXELS[0]} if is_array else dict(zip(NAMES, PIXELS, strict=True))
        for name, band in names.items():
            data = np.ascontiguousarray(band[::step, ::step])
            home.create_array(name, data=data, chunks=(64, 64), fill_value=NODATA, dimension_names=["y", "x"])
    layout = [
        {
            "asset": f"level{level}" if is_array else f"{level}",
            "spatial:transform": list(TEN_METRES @ Affine.scale(2**level))[:6],
        }
        for level in (0, 1)
    ]
    group.attrs.update({"proj:code": "EPSG:32618", "multiscales": {"layout": layout}})
    expected = geotiff(tmp_path / "a.tif")
    if is_array:
        one, other = open_imagery(str(store), bands=["level0"]), open_imagery(str(expected), bands=["red"])
        assert one.geobox == other.geobox
        np.testing.assert_array_equal(one.read(Window(0, 0, *SHAPE))[0], other.read(Window(0, 0, *SHAPE))[0])
    else:
        assert_same(str(store), expected)


def test_scale_and_offset_of_a_store_are_its_units(tmp_path: Path) -> None:
    made = dataset()
    for name in NAMES:
        made[name].attrs |= {"scale_factor": 0.0002, "add_offset": -0.01}
    made.to_zarr(tmp_path / "a.zarr", zarr_format=3, consolidated=False)
    with rasterio.open(geotiff(tmp_path / "a.tif"), "r+") as file:
        file.scales, file.offsets = (0.0002, 0.0002), (-0.01, -0.01)
    assert_same(str(tmp_path / "a.zarr"), tmp_path / "a.tif", units=[(0.0001, 0.0)] * 2)


def test_a_cube_with_a_band_axis_is_one_raster(tmp_path: Path) -> None:
    cube = dataset()[list(NAMES)].to_dataarray("band", name="reflectance").assign_attrs(_FillValue=np.uint8(NODATA))
    cube.to_dataset(name="reflectance").to_zarr(tmp_path / "a.zarr", zarr_format=3, consolidated=False)
    assert_same(str(tmp_path / "a.zarr"), geotiff(tmp_path / "a.tif"))


def test_stores_beside_one_another_are_one_raster(tmp_path: Path) -> None:
    moved = TEN_METRES @ Affine.translation(200, 0)
    for name, transform in (("a", TEN_METRES), ("b", moved)):
        dataset(transform).to_zarr(tmp_path / f"{name}.zarr", zarr_format=3, consolidated=False)
        geotiff(tmp_path / f"{name}.tif", transform=transform)
    assert_same(*([str(tmp_path / f"{name}.{kind}") for name in "ab"] for kind in ("zarr", "tif")))
    dataset().rename(red="blue").to_zarr(tmp_path / "c.zarr", zarr_format=3, consolidated=False)
    with pytest.raises(RasterError, match=r"c\.zarr' has other variables \(blue, nir\) than '.*a\.zarr' \(nir, red\)"):
        open_imagery([str(tmp_path / "a.zarr"), str(tmp_path / "c.zarr")])


def test_windows_alone_are_read(tmp_path: Path) -> None:
    dataset().to_zarr(tmp_path / "a.zarr", zarr_format=2, encoding=chunked(2), consolidated=False)
    raster = open_imagery(str(tmp_path / "a.zarr"), bands=list(NAMES))
    for chunk in (tmp_path / "a.zarr" / "red").glob("[12].*"):
        os.truncate(chunk, 3)
    raster.read(Window(0, 0, 64, SHAPE[1]))


@pytest.mark.parametrize("flipped", [False, True])
def test_a_netcdf_file_is_read_band_by_band_as_the_geotiff(flipped: bool, tmp_path: Path) -> None:
    made = dataset(crs=False).astype("int16")
    for name in NAMES:
        made[name].attrs["_FillValue"] = np.int16(NODATA)
    if flipped:
        made = made.isel(y=slice(None, None, -1))
    made = made.rio.write_crs("EPSG:32618").rio.write_coordinate_system()
    made.to_netcdf(tmp_path / "a.nc", engine="scipy")
    expected = write_raster(tmp_path / "a.tif", PIXELS.astype(np.int16), nodata=NODATA, descriptions=list(NAMES))
    assert_same(str(tmp_path / "a.nc"), expected)


@pytest.mark.parametrize("names", [NAMES, NAMES[:1]])
def test_a_netcdf_file_without_attributes_of_coordinates_is_told_how_to_get_them(
    names: tuple[str, ...], tmp_path: Path
) -> None:
    made = dataset(crs=False)[list(names)].astype("int16")
    for name in names:
        made[name].attrs["_FillValue"] = np.int16(NODATA)
    for number, placed in enumerate((made, made.rio.write_crs("EPSG:32618"))):
        placed.to_netcdf(tmp_path / f"{number}.nc", engine="scipy")
        with pytest.raises(CrsError, match=r"which of its variables are .*\.write_coordinate_system\(\)`"):
            open_imagery(str(tmp_path / f"{number}.nc"))


def variable(labels: Any, listed: Any = None) -> xr.Dataset:
    """One variable whose bands are numbered or named by a coordinate, and listed by an attribute."""
    pixels = xr.Variable(("band", "y", "x"), np.stack([np.full((20, 30), value, np.int16) for value in (1, 2, 3)]))
    place = {"band": labels, "y": 4_200_000 - 10.0 * np.arange(20), "x": 440_000 + 10.0 * np.arange(30)}
    array = xr.DataArray(pixels, place, attrs={} if listed is None else {"long_name": listed})
    return array.to_dataset(name="img").rio.write_crs("EPSG:32618").rio.write_coordinate_system()


@pytest.mark.parametrize(
    ("labels", "listed"),
    [
        ([1, 2, 3], "{blue,green,red}"),  # as rioxarray 0.19 writes its list
        ([1, 2, 3], None),
        ([2, 3, 4], "{coastal,blue,green,red,nir}"),
    ],
)
def test_a_netcdf_variable_names_its_bands(labels: Any, listed: str | None, tmp_path: Path) -> None:
    variable(labels, listed).to_netcdf(tmp_path / "a.nc", engine="scipy")
    raster = open_imagery(str(tmp_path / "a.nc"), bands=["red", "green"] if labels != [1, 2, 3] or listed else [3, 2])
    pixels, _ = raster.read(Window(0, 0, *raster.shape))
    assert [np.unique(band).tolist() for band in pixels] == [[3], [2]]


def test_names_of_a_netcdf_variable_that_may_be_in_either_order_are_no_order(tmp_path: Path) -> None:
    """As rioxarray 0.19 leaves them: `array.sel(band=[3, 2, 1])` keeps the list of the file."""
    variable([3, 2, 1], "{red,green,blue}").to_netcdf(tmp_path / "a.nc", engine="scipy")
    with pytest.raises(BandError, match=r"'red': it has 3 bands: 1 \(unsure name\).*such as `bands: \[3, 2, 1\]`"):
        open_imagery(str(tmp_path / "a.nc"), bands=["red", "green", "blue"])
    assert open_imagery(str(tmp_path / "a.nc"), bands=[3, 1]).shape == (20, 30)


def test_names_of_a_netcdf_variable_that_gdal_cannot_read_are_no_order(tmp_path: Path) -> None:
    variable(["blue", "green", "red"]).to_netcdf(tmp_path / "a.nc", engine="scipy")
    with pytest.raises(BandError, match=r"'red': it has 3 bands: 1 \(unread name\).*such as `bands: \[3, 2, 1\]`"):
        open_imagery(str(tmp_path / "a.nc"), bands=["red", "green", "blue"])
    raster = open_imagery(str(tmp_path / "a.nc"), bands=[3, 1])
    assert [np.unique(band).tolist() for band in raster.read(Window(0, 0, *raster.shape))[0]] == [[3], [1]]


def test_words_of_a_netcdf_dimension_are_names_of_its_bands(tmp_path: Path) -> None:
    variable(["blue", "green", "red"]).to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    raster = open_imagery(str(tmp_path / "a.nc"), bands=["red", "green"])
    assert [np.unique(band).tolist() for band in raster.read(Window(0, 0, *raster.shape))[0]] == [[3], [2]]


def test_one_time_of_a_netcdf_variable_is_no_name_of_its_bands(tmp_path: Path) -> None:
    variable([1, 2, 3]).expand_dims(time=[5]).to_netcdf(tmp_path / "a.nc", engine="scipy")
    assert open_imagery(str(tmp_path / "a.nc"), bands=["red", "green", "blue"]).bands == ("red", "green", "blue")


@pytest.mark.parametrize("left", [5.0, 200.0])
def test_degrees_of_a_netcdf_file_without_a_crs_are_those_of_wgs_84(left: float, tmp_path: Path) -> None:
    latitude = xr.Variable("lat", 40 - 0.001 * np.arange(90), {"units": "degrees_north", "standard_name": "latitude"})
    longitude = xr.Variable("lon", left + 0.001 * np.arange(110), {"units": "degrees_east"})
    array = xr.DataArray(noise(1, 90, 110, "int16")[0], {"lat": latitude, "lon": longitude}, ("lat", "lon"))
    array.to_dataset(name="red").to_netcdf(tmp_path / "a.nc", engine="scipy")
    raster = open_imagery(str(tmp_path / "a.nc"))
    assert raster.crs == "EPSG:4326"
    np.testing.assert_allclose(raster.transform.c % 360, left - 0.0005, atol=1e-9)
    if left < 180:
        return
    single = array.assign_coords(lat=latitude.astype("float32"), lon=longitude.astype("float32"))
    for name in ("lat", "lon"):
        single[name].attrs = array[name].attrs
    single.to_dataset(name="red").to_netcdf(tmp_path / "single.nc", engine="scipy")
    with pytest.raises(
        CrsError, match=r"takes for unevenly spaced.* geoseg\.run\(xarray\.open_dataset\('.*single\.nc'\)"
    ):
        open_imagery(str(tmp_path / "single.nc"))
    with xr.open_dataset(tmp_path / "single.nc") as opened:
        assert open_imagery(opened).crs == "EPSG:4326"


def test_what_is_no_imagery_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset().to_zarr(tmp_path / "a.zarr", group="r10m", zarr_format=3, consolidated=False)
    assert main(["plan", str(tmp_path / "a.zarr"), "--model", "sentinel2-land-cover"]) == 3
    said = " ".join(capsys.readouterr().err.split())
    assert "holds no variable with rows and columns, but the groups r10m; name one, such as" in said
    with pytest.raises(RasterError, match=r"is no Zarr store that can be opened \(.*\); correct its address"):
        open_imagery(f"file://{tmp_path}/none.zarr")
    monkeypatch.setitem(sys.modules, "aiohttp", None)
    monkeypatch.delitem(sys.modules, "fsspec.implementations.http", raising=False)
    for protocol in ("http", "https"):
        monkeypatch.delitem(sys.modules["fsspec.registry"]._registry, protocol, raising=False)
    with pytest.raises(RasterError, match=r"through fsspec, which lacks a package .*install aiohttp"):
        open_imagery("https://127.0.0.1:1/a.zarr")


@pytest.mark.parametrize("bands", [1, 2])
@pytest.mark.parametrize("size", [(30, 24), (24, 24)])
def test_a_netcdf_file_whose_rows_run_along_x_is_refused(bands: int, size: tuple[int, int], tmp_path: Path) -> None:
    height, width = size
    place = {"lat": ("lat", 50 - 0.01 * np.arange(height)), "lon": ("lon", 10 + 0.02 * np.arange(width))}
    dataset = xr.Dataset({f"b{band}": (("lat", "lon"), noise(1, height, width)[0]) for band in range(bands)}, place)
    for name, word, unit in (("lat", "latitude", "degrees_north"), ("lon", "longitude", "degrees_east")):
        dataset[name].attrs = {"standard_name": word, "units": unit}
    upright, turned = tmp_path / "upright.nc", tmp_path / "turned.nc"
    dataset.rio.write_crs(4326).to_netcdf(upright, engine="scipy")
    dataset.transpose("lon", "lat").rio.write_crs(4326).to_netcdf(turned, engine="scipy")
    assert open_imagery(str(upright)).shape == size
    with pytest.raises(
        RasterError, match=r"turned\.nc' has rows along lon, which GDAL takes for columns; turn it first"
    ):
        open_imagery(str(turned))


def test_a_netcdf_file_that_was_written_anew_is_read_anew(tmp_path: Path) -> None:
    for left, value in ((10.0, 3), (40.0, 7)):
        place = {"lat": ("lat", 50 - 0.01 * np.arange(20)), "lon": ("lon", left + 0.01 * np.arange(20))}
        bands = {name: (("lat", "lon"), np.full((20, 20), value, np.int16)) for name in ("b1", "b2")}
        made = xr.Dataset(bands, place)
        made["lat"].attrs = {"standard_name": "latitude", "units": "degrees_north"}
        made["lon"].attrs = {"standard_name": "longitude", "units": "degrees_east"}
        made.rio.write_crs(4326).to_netcdf(tmp_path / "a.nc", engine="scipy")
        raster = open_imagery(str(tmp_path / "a.nc"))
        assert raster.transform.c == pytest.approx(left - 0.005)
        assert (raster.read(Window(0, 0, 20, 20))[0] == value).all()
