"""STAC in, one raster out: whatever names the items, whichever CRS they are in, and whatever they leave unsaid."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from pyproj import CRS

import geoseg
from geoseg.cli import main
from geoseg.errors import BandError, CatalogError, RasterReadError, WorkflowError
from geoseg.grid import Window
from geoseg.imagery import open_imagery
from geoseg.imagery.searching import Search, read_query
from geoseg.models.spec import Band
from geoseg.raster import Raster
from geoseg.vector import read_region
from tests.networks import Box, write_model
from tests.rasters import write_raster
from tests.servers import serving
from tests.stac import collection_of, ground, serving_api, write_json, write_scene, write_static

SIDE = 60
MODEL_BANDS = [Band("B04", "red"), Band("B08", "nir")]
EVERYWHERE = "-77,37,-74,39"


def flat(value: int, side: int = SIDE, dtype: str = "uint16") -> Any:
    return np.full((side, side), value, dtype)


def whole(raster: Raster) -> tuple[Any, Any]:
    return raster.read(Window(0, 0, *raster.shape))


def write_item(folder: Path, item: dict[str, Any]) -> str:
    return str(write_json(folder / f"{item['id']}.json", item))


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Three scenes: a beside b, which was taken later, and c far away in another collection."""
    folder = tmp_path_factory.mktemp("scenes")
    return [
        write_scene(folder, "a", {"B04": flat(400), "B08": flat(800)}, cloud_cover=10),
        write_scene(
            folder, "b", {"B04": flat(401), "B08": flat(801)}, corner=(440_600.0, 4_200_000.0), cloud_cover=50,
            taken="2024-07-10T10:00:00Z",
        ),
        write_scene(
            folder, "c", {"B04": flat(402), "B08": flat(802)}, corner=(500_000.0, 4_200_000.0), collection="other"
        ),
    ]  # fmt: skip


@pytest.fixture(scope="module")
def named(scenes: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """The same items by every name that they can have."""
    folder = tmp_path_factory.mktemp("named")
    collection = write_json(folder / "found.geojson", collection_of(*scenes))
    with serving_api(folder, *scenes) as api:
        yield {
            "items": [write_item(folder / "items", item) for item in scenes],
            "item collection": str(collection),
            "catalog": str(write_static(folder / "static", *scenes)),
            "folder": str(folder / "static"),
            "api": api,
        }


# What can be given


@pytest.mark.parametrize("name", ["items", "item collection", "catalog", "folder", "api"])
def test_items_are_one_raster_whatever_names_them(name: str, named: dict[str, Any]) -> None:
    raster = open_imagery(named[name], bands=MODEL_BANDS, region=read_region(EVERYWHERE), collections="scenes")
    assert raster.shape == (SIDE, 2 * SIDE)
    assert raster.bands == ("B04", "B08")
    pixels, mask = whole(raster)
    assert mask.all()
    np.testing.assert_array_equal(pixels[0], np.concatenate([flat(400), flat(401)], axis=1))
    np.testing.assert_array_equal(pixels[1], np.concatenate([flat(800), flat(801)], axis=1))


def test_a_collection_is_an_input_of_its_own(named: dict[str, Any]) -> None:
    for address in (f"{named['folder']}/other/collection.json", f"{named['api']}collections/other"):
        raster = open_imagery(address, bands=["red"], region=read_region(EVERYWHERE))
        assert np.unique(whole(raster)[0]).tolist() == [402]


@pytest.mark.parametrize("name", ["catalog", "api"])
@pytest.mark.parametrize(
    ("search", "found"),
    [
        ({}, "abc"),
        ({"collections": ["other"]}, "c"),
        ({"datetime": "2024-06"}, "ac"),
        ({"datetime": "2024-06-15/.."}, "b"),
        ({"datetime": "2024-07-10"}, "b"),
        ({"query": "eo:cloud_cover<20"}, "a"),
        ({"query": {"eo:cloud_cover": {"gte": 10, "lte": 50}}}, "ab"),
        ({"region": read_region("440100,4199500,440200,4199900,EPSG:32618")}, "a"),
        ({"region": read_region("440500,4199500,440700,4199900,EPSG:32618")}, "ab"),
    ],
)
def test_a_search_finds_the_same_in_files_and_on_a_server(
    name: str, search: dict[str, Any], found: str, named: dict[str, Any]
) -> None:
    raster = open_imagery(named[name], bands=["red"], **{"region": read_region(EVERYWHERE), **search})
    assert "".join(sorted(scene.name for scene in raster.scenes)) == found


def test_nothing_found_is_an_error_that_says_what_was_wanted(named: dict[str, Any]) -> None:
    for name in ("catalog", "api"):
        with pytest.raises(CatalogError, match=r"no item with .*datetime 1999"):
            open_imagery(named[name], datetime="1999", region=read_region(EVERYWHERE))


def test_a_server_is_never_asked_for_the_whole_world(named: dict[str, Any]) -> None:
    with pytest.raises(WorkflowError, match="give --region"):
        open_imagery(named["api"], collections=["scenes"])


def test_a_name_of_the_catalog_is_its_item() -> None:
    raster = open_imagery("delmarva", bands=["nir", "blue"])
    with rasterio.open(raster.sources[0].path) as source:
        assert (raster.shape, raster.transform) == (source.shape, source.transform)
        np.testing.assert_array_equal(whole(raster)[0], source.read([4, 1]))


# Which assets


@pytest.mark.parametrize("version", ["1.1.0", "1.0.0"])
def test_bands_are_found_by_their_common_names_and_read_at_one_resolution(tmp_path: Path, version: str) -> None:
    bands = {"B04": flat(400), "B08": flat(800, SIDE // 2), "B02": flat(200)}
    item = write_item(tmp_path, write_scene(tmp_path, "s", bands, version=version))
    raster = open_imagery(item, bands=["nir", "blue"])
    assert raster.shape == (SIDE, SIDE)
    pixels, mask = whole(raster)
    assert mask.all()
    assert [np.unique(band).tolist() for band in pixels] == [[800], [200]]
    assert np.unique(whole(open_imagery(item, bands=["b04"]))[0]).tolist() == [400]
    assert whole(open_imagery(item, bands=["nir", "blue"], resolution=20))[0].shape == (2, SIDE // 2, SIDE // 2)


def test_of_several_assets_with_one_band_the_finest_geotiff_is_taken_and_pictures_are_not(tmp_path: Path) -> None:
    item = write_scene(tmp_path, "s", {"B04": flat(400)})
    coarse = write_scene(tmp_path, "t", {"B04": flat(7, SIDE // 2)}, size=20.0)["assets"]["b04"]
    fine = item["assets"].pop("b04")
    fine["gsd"], coarse["gsd"] = 10, 20
    item["assets"] = {
        "visual": {**fine, "href": "gone.tif"},
        "red-jp2": {**fine, "href": "gone.jp2", "type": "image/jp2"},
        "b04_20m": coarse,
        "b04_10m": fine,
        "thumbnail": {"href": "gone.jpg", "type": "image/jpeg", "roles": ["thumbnail"]},
        "metadata": {"href": "gone.xml", "type": "application/xml", "roles": ["metadata"]},
    }
    path = write_item(tmp_path, item)
    assert np.unique(whole(open_imagery(path, bands=["red"]))[0]).tolist() == [400]
    assert np.unique(whole(open_imagery(path, bands=["b04_20m"]))[0]).tolist() == [7]


@pytest.mark.parametrize(("key", "role"), [("visual", "data"), ("image", "visual"), ("visual", "visual")])
def test_an_item_of_nothing_but_a_picture_in_colours_is_that_picture(key: str, role: str, tmp_path: Path) -> None:
    write_raster(tmp_path / "s.tif", np.stack([flat(value) for value in (1, 2, 3)]))
    item = write_scene(tmp_path, "t", {"B04": flat(5)})
    names = [{"name": name, "eo:common_name": name} for name in ("red", "green", "blue")]
    gone = {"href": "gone.png", "type": "image/png"}
    item["assets"] = {
        "thumbnail": {**gone, "roles": ["thumbnail"]},
        "overview": {**gone, "roles": ["overview", "visual"]},
        key: {"href": "./s.tif", "type": "image/tiff; application=geotiff", "roles": [role], "bands": names},
    }
    raster = open_imagery(write_item(tmp_path, item), bands=["blue", "red"])
    assert [np.unique(band).tolist() for band in whole(raster)[0]] == [[3], [1]]


def test_a_name_that_fits_different_bands_is_refused(tmp_path: Path) -> None:
    item = write_scene(tmp_path, "s", {"B05": flat(5), "B06": flat(6)})
    for asset in item["assets"].values():
        asset["bands"][0]["eo:common_name"] = "rededge"
    with pytest.raises(BandError, match=r"2 bands that are called 'rededge': it has B05 \(b05\), B06 \(b06\)"):
        open_imagery(write_item(tmp_path, item), bands=["rededge"])


def test_a_band_that_is_not_there_is_named_with_those_that_are(tmp_path: Path) -> None:
    item = write_item(tmp_path, write_scene(tmp_path, "s", {"B04": flat(5)}))
    with pytest.raises(BandError, match=r"item 's' has no band 'B08' \(nir\): it has B04 \(b04\)"):
        open_imagery(item, bands=MODEL_BANDS)


def test_one_file_with_several_bands_is_one_asset(tmp_path: Path) -> None:
    pixels = np.stack([flat(value) for value in (1, 2, 3)])
    path = write_raster(tmp_path / "s.tif", pixels, descriptions=["blue", "red", "nir"])
    item = write_scene(tmp_path, "t", {"B04": flat(5)})
    item["assets"] = {"data": {"href": "./s.tif"}}
    for bands in ([], [{"name": "blue"}, {"name": "red"}, {"name": "nir"}]):
        item["assets"]["data"] = {"href": "./s.tif", **({"bands": bands} if bands else {})}
        raster = open_imagery(write_item(tmp_path, item), bands=["nir", "blue"])
        assert [np.unique(band).tolist() for band in whole(raster)[0]] == [[3], [1]]
        assert [source.path for source in raster.sources] == [str(path)]


# What items say, and what they leave unsaid


def test_a_plan_opens_no_file_when_items_say_everything(tmp_path: Path) -> None:
    item = write_scene(tmp_path, "s", {"B04": flat(5), "B08": flat(6)})
    for asset in item["assets"].values():
        Path(asset["href"]).rename(asset["href"] + ".hidden")
    raster = open_imagery(write_item(tmp_path, item), bands=MODEL_BANDS)
    assert raster.shape == (SIDE, SIDE)
    with pytest.raises(RasterReadError, match=r"s_B04\.tif' cannot be read .* run the same command again"):
        whole(raster)


def test_what_an_item_leaves_unsaid_is_read_from_its_files(tmp_path: Path) -> None:
    pixels = flat(400)
    pixels[:5] = 9
    item = write_scene(tmp_path, "s", {"B04": pixels}, nodata=9)
    expected = open_imagery(write_item(tmp_path, item), bands=["red"])
    asset = item["assets"]["b04"]
    for key in ("proj:shape", "proj:transform"):
        del asset[key]
    asset["bands"][0] = {"name": "B04", "eo:common_name": "red"}
    del item["properties"]["proj:code"]
    raster = open_imagery(write_item(tmp_path / "bare", item), bands=["red"])
    assert raster.geobox == expected.geobox
    assert raster.dtype == expected.dtype
    for one, other in zip(whole(raster), whole(expected), strict=True):
        np.testing.assert_array_equal(one, other)
    assert not whole(raster)[1][:5].any()


def test_nodata_of_the_item_counts_where_the_file_declares_none(tmp_path: Path) -> None:
    pixels = flat(400)
    pixels[3, 4] = 0
    item = write_scene(tmp_path, "s", {"B04": pixels}, nodata=None)
    assert whole(open_imagery(write_item(tmp_path, item), bands=["red"]))[1].all()
    item["assets"]["b04"]["bands"][0]["nodata"] = 0
    mask = whole(open_imagery(write_item(tmp_path, item), bands=["red"]))[1]
    assert np.argwhere(~mask).tolist() == [[3, 4]]


def test_a_code_that_places_the_file_elsewhere_is_refused(tmp_path: Path) -> None:
    own = "+proj=utm +zone=33 +ellps=intl +towgs84=-104.1,-49.1,-9.9,0.971,-2.917,0.714,-11.68 +units=m"
    item = write_scene(tmp_path, "s", {"B04": flat(400)}, crs=own)
    item["properties"]["proj:code"] = "EPSG:23033"  # what GDAL guesses: 186 m away
    raster = open_imagery(write_item(tmp_path, item), bands=["red"])
    with pytest.raises(RasterReadError, match="has the CRS 'unknown' and its catalog says EPSG:23033; correct"):
        whole(raster)
    item["properties"]["proj:code"], item["properties"]["proj:wkt2"] = None, CRS.from_user_input(own).to_wkt()
    assert whole(open_imagery(write_item(tmp_path, item), bands=["red"]))[1].all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"proj:transform": [10, 0, 440_010, 0, -10, 4_200_000]}, r"px at .*440000.* says 60 x 60 px at .*440010"),
        ({"proj:shape": [SIDE, SIDE + 1]}, "60 x 60 px at .* says 61 x 60 px"),
        ({"proj:code": "EPSG:32617"}, "EPSG:32618 and its catalog says EPSG:32617"),
        ({"bands": [{"name": "B04", "eo:common_name": "red", "data_type": "uint8"}]}, "uint16 pixels .* says uint8"),
    ],
)  # fmt: skip
def test_a_file_that_is_not_what_its_item_says_is_never_read(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    item = write_scene(tmp_path, "s", {"B04": flat(5)})
    item["assets"]["b04"].update(change)
    raster = open_imagery(write_item(tmp_path, item), bands=["red"])
    with pytest.raises(RasterReadError, match=message):
        raster.read(Window(0, 0, 10, 10))


def sentinel_2(folder: Path, name: str, offset: float | None, **properties: Any) -> dict[str, Any]:
    """A scene of one reflectance, 0.3, with digital numbers as its offset wants them, and pixels below zero."""
    number = 3000 if offset is None else round(3000 - offset * 10_000)
    pixels = flat(number)
    pixels[0] = 500
    corner = (440_000.0 + 600 * (offset is not None), 4_200_000.0)
    item = write_scene(folder, name, {"B04": pixels}, corner=corner, properties=properties)
    band = item["assets"]["b04"]["bands"][0]
    band["raster:scale"] = 0.0001
    if offset is not None:
        band["raster:offset"] = offset
    return item


def test_scenes_with_and_without_an_offset_mean_the_same(tmp_path: Path) -> None:
    old, new = sentinel_2(tmp_path, "old", None), sentinel_2(tmp_path, "new", -0.1)
    path = str(write_json(tmp_path / "both.json", collection_of(old, new)))
    pixels, mask = whole(open_imagery(path, bands=["red"]))
    assert mask.all()
    assert np.unique(pixels[0, 1:]).tolist() == [3000]
    assert np.unique(pixels[0, 0]).tolist() == [0, 500]  # 500 - 1000 is below what a uint16 holds
    kept = open_imagery(path, bands=["red"], remove_offset=False)
    assert np.unique(whole(kept)[0][0, 1:]).tolist() == [3000, 4000]
    assert kept.treatment() != open_imagery(path, bands=["red"]).treatment()


def test_an_offset_that_was_taken_off_already_is_not_taken_off_twice(tmp_path: Path) -> None:
    item = sentinel_2(tmp_path, "s", -0.1, **{"earthsearch:boa_offset_applied": True})
    assert np.unique(whole(open_imagery(write_item(tmp_path, item), bands=["red"]))[0][0, 1:]).tolist() == [4000]


def test_scenes_of_another_scale_are_brought_to_that_of_the_first(tmp_path: Path) -> None:
    first = sentinel_2(tmp_path, "first", None)
    other = write_scene(tmp_path, "other", {"B04": flat(12_000)}, corner=(441_200.0, 4_200_000.0))
    other["assets"]["b04"]["bands"][0].update({"raster:scale": 0.000_02, "raster:offset": 0.06})
    path = str(write_json(tmp_path / "both.json", collection_of(first, other)))
    assert np.unique(whole(open_imagery(path, bands=["red"]))[0][0, 1:, -SIDE:]).tolist() == [3000]


# Many CRS, one grid


def place(crs: str, transform: Affine, shape: tuple[int, int]) -> Any:
    """A field that depends on nothing but the place on earth, to some percent of its range a pixel."""
    longitude, latitude = ground(crs, transform, shape)
    return 2000 + 1e4 * (longitude + 75) + 1e4 * (latitude - 37.9)


@pytest.fixture(scope="module")
def zones(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Four scenes on both sides of the border of two UTM zones, at 78 degrees west; three lie in the eastern one."""
    folder = tmp_path_factory.mktemp("zones")
    items = []
    for name, crs, left in (
        ("east1", "EPSG:32618", 236_000.0),
        ("east2", "EPSG:32618", 237_500.0),
        ("west", "EPSG:32617", 762_000.0),
        ("east3", "EPSG:32618", 239_005.0),
    ):
        transform = Affine(10, 0, left, 0, -10, 4_200_000.0)
        pixels = np.rint(place(crs, transform, (200, 180)) + 40_000).astype(np.uint16)
        items.append(write_scene(folder, name, {"B04": pixels}, crs=crs, corner=(left, 4_200_000.0)))
    return str(write_json(folder / "zones.json", collection_of(*items)))


def test_scenes_of_many_crs_are_read_on_the_grid_of_most(zones: str) -> None:
    raster = open_imagery(zones, bands=["red"])
    assert str(raster.crs) == "EPSG:32618"
    assert (raster.transform.a, raster.transform.e) == (10, -10)
    assert raster.transform.c % 10 == 0
    pixels, mask = whole(raster)
    expected = place("EPSG:32618", raster.transform, raster.shape) + 40_000
    assert mask.mean() > 0.6
    assert np.abs(pixels[0] - expected)[mask].max() < 1.5
    assert raster.is_resampled


def test_the_grid_does_not_depend_on_the_order_of_items(zones: str, tmp_path: Path) -> None:
    items = json.loads(Path(zones).read_text())["features"]
    turned = str(write_json(tmp_path / "turned.json", collection_of(*items[::-1])))
    assert open_imagery(turned, bands=["red"]).geobox == open_imagery(zones, bands=["red"]).geobox


@pytest.mark.parametrize("mosaic", ["first", "median"])
def test_any_windows_read_the_same_bits(zones: str, mosaic: Any) -> None:
    raster = open_imagery(zones, bands=["red"], resolution=14, mosaic=mosaic)
    pixels, mask = whole(raster)
    height, width = raster.shape
    for size in (37, 128):
        for y in range(0, height, size):
            for x in range(0, width, size):
                window = Window(y, x, min(size, height - y), min(size, width - x))
                found, valid = pickle.loads(pickle.dumps(raster)).read(window)
                np.testing.assert_array_equal(found, pixels[:, y : y + size, x : x + size])
                np.testing.assert_array_equal(valid, mask[y : y + size, x : x + size])


def test_the_raster_ends_where_the_region_ends(zones: str) -> None:
    full = open_imagery(zones, bands=["red"])
    region = read_region("237003,4199101,237777,4199888,EPSG:32618")
    part = open_imagery(zones, bands=["red"], region=region)
    left, top = ~full.transform @ (part.transform.c, part.transform.f)
    assert (left, top) == (round(left), round(top))
    assert (part.transform.c, part.transform.f) == (237_000, 4_199_890)
    assert part.shape == (79, 78)
    for one, other in zip(whole(part), full.read(Window(round(top), round(left), *part.shape)), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_window_opens_no_file_but_those_that_touch_it(named: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    raster = open_imagery(named["catalog"], bands=["red"])
    opened: list[str] = []
    read = type(raster.sources[0]).read
    monkeypatch.setattr(
        "geoseg.raster.asset.Asset.read", lambda source, window: (opened.append(source.path), read(source, window))[1]
    )
    raster.read(Window(0, 0, SIDE, SIDE))
    assert [Path(path).name for path in opened] == ["a_B04.tif"]
    opened.clear()
    assert not raster.read(Window(0, 300, SIDE, SIDE))[1].any()
    assert opened == []


# Masks


@pytest.fixture
def clouded(tmp_path: Path) -> dict[str, Any]:
    """Two scenes of one place; the left half of the first is clouded, and the top of both, at half the resolution."""
    classes = flat(4, SIDE // 2, "uint8")
    classes[:, : SIDE // 4] = 9
    classes[0] = 0
    first = write_scene(tmp_path, "first", {"B04": flat(400), "SCL": classes})
    clear = flat(4, SIDE // 2, "uint8")
    clear[0] = 3
    second = write_scene(tmp_path, "second", {"B04": flat(500), "SCL": clear})
    return {"path": str(write_json(tmp_path / "both.json", collection_of(first, second))), "first": first}


def test_clouds_are_filled_by_the_scene_below(clouded: dict[str, Any]) -> None:
    raster = open_imagery(clouded["path"], bands=["red"], mask={"asset": "scl", "exclude": [3, 8, 9, 10]})
    pixels, mask = whole(raster)
    assert not mask[:2].any()
    assert mask[2:].all()
    assert np.unique(pixels[0, 2:, : SIDE // 2]).tolist() == [500]
    assert np.unique(pixels[0, 2:, SIDE // 2 :]).tolist() == [400]
    assert np.unique(pixels[0, :2]).tolist() == [0]


def test_a_mask_may_be_of_bits_and_is_written_in_words(clouded: dict[str, Any]) -> None:
    words = open_imagery(clouded["path"], bands=["red"], mask="scl: 3, 9")
    bits = open_imagery(clouded["path"], bands=["red"], mask={"asset": "scl", "bits": [0]})
    np.testing.assert_array_equal(whole(words)[0], whole(bits)[0])
    assert words.treatment() != bits.treatment()


def test_a_file_of_classes_masks_files_of_bands(clouded: dict[str, Any]) -> None:
    files = {key: asset["href"] for key, asset in clouded["first"]["assets"].items()}
    raster = open_imagery(files, mask="scl:9")
    assert raster.bands == ("b04",)
    mask = whole(raster)[1]
    assert not mask[:, : SIDE // 2].any()
    assert mask[2:, SIDE // 2 :].all()


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        ("scl", "excludes no values"),
        ({"asset": "scl", "exclude": ["cloud"]}, "cannot be used"),
        ({"asset": "scl", "excludes": [3]}, "unknown key 'excludes'"),
        ({"exclude": [3]}, "cannot be used"),
    ],
)
def test_a_mask_of_another_form_is_refused(mask: Any, message: str, clouded: dict[str, Any]) -> None:
    with pytest.raises(WorkflowError, match=message):
        open_imagery(clouded["path"], bands=["red"], mask=mask)


def test_a_mask_that_no_item_has_is_refused(clouded: dict[str, Any]) -> None:
    with pytest.raises(BandError, match="no band 'clouds'"):
        open_imagery(clouded["path"], bands=["red"], mask="clouds:1")


# Words


@pytest.mark.parametrize(
    ("given", "query"),
    [
        ("eo:cloud_cover<20", {"eo:cloud_cover": {"lt": 20}}),
        (["gsd >= 0.3", "gsd<1"], {"gsd": {"gte": 0.3, "lt": 1}}),
        ("platform=sentinel-2a", {"platform": {"eq": "sentinel-2a"}}),
        ("gsd==10", {"gsd": {"eq": 10}}),
        ({"platform": "sentinel-2a", "gsd": {"in": [10]}}, {"platform": {"eq": "sentinel-2a"}, "gsd": {"in": [10]}}),
    ],
)
def test_conditions_are_written_in_words(given: Any, query: Any) -> None:
    assert read_query(given) == query


@pytest.mark.parametrize("given", ["cloudy", "eo:cloud_cover ~ 3", "gsd=<3", "gsd=>3", {"gsd": {"about": 3}}])
def test_conditions_of_another_form_are_refused(given: Any) -> None:
    with pytest.raises(WorkflowError, match="query"):
        read_query(given)


def test_dates_of_another_form_are_refused(named: dict[str, Any]) -> None:
    with pytest.raises(WorkflowError, match="datetime 'last summer' cannot be read; write 2024-06-15"):
        open_imagery(named["catalog"], datetime="last summer")
    with pytest.raises(WorkflowError, match="datetime '2024-08/2024-06' ends before it begins; write the earlier"):
        open_imagery(named["catalog"], datetime="2024-08/2024-06")


def test_an_interval_of_an_item_counts_whole() -> None:
    item = {"properties": {"datetime": None, "start_datetime": "2024-01-01T00:00:00Z", "end_datetime": "2024-03-01"}}
    for text, is_wanted in (("2024-02", True), ("2023", False), ("2024-02-20/2025-01-01", True), ("2024-04", False)):
        assert Search(datetime=text).accepts(item) is is_wanted


@pytest.mark.parametrize("search", [{"datetime": "2024"}, {"collections": ["a"]}, {"query": "a=1"}])
def test_files_cannot_be_searched(tmp_path: Path, search: dict[str, Any]) -> None:
    with pytest.raises(WorkflowError, match="is not a STAC catalog or API"):
        open_imagery(write_raster(tmp_path / "a.tif", flat(1)), **search)


def test_json_that_is_no_stac_is_refused_in_one_sentence(tmp_path: Path) -> None:
    polygons = write_json(tmp_path / "a.geojson", {"type": "FeatureCollection", "features": []})
    with pytest.raises(CatalogError, match="holds no imagery; give rasters as input"):
        open_imagery(polygons)
    with pytest.raises(CatalogError, match="is JSON but no STAC"):
        open_imagery(write_json(tmp_path / "b.json", {"a": 1}))
    (tmp_path / "c.json").write_text("{")
    with pytest.raises(CatalogError, match="cannot be read as STAC"):
        open_imagery(tmp_path / "c.json")
    with pytest.raises(CatalogError, match="cannot be read as STAC"):
        open_imagery("http://127.0.0.1:9/v1")


# Runs


def test_a_run_from_a_search_is_the_run_of_its_files(named: dict[str, Any], tmp_path: Path) -> None:
    model = write_model(tmp_path / "model", Box(1), name="box", halo=1)
    common = {"model": str(model), "ramp": 8, "workers": 1, "bands": ["red", "nir"], "region": EVERYWHERE}
    wanted = {**common, "input": named["api"], "collections": ["scenes"], "mosaic": "newest"}
    result = geoseg.run(wanted, output=str(tmp_path / "out"))
    with rasterio.open(result.labels_path) as source:
        assert source.shape == (SIDE, 2 * SIDE)
        assert (source.read(1) != 255).all()
    first = geoseg.plan(wanted)
    assert first.fingerprint() == geoseg.plan(wanted).fingerprint()
    assert first.fingerprint() != geoseg.plan(wanted, mosaic="median").fingerprint()
    lazy = geoseg.segment(
        named["catalog"], str(model), bands=["red", "nir"], ramp=8, collections=["scenes"], mosaic="newest"
    )
    with rasterio.open(result.labels_path) as source:
        np.testing.assert_array_equal(lazy.compute(), source.read(1))


def test_every_word_is_an_option_too(named: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = write_model(tmp_path / "model", Box(1), name="box", halo=1)
    workflow = tmp_path / "map.yaml"
    workflow.write_text(f"model: {model}\nramp: 8\nworkers: 1\nbands: [red, nir]\n")
    words = [
        "--collections",
        "scenes,other",
        "--datetime",
        "2024-06",
        "--query",
        "eo:cloud_cover<20",
        "--no-remove-offset",
    ]
    given = [*words, "--query", "eo:cloud_cover>5", "--mosaic", "newest", "--mask", "b04:9", "--region", EVERYWHERE]
    assert main(["plan", str(workflow), "--input", named["catalog"], *given]) == 0
    assert f"{SIDE} x {SIDE} px, EPSG:32618" in capsys.readouterr().out


def test_another_version_of_a_remote_asset_is_another_input(tmp_path: Path) -> None:
    item = write_scene(tmp_path, "s", {"B04": flat(5)})
    asset = item["assets"]["b04"]
    prints = []
    for href, checksum in (("?sig=1", "12"), ("?sig=2", "12"), ("?sig=3", "34")):
        asset |= {"href": f"https://example.com/s.tif{href}", "file:checksum": checksum}
        prints.append(open_imagery(write_item(tmp_path, item), bands=["red"]).fingerprint())
    assert prints[0] == prints[1] != prints[2]


def test_assets_of_the_planetary_computer_are_signed_where_they_are_read(tmp_path: Path) -> None:
    item = write_scene(tmp_path, "s", {"B04": flat(5)}, collection="sentinel-2-l2a")
    item["assets"]["b04"]["href"] = "https://account.blob.core.windows.net/s.tif"
    home = "https://planetarycomputer.microsoft.com/api/stac/v1/collections/sentinel-2-l2a/items/s"
    item["links"] = [{"rel": "self", "href": home}]
    raster = open_imagery(write_item(tmp_path, item), bands=["red"])
    assert raster.sources[0].path == (
        "/vsicurl?pc_url_signing=yes&pc_collection=sentinel-2-l2a&url=https://account.blob.core.windows.net/s.tif"
    )
    assert raster.fingerprint()[0]["path"] == "https://account.blob.core.windows.net/s.tif"


@pytest.mark.parametrize(
    "href", ["file:///etc/scene.tif", "/vsicurl/http://127.0.0.1/s.tif", "/vsizip//etc/a.zip/s.tif", "vrt:///etc/s.tif"]
)
def test_a_document_from_the_network_names_no_file_of_its_reader(href: str, tmp_path: Path) -> None:
    item = write_scene(tmp_path, "s", {"B04": flat(5), "B08": flat(6)})
    own = item["assets"]["b04"]["href"]
    item["assets"]["b04"]["href"] = href
    item["assets"]["b08"]["href"] = "./s_B08.tif"
    item["links"] = [{"rel": "self", "href": f"file://{tmp_path}/s.json"}]
    catalog = {"type": "Catalog", "stac_version": "1.1.0", "id": "c", "description": "c"}
    catalog["links"] = [{"rel": "item", "href": f"file://{tmp_path}/s.json"}]
    write_item(tmp_path, item)
    write_json(tmp_path / "catalog.json", catalog)
    with serving(tmp_path) as server:
        for name in ("s.json", "catalog.json"):
            with pytest.raises(CatalogError, match=r"comes from the network and names '.*', which is not an address"):
                open_imagery(f"{server.url}/{name}", bands=["red"])
        assert np.unique(whole(open_imagery(f"{server.url}/s.json", bands=["nir"]))[0]).tolist() == [6]
    item["assets"]["b04"]["href"] = f"file://{own}"
    item["links"] = [{"rel": "self", "href": "https://example.com/s.json"}]
    assert np.unique(whole(open_imagery(write_item(tmp_path, item), bands=["red"]))[0]).tolist() == [5]
