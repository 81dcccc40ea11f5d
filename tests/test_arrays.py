"""Arrays of xarray as rasters: the same pixels, grid and identity as the file that they were read from."""

from __future__ import annotations

import pickle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dask.array as da
import numpy as np
import pyproj
import pytest
import rasterio
import rasterio.shutil
import rioxarray
import xarray as xr
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from odc.geo.xr import wrap_xr
from rasterio.vrt import WarpedVRT

from geoseg.errors import BandError, CrsError, GeosegError, InputTypeError, RasterError, RasterReadError
from geoseg.grid import Window
from geoseg.imagery import open_imagery
from geoseg.raster import Raster, open_raster, read_legend
from geoseg.raster.arrays import ArraySource, LazyPixels
from geoseg.raster.given import _path_of
from geoseg.raster.sending import FilePixels, sendable
from tests.rasters import TEN_METRES, noise, write_raster
from tests.test_scripts import as_a_file

SHIFTED = TEN_METRES @ Affine.translation(0.3, 0.7)
NAMES = ["B02", "B03", "B04"]


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    pixels = noise(3, 210, 340, "uint16")
    pixels[:, 10:40, 20:60] = 0
    return write_raster(tmp_path / "scene.tif", pixels, transform=SHIFTED, nodata=0, descriptions=NAMES, tiled=True)


def pixels_of(raster: Raster) -> tuple[Any, Any]:
    return raster.read(Window(0, 0, *raster.shape))


def assert_same(raster: Raster, other: Raster) -> None:
    assert (raster.geobox, raster.dtype, raster.bands) == (other.geobox, other.dtype, other.bands)
    for one, two in zip(pixels_of(raster), pixels_of(other), strict=True):
        np.testing.assert_array_equal(one, two)


def is_read(array: xr.DataArray) -> bool:
    return isinstance(array.variable._data, np.ndarray)


def test_an_array_of_rioxarray_is_read_as_its_file_and_never_whole(scene: Path) -> None:
    array = rioxarray.open_rasterio(scene)
    assert_same(open_raster(array), open_raster(scene))
    assert_same(open_imagery([array]), open_raster(scene))
    assert not is_read(array)
    assert_same(open_raster(array.load()), open_raster(scene))


def test_an_array_of_dask_is_read_by_window(scene: Path) -> None:
    seen: list[tuple[int, ...]] = []

    def look(block: np.ndarray) -> np.ndarray:
        seen.append(block.shape)
        return block

    array = rioxarray.open_rasterio(scene, chunks={"band": 1, "y": 70, "x": 100})
    array = array.copy(data=array.data.map_blocks(look, dtype=array.dtype, meta=np.empty((0, 0, 0), array.dtype)))
    raster = open_raster(array)
    assert seen == []
    raster.read(Window(80, 110, 20, 20))
    assert len(seen) == 3
    assert_same(raster, open_raster(scene))


def test_a_dataset_has_its_variables_as_bands(scene: Path, tmp_path: Path) -> None:
    dataset = rioxarray.open_rasterio(scene).to_dataset("band").rename(dict(zip((1, 2, 3), NAMES, strict=True)))
    assert_same(open_raster(dataset), open_raster(scene))
    assert_same(open_raster(dataset, bands=["B04", "B02"]), open_raster(scene, bands=["B04", "B02"]))
    dataset.to_zarr(tmp_path / "scene.zarr", zarr_format=2)  # its CRS becomes a variable
    for lazy in (xr.open_zarr(tmp_path / "scene.zarr"), xr.open_zarr(tmp_path / "scene.zarr", chunks=None)):
        values = open_raster(lazy, calibration=None)
        np.testing.assert_array_equal(pixels_of(values)[0], np.stack([dataset[name] for name in NAMES]))


def test_an_open_dataset_is_read_as_its_file(scene: Path, tmp_path: Path) -> None:
    with rasterio.open(scene) as dataset:
        assert_same(open_raster(dataset), open_raster(scene))
        with WarpedVRT(dataset, crs="EPSG:3857") as view, pytest.raises(InputTypeError) as error:
            open_raster(view)
        assert str(error.value) == (
            f"the dataset 'WarpedVRT({scene})' is no file of its own; write it to one first, such as "
            "rasterio.shutil.copy(dataset, 'imagery.vrt', driver='VRT'), and open a WarpedVRT with add_alpha=True, "
            "because it loses masks else."
        )
    with rasterio.open(scene, "r+") as dataset:
        dataset.build_overviews([2])
    with rasterio.open(scene, overview_level=0) as dataset, pytest.raises(InputTypeError, match="such as an overview"):
        open_raster(dataset)
    with rasterio.MemoryFile(scene.read_bytes()) as file, file.open() as dataset:
        raster = open_raster(dataset)
        assert_same(raster, open_raster(scene))
        with sendable(raster, tmp_path / "sent") as sent:
            assert_same(pickle.loads(pickle.dumps(sent)), open_raster(scene))
            assert sent.sources[0].path.startswith(str(tmp_path))
    assert not (tmp_path / "sent").exists()
    lost = SimpleNamespace(name="/vsimem/freed.tif", mode="r")
    with pytest.raises(InputTypeError, match=r"'/vsimem/freed.tif' cannot be opened again by its name; keep its file"):
        _path_of(lost)  # type: ignore[arg-type]


def test_a_warped_view_that_is_written_as_its_refusal_says_keeps_the_mask(tmp_path: Path) -> None:
    path, view = write_raster(tmp_path / "a.tif", noise(1, 40, 50)), tmp_path / "imagery.vrt"
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "r+") as raster:
        raster.write_mask(np.tri(40, 50, dtype=bool))
    with rasterio.open(path) as raster, WarpedVRT(raster, add_alpha=True) as warped:
        rasterio.shutil.copy(warped, view, driver="VRT")
    assert_same(open_raster(view), open_raster(path))


@given(st.data())
@settings(max_examples=40)
def test_a_slice_lies_on_the_grid_of_its_file(data: st.DataObject) -> None:
    geobox = GeoBox((90, 110), Affine(0.1, 0, 11.7, 0, -0.3, 47.1), "EPSG:4326")
    array = wrap_xr(np.zeros(geobox.shape, np.uint8), geobox)
    y, x = data.draw(st.integers(0, 88)), data.draw(st.integers(0, 108))
    bottom, right = data.draw(st.integers(y + 2, 90)), data.draw(st.integers(x + 2, 110))
    part = open_raster(array[y:bottom, x:right])
    assert part.transform == geobox.transform @ Affine.translation(x, y)
    assert part.shape == (bottom - y, right - x)
    thinned = open_raster(array[::2, ::3])
    assert thinned.transform.almost_equals(geobox.transform @ Affine.translation(-1, -0.5) @ Affine.scale(3, 2), 1e-9)


@pytest.mark.parametrize(
    "transform",
    [SHIFTED, Affine(7.0, 0, 1e6, 0, 7.0, 2e6), TEN_METRES @ Affine.rotation(30)],
    ids=["north up", "south up", "rotated"],
)
def test_every_grid_is_that_of_the_file(transform: Affine, tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif", noise(2, 50, 60), transform=transform)
    assert_same(open_raster(rioxarray.open_rasterio(path)), open_raster(path))
    part = open_raster(rioxarray.open_rasterio(path)[:, 10:30, 7:50])
    assert part.transform.almost_equals(transform @ Affine.translation(7, 10), 1e-6)
    geobox = open_raster(path).geobox
    named = wrap_xr(noise(1, 50, 60)[0], geobox)
    assert open_raster(named).transform.almost_equals(geobox.transform, 1e-9)


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        (lambda array: array[:, 4::2, 9::3], Affine.translation(8, 3.5) @ Affine.scale(3, 2)),
        (lambda array: array[:, ::-1], Affine.translation(0, 50) @ Affine.scale(1, -1)),
        (lambda array: array[:, 7:8, 5:6], Affine.translation(5, 7)),
        (lambda array: array.coarsen(y=5, x=2).mean(), Affine.scale(2, 5)),
    ],
    ids=["steps", "flipped", "one pixel", "averaged"],
)
def test_what_is_taken_of_a_rotated_grid_lies_where_its_pixels_lie(part: Any, expected: Affine, tmp_path: Path) -> None:
    """rioxarray leaves it the transform of the whole (findings/rioxarray-slices-of-rotated-keep-their-place.sh)."""
    turned = TEN_METRES @ Affine.rotation(30)
    path = write_raster(tmp_path / "a.tif", noise(1, 50, 60), transform=turned)
    array = part(rioxarray.open_rasterio(path))
    found = open_raster(array).transform
    assert found.almost_equals(turned @ expected, 1e-5)
    assert (found @ (0.5, 0.5)) == pytest.approx((float(array.xc[0, 0]), float(array.yc[0, 0])), abs=1e-5)


def stacked(corners: bool, **part: slice) -> xr.DataArray:
    """An array with the coordinates and attributes of `stackstac.stack(items, xy_coords=...)`, 40 x 30 px of 10 m."""
    at = 0 if corners else 5
    places = {"y": 4_000_000.0 - at - 10 * np.arange(40), "x": 500_000.0 + at + 10 * np.arange(30)}
    spec = SimpleNamespace(bounds=(500_000, 3_999_600, 500_300, 4_000_000), resolutions_xy=(10, 10))
    attrs = {"crs": "epsg:32618", "spec": spec, "transform": Affine(10, 0, 500_000, 0, -10, 4_000_000)}
    return xr.DataArray(noise(2, 40, 30), places, ("band", "y", "x"), attrs=attrs).isel(**part)


@pytest.mark.parametrize("corners", [True, False])
def test_stacks_of_stackstac_lie_in_place_whether_coordinates_are_corners_or_centres(corners: bool) -> None:
    whole = Affine(10, 0, 500_000, 0, -10, 4_000_000)
    assert open_raster(stacked(corners)).geobox.transform == whole
    part = stacked(corners, y=slice(7, 20), x=slice(3, 30))
    assert open_raster(part).geobox.transform == whole @ Affine.translation(3, 7)
    assert open_raster(part.rio.write_crs(32618).rio.write_transform()).geobox.transform == whole @ Affine.translation(
        3, 7
    )
    with pytest.raises(CrsError, match=r"resampled since.*array\.attrs\.pop"):
        open_raster(stacked(corners, x=slice(0, 30, 2)))


def test_positions_of_unequal_steps_are_no_grid(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif", noise(1, 50, 60), transform=TEN_METRES @ Affine.rotation(30))
    with pytest.raises(CrsError, match="has a position for each pixel and no grid"):
        open_raster(rioxarray.open_rasterio(path).isel(x=[0, 2, 3, 6, 8], y=[0, 1, 2, 3]))


def test_the_crs_is_the_stated_one_and_not_a_guess(tmp_path: Path) -> None:
    shifted = "+proj=utm +zone=33 +ellps=intl +towgs84=-104.1,-49.1,-9.9,0.971,-2.917,0.714,-11.68 +units=m +type=crs"
    path = write_raster(tmp_path / "a.tif", noise(1, 20, 20), crs=shifted)
    assert open_raster(rioxarray.open_rasterio(path)).crs == open_raster(path).crs


def mapped(mapping: dict[str, Any], **coordinates: Any) -> xr.DataArray:
    """An array of 10 m pixels whose CRS stands in a grid mapping of the CF conventions, without WKT."""
    values = {"y": 1_200_000 - np.arange(20) * 10.0, "x": 2_600_000 + np.arange(20) * 10.0} | coordinates
    place = {**values, "crs": ((), 0, mapping)}
    return xr.DataArray(np.ones((20, 20), np.uint8), place, ("y", "x"), attrs={"grid_mapping": "crs"})


@pytest.mark.parametrize("code", [2056, 27572, 3200, 2225, 2154, 32632, 3035])
@pytest.mark.filterwarnings("ignore:angle from rectified")
def test_a_grid_mapping_is_the_crs_of_its_name_whatever_its_parameters_lose(code: int) -> None:
    mapping = pyproj.CRS.from_epsg(code).to_cf()
    del mapping["crs_wkt"]
    assert open_raster(mapped(mapping)).crs == f"EPSG:{code}"


def test_a_grid_mapping_without_a_known_name_is_read_by_its_parameters_but_for_a_lost_angle() -> None:
    mapping = pyproj.CRS.from_epsg(3035).to_cf() | {"projected_crs_name": "mine"}
    del mapping["crs_wkt"]
    found = open_raster(mapped(mapping)).crs
    to_map = pyproj.Transformer.from_crs("EPSG:4258", found.to_wkt(), always_xy=True)
    np.testing.assert_allclose(to_map.transform(10, 52), (4_321_000, 3_210_000), atol=0.01)
    skewed = {"grid_mapping_name": "oblique_mercator", "azimuth_of_central_line": 90.0} | {
        "latitude_of_projection_origin": 46.95, "longitude_of_projection_origin": 7.44,
        "scale_factor_at_projection_origin": 1.0, "false_easting": 2.6e6, "false_northing": 1.2e6,
    }  # fmt: skip
    with pytest.raises(CrsError) as error:
        open_raster(mapped(skewed))
    assert str(error.value) == (
        "'DataArray': its grid mapping 'oblique_mercator' does not say how its axes are turned; write the CRS with "
        'array.rio.write_crs("EPSG:2056").'
    )


@pytest.mark.parametrize(
    ("unit", "crs", "own"), [("rad", 32632, "metre"), ("km", 3031, "metre"), ("m", 2225, "US survey foot")]
)
def test_coordinates_in_another_unit_than_the_crs_are_refused(unit: str, crs: int, own: str) -> None:
    axes = {name: xr.Variable(name, np.arange(20) * 10.0 + 100, {"units": unit}) for name in ("y", "x")}
    with pytest.raises(CrsError) as error:
        open_raster(mapped({"crs_wkt": pyproj.CRS.from_epsg(crs).to_wkt()}, **axes))
    assert str(error.value) == (
        f"'DataArray' has coordinates in {unit}, and its CRS counts in {own}; convert them first, such as "
        "array.assign_coords(x=array.x * factor, y=array.y * factor)."
    )


def test_degrees_without_a_crs_are_those_of_wgs_84_and_float32_coordinates_are_a_grid() -> None:
    latitude = xr.Variable("lat", np.linspace(50, 40, 101).astype(np.float32), {"units": "degrees_north"})
    longitude = xr.Variable("lon", np.linspace(5, 25, 201).astype(np.float32), {"units": "degrees_east"})
    array = xr.DataArray(np.zeros((101, 201), np.float32), {"lat": latitude, "lon": longitude}, ("lat", "lon"))
    raster = open_raster(array)
    assert raster.crs == "EPSG:4326"
    assert raster.transform.almost_equals(Affine(0.1, 0, 4.95, 0, -0.1, 50.05), 1e-5)


def test_nodata_and_units_come_from_attributes_and_decoded_values_mean_themselves(tmp_path: Path) -> None:
    stored = noise(1, 30, 40, "int16")
    stored[0, :5] = -9999
    path = write_raster(tmp_path / "a.tif", stored, nodata=-9999)
    with rasterio.open(path, "r+") as dataset:
        dataset.scales, dataset.offsets = (0.0001,), (-0.1,)
    wanted = open_imagery(path, units=[(0.01, 0.0)])
    masked = rioxarray.open_rasterio(path, mask_and_scale=True)
    for array, digits in ((rioxarray.open_rasterio(path), 7), (masked, 5)):
        raster = open_imagery(array, units=[(0.01, 0.0)])
        for one, two in zip(pixels_of(raster), pixels_of(wanted), strict=True):
            np.testing.assert_allclose(one, two, atol=10**-digits)


def test_bands_have_the_names_of_their_coordinate(scene: Path) -> None:
    array = rioxarray.open_rasterio(scene).assign_coords(band=["red", "green", "blue"])
    assert open_raster(array).bands == ("red", "green", "blue")
    assert_same(open_raster(array.transpose("y", "x", "band")), open_raster(array))
    blue, _ = pixels_of(open_raster(array, bands=["blue"]))
    np.testing.assert_array_equal(blue[0], pixels_of(open_raster(scene))[0][2])
    assert open_raster(array.expand_dims("time")).bands == ("red", "green", "blue")


@pytest.fixture
def scaled(tmp_path: Path) -> Path:
    """Four bands of names and scales of their own."""
    path = write_raster(tmp_path / "s.tif", noise(4, 20, 30, "uint16"), descriptions=["blue", "green", "red", "nir"])
    with rasterio.open(path, "r+") as dataset:
        dataset.scales, dataset.offsets = (0.5, 0.25, 0.125, 1.0), (0, 1, 2, 3)
    return path


@pytest.mark.parametrize("chosen", [[1, 2, 3], [3, 1], [4, 2, 1], [3], 3])
def test_chosen_bands_keep_the_names_and_scales_of_their_numbers(scaled: Path, chosen: Any) -> None:
    """rioxarray leaves the lists of all of a file's bands to the few that were chosen."""
    units = [(0.01, 0.0)] * np.size(chosen)
    names = [["blue", "green", "red", "nir"][number - 1] for number in np.atleast_1d(chosen)]
    wanted = open_imagery(scaled, bands=np.atleast_1d(chosen).tolist(), units=units)
    array = rioxarray.open_rasterio(scaled).sel(band=chosen)
    for raster in (open_imagery(array, units=units), open_imagery(array, bands=names, units=units)):
        assert raster.bands == tuple(names)
        assert_same(raster, wanted)


def test_chosen_bands_whose_names_may_be_of_either_order_are_refused(scaled: Path) -> None:
    array = rioxarray.open_rasterio(scaled).sel(band=[4, 3, 2, 1])
    with pytest.raises(BandError) as error:
        open_raster(array)
    assert str(error.value) == (
        "'DataArray' has the bands 4, 3, 2, 1 of a file and long_name (blue, green, red, nir), which may be in the "
        "order of the file or of the array; write it in the order of the array, and number its bands anew: "
        "array.assign_attrs(long_name=[...]).assign_coords(band=range(1, 5))."
    )
    numbered = array.assign_attrs(long_name=["nir", "red", "green", "blue"]).assign_coords(band=range(1, 5))
    assert open_raster(numbered).bands == ("nir", "red", "green", "blue")
    del array.attrs["long_name"]
    with pytest.raises(BandError, match="and scales "):
        open_raster(array)


def test_a_dataset_of_a_files_bands_has_their_names_and_scales(scaled: Path) -> None:
    units = [(0.01, 0.0)] * 2
    dataset = rioxarray.open_rasterio(scaled).to_dataset("band")
    assert open_raster(dataset).bands == ("blue", "green", "red", "nir")
    wanted = ["nir", "green"]
    for given_ in (dataset, dataset[[1, 2, 4]]):
        assert_same(open_imagery(given_, bands=wanted, units=units), open_imagery(scaled, bands=wanted, units=units))


@pytest.mark.parametrize("times", [np.array(["2020-01-01", "2020-02-01", "2020-03-01"], "M8[ns]"), [2019, 2020, 2021]])
def test_times_are_no_colours(scene: Path, tmp_path: Path, times: Any) -> None:
    array = rioxarray.open_rasterio(scene).load().drop_attrs(deep=False).rename(band="time").assign_coords(time=times)
    array.to_dataset(name="reflectance").to_zarr(tmp_path / "series.zarr")
    for series in (array, tmp_path / "series.zarr"):
        with pytest.raises(BandError, match=r"does not have the band 'red': it has 3 bands: 1 \(time \d+"):
            open_imagery(series, bands=["red", "green", "blue"])
        np.testing.assert_array_equal(pixels_of(open_imagery(series, bands=[2]))[0][0], array[1])
    unnamed = array.drop_vars("time")  # as odc.geo.xr.wrap_xr calls any axis
    assert open_imagery(unnamed, bands=["red", "green", "blue"]).bands == ("red", "green", "blue")


def test_what_is_true_or_false_is_bytes_and_other_byte_orders_are_this_machines() -> None:
    geobox = GeoBox((8, 9), TEN_METRES, "EPSG:32618")
    mask = np.arange(72).reshape(8, 9) % 3 == 0
    assert pixels_of(open_raster(wrap_xr(mask, geobox)))[0].dtype == np.uint8
    foreign = wrap_xr(np.arange(72, dtype=">i4").reshape(8, 9), geobox)
    assert open_raster(foreign).dtype == np.dtype(np.int32)
    np.testing.assert_array_equal(pixels_of(open_raster(foreign))[0][0], np.arange(72).reshape(8, 9))


def test_reading_changes_nothing_of_the_array(scene: Path) -> None:
    array = rioxarray.open_rasterio(scene).load()
    before = array.copy(deep=True)
    pixels, _ = pixels_of(open_imagery(array, scale=3, nodata=5))
    pixels[:] = 0
    assert array.identical(before)


def test_classes_of_an_array_are_its_flags() -> None:
    attributes = {"flag_values": [1, 2], "flag_meanings": "open_water forest"}
    array = wrap_xr(np.ones((4, 5), np.uint8), GeoBox((4, 5), TEN_METRES, "EPSG:32618"), **attributes)
    assert read_legend(open_raster(array)).names == {1: "open_water", 2: "forest"}


def test_content_identifies_an_array(scene: Path) -> None:
    array = rioxarray.open_rasterio(scene).load()
    digest = open_raster(array).fingerprint()[0]["sha256"]
    assert open_raster(array.copy(deep=True)).fingerprint()[0]["sha256"] == digest
    changed = array.copy(deep=True)
    changed[2, 137, 201] += 1
    assert open_raster(changed).fingerprint()[0]["sha256"] != digest


def test_a_lazy_array_is_identified_by_windows_whatever_its_chunks() -> None:
    geobox = GeoBox((500, 700), TEN_METRES, "EPSG:32618")
    values = noise(1, 500, 700)[0]
    one, two = (wrap_xr(da.from_array(values, chunks=size), geobox) for size in (64, 300))
    digests = [open_raster(array).fingerprint()[0]["sha256"] for array in (one, two, one + 1)]
    assert digests[0] == digests[1] != digests[2]


def test_pixels_in_memory_are_written_for_other_processes_once_and_lazy_ones_are_not(
    scene: Path, tmp_path: Path
) -> None:
    lazy = open_raster(rioxarray.open_rasterio(scene, chunks={"y": 64, "x": 64}))
    with sendable(lazy, tmp_path / "sent") as sent:
        assert isinstance(sent.sources[0].array, LazyPixels)  # type: ignore[attr-defined]
        assert not (tmp_path / "sent").exists()
        assert_same(pickle.loads(pickle.dumps(sent)), open_raster(scene))
    raster = open_raster(rioxarray.open_rasterio(scene).load())
    with sendable(raster, tmp_path / "sent") as sent:
        assert isinstance(sent.sources[0].array, FilePixels)  # type: ignore[attr-defined]
        assert len(pickle.dumps(sent)) < 20_000
        assert_same(pickle.loads(pickle.dumps(sent)), open_raster(scene))
    assert not (tmp_path / "sent").exists()


def test_a_graph_that_holds_its_pixels_is_written_too(tmp_path: Path) -> None:
    geobox = GeoBox((3000, 3000), TEN_METRES, "EPSG:32618")
    raster = open_raster(wrap_xr(da.from_array(noise(2, 3000, 3000), chunks=(2, 500, 500)), geobox, axis=1))
    with sendable(raster, tmp_path / "sent") as sent:
        assert len(pickle.dumps(sent)) < 20_000
        np.testing.assert_array_equal(pixels_of(sent)[0], pixels_of(raster)[0])


def array(values: Any, **more: Any) -> xr.DataArray:
    return xr.DataArray(values, dims=("band", "y", "x")[-np.ndim(values) :], **more)


@pytest.mark.parametrize(
    ("given_input", "kind", "sentence"),
    [
        (np.zeros((2, 3, 4)), InputTypeError, "a ndarray is no imagery; give its place too: xarray.DataArray(array"),
        (
            3,
            InputTypeError,
            "a int is no imagery; give a path, an open rasterio dataset, an xarray.DataArray or Dataset.",
        ),
        ({"before": None, "after": "b.tif"}, InputTypeError, "the input's 'before': a NoneType is no imagery; give a"),
        ({"a": "a.tif", "b": {"input": 3}}, InputTypeError, "the input's 'b': a int is no imagery; give a path"),
        (array(np.zeros((3, 4))), CrsError, "'DataArray' has no coordinates of rows and columns; give coordinates, or"),
        (array(np.zeros((3, 4)), name="ndvi"), CrsError, "'DataArray ndvi' has no coordinates"),
        (
            xr.DataArray(np.zeros((2, 3, 4, 5)), dims=("time", "band", "y", "x")),
            BandError,
            "'DataArray' has the axes time, band, y, x, and one of them is for bands; choose one of each other first: "
            "array.isel(time=0).",
        ),
        (xr.DataArray(np.zeros(3)), RasterError, "'DataArray' has the axes (dim_0); give one with rows and columns."),
        (
            array(np.zeros((3, 4)), coords={"y": [0.0, 1, 2], "x": [0.0, 1, 4, 9]}),
            CrsError,
            "the coordinates x of 'DataArray' have no equal steps; resample the array to a regular grid first.",
        ),
        (
            array(np.zeros((3, 4)), coords={"y": [0.0, 1, 2], "x": [0.0, 1, 2, 3]}),
            CrsError,
            "'DataArray' has no coordinate reference system; write it with array.rio.write_crs(\"EPSG:32618\"), or",
        ),
        (array(np.array([["a", "b"]])), RasterError, "'DataArray' holds <U1 values, which are no pixels"),
        (xr.Dataset({"a": 3}), RasterError, "the Dataset has no variable with rows and columns"),
        (
            xr.Dataset({name: (("time", "y", "x"), np.zeros((2, 3, 4))) for name in "ab"}),
            BandError,
            "the variable 'a' of the Dataset has the axis 'time' of length 2, and each of several variables is one "
            "band; choose one of it first: dataset.isel(time=0).",
        ),
    ],
)
def test_what_is_no_raster_is_told_in_one_sentence(given_input: Any, kind: type[GeosegError], sentence: str) -> None:
    with pytest.raises(kind) as told:
        open_raster(given_input)
    assert str(told.value).startswith(sentence)


def test_an_array_without_a_place_is_plain_pixels_where_that_is_said() -> None:
    raster = open_raster(array(noise(3, 20, 30)), crs="local")
    assert raster.is_plain
    assert raster.shape == (20, 30)


def test_a_lazy_array_that_cannot_be_computed_is_told_by_its_cause() -> None:
    def fail(_: np.ndarray) -> np.ndarray:
        raise KeyError("a server that is gone")

    lazy = da.zeros((40, 40), chunks=20, dtype=np.uint8).map_blocks(
        fail, dtype=np.uint8, meta=np.empty((0, 0), np.uint8)
    )
    raster = open_raster(wrap_xr(lazy, GeoBox((40, 40), TEN_METRES, "EPSG:32618")))
    with pytest.raises(RasterReadError, match="KeyError: 'a server that is gone'"):
        raster.read(Window(0, 0, 10, 10))


def test_many_arrays_are_a_mosaic(scene: Path) -> None:
    whole = rioxarray.open_rasterio(scene)
    parts = [whole[:, :, :150], whole[:, :, 150:]]
    assert_same(open_raster(parts), open_raster(scene))
    assert all(isinstance(source, ArraySource) for source in open_raster(parts).sources)


LARGE = """
import resource
import dask.array as da, numpy as np
import geoseg
from affine import Affine
from geoseg import Band, ClassSpec, ModelSpec
from odc.geo.geobox import GeoBox
from odc.geo.xr import wrap_xr

def made(block_info=None):
    (_, _), (top, bottom), (left, right) = block_info[None]["array-location"]
    rows, columns = np.ogrid[top:bottom, left:right]
    pattern = ((rows // 50 + columns // 70) % 2).astype(np.float32) + 1
    return np.broadcast_to(pattern, (6, *pattern.shape)).copy()

chunks = ((6,), (500,) * 12, (500,) * 12)
lazy = da.map_blocks(made, chunks=chunks, dtype=np.float32, meta=np.empty((0, 0, 0), np.float32))
scene = wrap_xr(lazy, GeoBox((6000, 6000), Affine(10, 0, 0, 0, -10, 0), "EPSG:32618"), axis=1)
classes = ClassSpec(0, "a"), ClassSpec(1, "b")
spec = ModelSpec("own", "semantic-segmentation", tuple(map(Band, "abcdef")), classes, tile_size=512, halo=0)
small = dict(y=slice(0, 1000), x=slice(0, 1000))
network = lambda pixels: pixels[:, :2] * pixels.new_tensor([[[0.0]], [[2.0]]]) + pixels.new_tensor([[[3.0]], [[0.0]]])
geoseg.segment(scene.isel(small), network, spec=spec).compute(scheduler="synchronous")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
labels = geoseg.segment(scene, network, spec=spec)
share = float((labels == 1).mean().compute(scheduler="synchronous"))
print(round(share, 3), scene.nbytes // 2**20, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.slow
def test_a_lazy_array_larger_than_what_is_used_is_labelled(tmp_path: Path) -> None:
    share, size, grown = map(float, as_a_file(tmp_path, LARGE).split())
    assert 0.45 < share < 0.55
    assert grown < size / 3, f"{grown:.0f} MiB were needed for an array of {size:.0f} MiB"
