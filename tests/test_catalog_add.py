"""Rasters into the catalog, and results out of a run: valid STAC that finds its way back as input."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pystac
import pytest
import rasterio
import rasterio.features
import shapely
import shapely.geometry
from affine import Affine
from pystac.validation import JsonSchemaSTACValidator

import geoseg
from geoseg.catalog import find_imagery, list_imagery
from geoseg.cli import main
from geoseg.errors import CatalogError, CrsError, WorkflowError
from geoseg.grid import Window
from geoseg.imagery import open_imagery
from geoseg.imagery.adding import add_imagery
from geoseg.imagery.describing import describe
from geoseg.models.spec import ClassSpec
from geoseg.raster import open_raster
from geoseg.raster.bands import band_of_name, common_name
from geoseg.workflow.result_item import class_entry
from tests.networks import Box, write_model
from tests.rasters import TEN_METRES, noise, write_raster
from tests.stac import write_json, write_scene

SIDE = 50


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A catalog of one's own."""
    monkeypatch.setenv("GEOSEG_CATALOG", str(tmp_path / "own"))
    return tmp_path / "own"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two scenes side by side: one of a file with two bands, one of a file a band at two resolutions."""
    folder = tmp_path / "my scenes"
    folder.mkdir()
    write_raster(
        folder / "aerial_20240601.tif",
        noise(2, SIDE, SIDE, "uint16"),
        nodata=0,
        descriptions=["B04, red", "near infrared"],
    )
    right = TEN_METRES @ Affine.translation(SIDE, 0)
    write_raster(folder / "T18-20240715-B04.tif", noise(1, SIDE, SIDE, "uint16", 1), transform=right, nodata=0)
    coarse = right @ Affine.scale(2)
    write_raster(
        folder / "T18-20240715-B08.tif", noise(1, SIDE // 2, SIDE // 2, "uint16", 2), transform=coarse, nodata=0
    )
    (folder / "notes.txt").write_text("no raster")
    return folder


def validate(path: Path) -> Any:
    """Check a document against STAC's own schemas, which pystac brings along."""
    document = json.loads(path.read_text())
    kind = {"Feature": pystac.STACObjectType.ITEM, "Collection": pystac.STACObjectType.COLLECTION}[document["type"]]
    JsonSchemaSTACValidator().validate_core(document, kind, "1.1.0", str(path))
    return pystac.read_file(str(path))


def test_a_folder_becomes_a_valid_collection_with_an_item_a_scene(folder: Path, home: Path) -> None:
    path = add_imagery(folder)
    assert path == home / "imagery" / "my-scenes" / "collection.json"
    collection = validate(path)
    items = {item.id: validate(Path(item.get_self_href())) for item in collection.get_items()}
    assert set(items) == {"aerial_20240601", "T18-20240715"}
    aerial = items["aerial_20240601"]
    assert aerial.datetime is not None
    assert aerial.datetime.isoformat() == "2024-06-01T00:00:00+00:00"
    assert list(items["T18-20240715"].assets) == ["B04", "B08"]
    bands = json.loads(Path(aerial.get_self_href()).read_text())["assets"]["data"]["bands"]
    assert [band["eo:common_name"] for band in bands] == ["red", "nir"]
    assert [(band["data_type"], band["nodata"]) for band in bands] == [("uint16", 0)] * 2
    assert aerial.properties["proj:code"] == "EPSG:32618"
    assert aerial.properties["proj:shape"] == [SIDE, SIDE]
    assert aerial.properties["proj:transform"] == list(TEN_METRES)[:6]
    assert collection.extent.temporal.intervals[0][1].isoformat() == "2024-07-15T00:00:00+00:00"


def test_a_footprint_is_where_the_pixels_are(folder: Path) -> None:
    item = validate(add_imagery(folder).parent / "aerial_20240601" / "aerial_20240601.json")
    corners = shapely.Polygon([TEN_METRES @ corner for corner in ((0, 0), (SIDE, 0), (SIDE, SIDE), (0, SIDE))])
    expected = gpd.GeoSeries([corners], crs="EPSG:32618").to_crs(4326).iloc[0]
    footprint = shapely.geometry.shape(item.geometry)
    assert footprint.symmetric_difference(expected).area < 1e-3 * expected.area
    assert item.bbox == pytest.approx(expected.bounds, abs=1e-6)
    assert footprint.exterior.is_ccw


def test_what_was_added_is_an_input_that_opens_no_file_to_be_planned(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_imagery(folder, name="mine")
    imagery = find_imagery("mine")
    assert len(imagery.paths) == 3
    assert "mine" in [item.name for item in list_imagery()]
    monkeypatch.setattr("geoseg.raster.header.open_dataset", lambda *_: pytest.fail("a file was opened"))
    raster = open_imagery("mine", bands=["B04", "B08"])
    assert raster.shape == (SIDE, 2 * SIDE)
    pixels, mask = raster.read(Window(0, 0, *raster.shape))
    assert mask.all()
    with rasterio.open(folder / "aerial_20240601.tif") as source:
        np.testing.assert_array_equal(pixels[:, :, :SIDE], source.read())
    with rasterio.open(folder / "T18-20240715-B04.tif") as source:
        np.testing.assert_array_equal(pixels[0, :, SIDE:], source.read(1))


def test_a_name_is_taken_over_only_when_that_is_said(folder: Path) -> None:
    path = add_imagery(folder, datetime="2020-01-01")
    with pytest.raises(CatalogError, match="imagery 'my-scenes' is in the catalog already"):
        add_imagery(folder)
    (folder / "aerial_20240601.tif").unlink()
    assert [item.id for item in validate(add_imagery(folder, overwrite=True)).get_items()] == ["T18-20240715"]
    assert validate(path).extent.temporal.intervals[0][0].year == 2024
    with pytest.raises(WorkflowError, match="datetime 'june' cannot be read"):
        add_imagery(folder, name="other", datetime="june")


def test_rasters_that_cannot_be_described_add_nothing(folder: Path, home: Path) -> None:
    write_raster(folder / "unplaced.tif", noise(1, 4, 4), crs=None)
    with pytest.raises(CrsError, match="unplaced"):
        add_imagery(folder)
    (folder / "unplaced.tif").unlink()
    write_raster(folder / "T18-20240715_B04.png.tif", noise(1, 4, 4))
    write_raster(folder / "T18_20240715.tif", noise(1, 4, 4))
    assert not (home / "imagery" / "my-scenes").exists()


def test_the_command_line_adds_and_lists(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["catalog", "add", str(folder), "--name", "mine"]) == 0
    assert "added as mine" in capsys.readouterr().out
    assert main(["catalog"]) == 0
    printed = capsys.readouterr().out
    assert "mine: 3 files" in printed
    assert "delmarva: 1 file," in printed
    assert main(["catalog", "add", str(folder), "--name", "mine"]) == 3


@pytest.mark.parametrize(
    ("text", "name"),
    [("B04, red", "red"), ("near infrared", "nir"), ("SWIR1", "swir16"), ("B05", None), ("Band 1", None),
     ("red, blue", None)],
)  # fmt: skip
def test_common_names_are_taken_from_words_and_not_from_numbers(text: str, name: str | None) -> None:
    assert common_name(text) == name


@pytest.mark.parametrize(
    ("stem", "band"),
    [("T18_B02", "B02"), ("LC08_20240601_red", "red"), ("scene", None), ("B02_B03", None), ("NDVI_2024", None)],
)
def test_a_files_name_tells_its_band(stem: str, band: str | None) -> None:
    assert band_of_name(stem) == band


# Results


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_model(tmp_path / "model", Box(1), name="box", halo=1)


def settings(model: Path, given: object, output: Path, **more: Any) -> dict[str, Any]:
    common = {"model": str(model), "input": str(given), "output": str(output)}
    return {**common, "ramp": 8, "workers": 1, "report": False, **more}


def test_results_of_a_search_say_from_which_items_they_come(model: Path, tmp_path: Path) -> None:
    bands = {"B04": noise(1, SIDE, SIDE)[0], "B08": noise(1, SIDE, SIDE, seed=1)[0]}
    items = [
        write_scene(tmp_path, name, bands, corner=(left, 4_200_000.0), taken=f"{day}T00:00:00Z")
        for name, left, day in (("a", 440_000.0, "2024-06-01"), ("b", 440_500.0, "2024-07-01"))
    ]
    paths = [write_json(tmp_path / "items" / f"{item['id']}.json", item) for item in items]
    region = "440100,4199600,440900,4199900,EPSG:32618"
    wanted = settings(
        model, "", tmp_path / "out", bands=["red", "nir"], region=region, features=["a.gpkg", "b.parquet"]
    )
    geoseg.run({**wanted, "input": [str(path) for path in paths]})
    item = validate(tmp_path / "out" / "item.json")
    assert item.properties["start_datetime"] == "2024-06-01T00:00:00Z"
    assert item.properties["end_datetime"] == "2024-07-01T00:00:00Z"
    for asset in item.assets.values():
        assert Path(asset.get_absolute_href()).is_file()
    assert set(item.assets) == {"labels", "a", "b", "run"}
    derived = [link.href for link in item.links if link.rel == "derived_from"]
    assert derived == [*(f"../items/{path.name}" for path in paths), f"../model/{model.name}"]
    assert [source.id for source in item.get_derived_from()] == ["a", "b", json.loads(model.read_text())["id"]]
    with rasterio.open(item.assets["labels"].get_absolute_href()) as source:
        assert item.properties["proj:shape"] == list(source.shape)
        assert item.properties["proj:transform"] == list(source.transform)[:6]
    bounds = gpd.read_file(tmp_path / "out" / "a.gpkg").to_crs(4326).total_bounds
    np.testing.assert_allclose(item.bbox, bounds, atol=1e-5)
    names = json.loads((tmp_path / "out" / "item.json").read_text())["assets"]["labels"]["bands"][0]
    assert [entry["name"] for entry in names["classification:classes"]] == ["water", "trees", "crops"]


def test_results_of_files_say_from_which_files_and_model_they_come_and_are_an_input(
    model: Path, tmp_path: Path
) -> None:
    scene = write_raster(tmp_path / "scene.tif", noise(2, SIDE, SIDE))
    result = geoseg.run(settings(model, scene, tmp_path / "out", bands=[1, 2], features=[]))
    item = validate(tmp_path / "out" / "item.json")
    links = [(link.rel, link.href) for link in item.links if link.title]
    assert links == [("via", f"../{scene.name}"), ("derived_from", f"../model/{model.name}")]
    assert len([*item.get_derived_from()]) == 1
    labels = open_imagery(tmp_path / "out" / "item.json", bands=["labels"])
    with rasterio.open(result.labels_path) as source:
        np.testing.assert_array_equal(labels.read(Window(0, 0, SIDE, SIDE))[0][0], source.read(1))
    assert labels.geobox == open_raster(result.labels_path).geobox


@pytest.mark.parametrize(
    ("name", "word"),
    [("low_vegetation-2", "low_vegetation-2"), ("Developed, Open Space", "Developed_Open_Space"), ("Straße", "Stra_e"),
     ("水", "class_7"), (" roof ", "roof")],
)  # fmt: skip
def test_classes_of_a_result_are_words_and_keep_their_names_as_titles(name: str, word: str) -> None:
    """The classification extension 2.0 takes names of the pattern ``^[0-9A-Za-z-_]+$`` only."""
    spoken = class_entry(ClassSpec(7, name, "#00ff00", "What it is"))
    assert spoken == {"value": 7, "name": word, "title": name, "description": "What it is", "color_hint": "00FF00"}
    assert class_entry(ClassSpec(7, name, "#00ff00"))["description"] == name


def test_results_in_plain_pixels_are_stac_without_a_place(model: Path, tmp_path: Path) -> None:
    scene = write_raster(tmp_path / "scene.tif", noise(2, SIDE, SIDE), crs=None, transform=None)
    geoseg.run(settings(model, scene, tmp_path / "out", bands=[1, 2], features=[], crs="local"))
    item = validate(tmp_path / "out" / "item.json")
    assert item.geometry is None
    assert item.bbox is None


def test_a_footprint_over_the_antimeridian_is_cut_there() -> None:
    from odc.geo.geobox import GeoBox

    grid = GeoBox((1000, 2000), Affine(100, 0, 700_000, 0, -100, 7_800_000), "EPSG:32760")
    place = describe(grid)
    assert place.geometry is not None
    assert place.geometry["type"] == "MultiPolygon"
    assert place.bbox is not None
    assert place.bbox[0] > 170
    assert place.bbox[2] < -170
    assert all(-180 <= x <= 180 for x, _ in shapely.get_coordinates(shapely.geometry.shape(place.geometry)))
