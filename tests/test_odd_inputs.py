"""Inputs that are unusual and valid, or broken in a part: bands of several types, legends, catalogs, geometries."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import rasterio.shutil
import shapely
import shapely.geometry
from affine import Affine
from odc.geo.geobox import GeoBox
from scipy.io import netcdf_file

from geoseg.errors import BandError, CatalogError, GeosegError, InputWarning, RegionError
from geoseg.evaluation.features import read_features
from geoseg.grid import Window
from geoseg.imagery import open_imagery
from geoseg.models.spec import Band
from geoseg.prompting import read_prompts
from geoseg.raster import open_raster, read_legend
from geoseg.training.labels import _features
from geoseg.training.recipe_parts import PolygonLabels
from geoseg.vector import read_region
from tests.rasters import write_raster
from tests.servers import serving
from tests.stac import collection_of, write_json, write_scene

TYPES = [("uint8", "uint16"), ("int16", "float32"), ("uint8", "int16"), ("float32", "float64"), ("uint16", "int32")]


@pytest.mark.parametrize("types", TYPES)
def test_bands_of_several_types_are_read_as_their_common_type(tmp_path: Path, types: tuple[str, str]) -> None:
    random = np.random.default_rng(0)
    bands = [random.integers(1, 120, (30, 40)).astype(dtype) for dtype in types]
    names = [write_raster(tmp_path / f"{index}.tif", band).name for index, band in enumerate(bands)]
    kinds = {"uint8": "Byte", "uint16": "UInt16", "int16": "Int16", "int32": "Int32", "float32": "Float32"}
    rows = "".join(
        f'<VRTRasterBand dataType="{kinds.get(dtype, "Float64")}" band="{index + 1}"><SimpleSource>'
        f'<SourceFilename relativeToVRT="1">{name}</SourceFilename><SourceBand>1</SourceBand></SimpleSource>'
        "</VRTRasterBand>"
        for index, (name, dtype) in enumerate(zip(names, types, strict=True))
    )
    with rasterio.open(tmp_path / names[0]) as file:
        place, crs = ", ".join(map(str, file.transform.to_gdal())), file.crs.to_wkt()
    text = f'<VRTDataset rasterXSize="40" rasterYSize="30"><SRS>{crs.replace(chr(34), "&quot;")}</SRS>'
    (tmp_path / "a.vrt").write_text(f"{text}<GeoTransform>{place}</GeoTransform>{rows}</VRTDataset>")
    raster = open_raster(str(tmp_path / "a.vrt"))
    pixels, mask = raster.read(Window(3, 4, 20, 30))
    assert raster.dtype == pixels.dtype == np.result_type(*types)
    assert mask.all()
    for band, expected in zip(pixels, bands, strict=True):
        np.testing.assert_array_equal(band, expected[3:23, 4:34])


RAT = (
    "<GDALRasterAttributeTable>"
    '<FieldDefn index="0"><Name>Value</Name><Type>0</Type><Usage>5</Usage></FieldDefn>'
    '<FieldDefn index="1"><Name>Count</Name><Type>0</Type><Usage>1</Usage></FieldDefn>'
    '<FieldDefn index="2"><Name>Class_Name</Name><Type>2</Type><Usage>2</Usage></FieldDefn>'
    '<Row index="0"><F>0</F><F>12</F><F>Open Water</F></Row><Row index="1"><F>41</F><F>3</F><F>Forest</F></Row>'
    "</GDALRasterAttributeTable>"
)
BY_NAME = RAT.replace("<Usage>5", "<Usage>0").replace("<Usage>2", "<Usage>0")
CATEGORIES = "<CategoryNames><Category>water</Category><Category></Category><Category>trees</Category></CategoryNames>"


@pytest.mark.parametrize(
    ("content", "names"),
    [
        (RAT, {0: "Open Water", 41: "Forest"}),
        (BY_NAME, {0: "Open Water", 41: "Forest"}),
        (CATEGORIES, {0: "water", 2: "trees"}),
        ("", {}),
    ],
)
def test_names_of_classes_stand_beside_the_file(tmp_path: Path, content: str, names: dict[int, str]) -> None:
    path = write_raster(tmp_path / "a.tif", np.zeros((9, 9), np.uint8))
    sidecar = path.with_name("a.tif.aux.xml")
    sidecar.write_text(f'<PAMDataset><PAMRasterBand band="1">{content}</PAMRasterBand></PAMDataset>')
    assert read_legend(open_raster(str(path))).names == names


ROWS = (
    '<GDALRasterAttributeTable Row0Min="10" BinSize="1">'
    '<FieldDefn index="0"><Name>Histogram</Name><Type>1</Type><Usage>1</Usage></FieldDefn>'
    '<FieldDefn index="1"><Name>NLCD Land Cover Class</Name><Type>2</Type><Usage>0</Usage></FieldDefn>'
    '<Row index="0"><F>0</F><F></F></Row><Row index="1"><F>9</F><F>Open Water</F></Row>'
    '<Row index="2"><F>8</F><F>Developed, Open Space</F></Row></GDALRasterAttributeTable>'
)


def _described(folder: Path, content: str) -> Path:
    path = write_raster(folder / "a.tif", np.zeros((9, 9), np.uint8))
    path.with_name("a.tif.aux.xml").write_text(
        f'<PAMDataset><PAMRasterBand band="1">{content}</PAMRasterBand></PAMDataset>'
    )
    return path


@pytest.mark.parametrize("content", [RAT, BY_NAME])
def test_names_of_classes_stand_within_an_image_of_erdas(tmp_path: Path, content: str) -> None:
    rasterio.shutil.copy(_described(tmp_path, content), tmp_path / "a.img", driver="HFA")
    tmp_path.joinpath("a.img.aux.xml").unlink(missing_ok=True)
    assert read_legend(open_raster(str(tmp_path / "a.img"))).names == {0: "Open Water", 41: "Forest"}


def test_rows_of_a_table_without_values_count_from_its_first_bin(tmp_path: Path) -> None:
    path = _described(tmp_path, ROWS)
    assert read_legend(open_raster(str(path))).names == {11: "Open Water", 12: "Developed, Open Space"}
    rasterio.shutil.copy(_described(tmp_path, ROWS.replace("10", "0")), tmp_path / "a.img", driver="HFA")
    tmp_path.joinpath("a.img.aux.xml").unlink(missing_ok=True)
    assert read_legend(open_raster(str(tmp_path / "a.img"))).names == {1: "Open Water", 2: "Developed, Open Space"}
    two_texts = _described(tmp_path, ROWS.replace("<Type>1", "<Type>2"))
    assert read_legend(open_raster(str(two_texts))).names == {}


def test_names_of_classes_beside_a_file_are_read_from_a_server(tmp_path: Path) -> None:
    _described(tmp_path, CATEGORIES)
    with serving(tmp_path) as traffic:
        assert read_legend(open_raster(f"{traffic.url}/a.tif")).names == {0: "water", 2: "trees"}


def _netcdf(path: Path, dimension: str) -> Path:
    with netcdf_file(path, "w") as file:
        places = {dimension: np.arange(3.0), "lat": 40 - np.arange(20) * 0.1, "lon": 10 + np.arange(30) * 0.1}
        for name, values in places.items():
            file.createDimension(name, len(values))
            variable = file.createVariable(name, "d", (name,))
            variable[:] = values
        file.variables["lat"].units, file.variables["lon"].units = "degrees_north", "degrees_east"
        file.createVariable("v", "f", tuple(places))[:] = np.ones((3, 20, 30))
    return path


def test_dates_of_a_netcdf_variable_are_no_colours(tmp_path: Path) -> None:
    colours = [Band("red"), Band("green"), Band("blue")]
    dates = str(_netcdf(tmp_path / "time.nc", "time"))
    with pytest.raises(BandError, match=r"3 bands: 1 \(time 0\), 2 \(time 1\), 3 \(time 2\)"):
        open_raster(dates, bands=colours, crs="EPSG:4326")
    assert open_raster(dates, bands=[1, 2, 3], crs="EPSG:4326").bands == ("time 0", "time 1", "time 2")
    spectral = open_raster(str(_netcdf(tmp_path / "band.nc", "band")), bands=colours, crs="EPSG:4326")
    assert len(spectral.bands) == 3


def _item(tmp_path: Path) -> dict[str, Any]:
    return write_scene(tmp_path, "s", {"B04": np.full((20, 20), 5, np.uint16)})


WRONG: list[tuple[str, Any]] = [
    ("properties", []), ("properties", "x"), ("assets", []), ("assets", {"b04": 3}), ("geometry", {"type": "Polygon"}),
    ("geometry", 7), ("bbox", "west"), ("links", 5), ("links", ["x"]),
    ("properties", {"datetime": 5}), ("properties", {"datetime": "yesterday"}),
]  # fmt: skip


@pytest.mark.parametrize(("field", "value"), WRONG)
def test_field_of_another_type_is_told_in_a_sentence(tmp_path: Path, field: str, value: Any) -> None:
    item = _item(tmp_path) | {field: value}
    if field == "bbox":
        item["geometry"] = None
    path = write_json(tmp_path / "items.json", collection_of(item))
    region = read_region("-80,37,-70,39")
    try:
        open_imagery(str(path), bands=["red"], region=region, datetime="2024")
    except GeosegError as error:
        assert "\n" not in str(error)


def test_catalogs_that_link_each_other_end(tmp_path: Path) -> None:
    head = {"type": "Catalog", "stac_version": "1.1.0", "description": "."}
    for own, other in (("a", "b"), ("b", "a")):
        links = [{"rel": "child", "href": f"./{other}.json"}]
        write_json(tmp_path / f"{own}.json", {**head, "id": own, "links": links})
    with pytest.raises(CatalogError, match="has no item"):
        open_imagery(str(tmp_path / "a.json"))


def test_features_without_geometry_are_counted(tmp_path: Path) -> None:
    shapes = [shapely.box(0, 0, 1, 1), None, shapely.Polygon()]
    gpd.GeoDataFrame(geometry=shapes, crs="EPSG:4326").to_file(tmp_path / "a.gpkg")
    with pytest.warns(InputWarning, match=r"2 of 3 features of the region '.*' have no geometry; left out"):
        assert read_region(tmp_path / "a.gpkg").geometry.area == 1


LINE_AND_BACK = shapely.Polygon([(2, 2), (3, 3), (4, 4)])
BOW_TIE = shapely.Polygon([(5, 0), (6, 1), (6, 0), (5, 1)])


def unusable_features(path: Path) -> Path:
    """A square, a bow tie, and three features that cover nothing."""
    shapes = [shapely.box(0, 0, 1, 1), BOW_TIE, None, LINE_AND_BACK, LINE_AND_BACK]
    gpd.GeoDataFrame({"class": [1] * 5, "kind": ["wood"] * 5}, geometry=shapes, crs="EPSG:4326").to_file(path)
    return path


@pytest.mark.parametrize("what", ["region", "truth", "layer of prompts", "polygons"])
def test_features_without_geometry_or_area_are_counted_wherever_they_are_read(tmp_path: Path, what: str) -> None:
    path = unusable_features(tmp_path / "a.gpkg")
    grid = GeoBox((70, 70), Affine(0.1, 0, 0, 0, -0.1, 7), "EPSG:4326")
    layer = PolygonLabels.model_validate({"polygons": str(path), "column": "kind"})
    counts = {
        "region": lambda: read_region(path).geometry.area,
        "truth": lambda: read_features(path, "truth").shapes.size,
        "layer of prompts": lambda: len(read_prompts(path, grid).boxes),
        "polygons": lambda: len(_features(path, layer)),
    }
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        assert counts[what]() == pytest.approx(1.5 if what == "region" else 2)
    assert [str(item.message) for item in told if item.category is InputWarning] == [
        f"1 of 5 features of the {what} '{path}' have no geometry; left out.",
        f"2 of 5 features of the {what} '{path}' have a polygon without area; left out.",
    ]


def test_region_of_lines_and_back_covers_no_area(tmp_path: Path) -> None:
    gpd.GeoDataFrame(geometry=[LINE_AND_BACK], crs="EPSG:4326").to_file(tmp_path / "a.gpkg")
    with pytest.raises(RegionError, match="covers no area"):
        read_region(tmp_path / "a.gpkg")


def test_ring_that_is_open_is_told_in_a_sentence(tmp_path: Path) -> None:
    ring = [[0, 0], [1, 0], [1, 1], [0, 1]]
    feature = {"type": "Feature", "properties": {}, "geometry": {"type": "Polygon", "coordinates": [ring]}}
    (tmp_path / "a.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}))
    try:
        assert read_region(tmp_path / "a.geojson").geometry.equals(shapely.box(0, 0, 1, 1))
    except RegionError as error:
        assert "is not a readable vector file" in str(error)
