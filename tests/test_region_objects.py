"""Regions and paths as Python callers have them: tables, geometries, path-like objects; arrays are refused."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
import xarray as xr
import yaml
from affine import Affine
from distributed import Client
from hypothesis import given
from hypothesis import strategies as st
from odc.geo.geom import BoundingBox

import geoseg
from geoseg import evaluate
from geoseg.catalog import find_model
from geoseg.engine import connect
from geoseg.errors import CrsError, InputNotFoundError, InputTypeError, RegionError
from geoseg.grid import TileGrid, Tiling, Window
from geoseg.planning import Plan, RegionMask
from geoseg.raster import open_raster
from geoseg.training import load_recipe, parse_recipe
from geoseg.vector import Region, read_region, region_text
from geoseg.workflow import polygonize
from geoseg.workflow.settings import read_workflow, write_workflow
from tests.networks import Constant, write_model
from tests.rasters import write_raster

LEFT, TOP, CRS = 440_000.0, 4_200_000.0, "EPSG:32618"
POLYGON = shapely.Polygon([(440_100, 4_199_900), (440_900, 4_199_800), (440_500, 4_199_300)])


class OwnPath:
    """Path-like, and no `Path`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __fspath__(self) -> str:
        return str(self.path)


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with connect(None, 1) as own:
        yield own


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    return write_raster(tmp_path / "scene.tif", np.full((2, 100, 100), 9, np.uint8))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_model(tmp_path / "model", Constant(), name="constant", tile_size=64)


def _forms(tmp_path: Path) -> dict[str, Any]:
    frame = gpd.GeoDataFrame({"a": [1]}, geometry=[POLYGON], crs=CRS)
    frame.to_file(tmp_path / "region.gpkg")
    return {
        "file": str(tmp_path / "region.gpkg"), "path": OwnPath(tmp_path / "region.gpkg"), "frame": frame,
        "series": frame.geometry, "geometry": POLYGON, "region": Region(POLYGON, frame.crs),
        "other CRS": frame.to_crs("EPSG:4326"),
    }  # fmt: skip


@pytest.mark.parametrize("form", ["file", "path", "frame", "series", "geometry", "region", "other CRS"])
def test_lazy_labels_end_at_the_region_of_any_form(scene: Path, model: Path, tmp_path: Path, form: str) -> None:
    region = _forms(tmp_path)[form]
    labels = geoseg.segment(str(scene), str(model), region=region).values
    mask = read_region(f"{CRS};{shapely.to_geojson(POLYGON)}").mask(
        geoseg.grid.Window(0, 0, 100, 100), Affine(10, 0, LEFT, 0, -10, TOP), all_touched=True
    )
    differing = ((labels != 255) != mask).sum()
    assert differing <= (60 if form == "other CRS" else 0)
    assert mask.any()


@pytest.mark.parametrize("form", ["path", "frame", "series", "geometry", "region"])
def test_run_maps_the_region_of_any_form_and_writes_it_down(
    scene: Path, model: Path, tmp_path: Path, form: str
) -> None:
    wanted = read_workflow(
        {"model": OwnPath(model), "input": OwnPath(scene), "output": OwnPath(tmp_path / "out")},
        region=_forms(tmp_path)[form],
    )
    plan = geoseg.plan(wanted)
    assert plan.region is not None
    assert plan.region.region.geometry.equals_exact(POLYGON, 1e-9)
    write_workflow(wanted, tmp_path / "workflow.yaml")
    assert geoseg.plan(tmp_path / "workflow.yaml").region == plan.region


@given(st.lists(st.tuples(*[st.floats(-1e7, 1e7)] * 2), min_size=3, max_size=9), st.sampled_from([CRS, "ESRI:54009"]))
def test_text_of_a_region_keeps_every_digit(points: list[tuple[float, float]], crs: str) -> None:
    shape = shapely.convex_hull(shapely.MultiPoint(points))
    if shape.geom_type != "Polygon":
        return
    region = Region(shape, gpd.GeoSeries([shape], crs=crs).crs)
    again = read_region(region_text(region))
    assert again.crs == region.crs
    assert shapely.equals(again.geometry, shapely.make_valid(shape))


@given(st.lists(st.floats(-170, 170), min_size=2, max_size=2, unique=True), st.floats(-80, 70))
def test_four_numbers_are_bounds_with_every_digit(sides: list[float], south: float) -> None:
    left, right = sorted(sides)
    bounds = (left, south, right, south + 10)
    for form in (bounds, list(bounds), np.array(bounds), rasterio.coords.BoundingBox(*bounds)):
        assert read_region(form) == Region(shapely.box(*bounds), read_region("0,0,1,1").crs)
    of_odc = BoundingBox(*bounds, crs="EPSG:32618")
    for placed in (of_odc, (*bounds, "EPSG:32618"), (*bounds, 32618), (*bounds, gpd.GeoSeries(crs=CRS).crs)):
        assert read_region(placed) == Region(shapely.box(*bounds), gpd.GeoSeries(crs="EPSG:32618").crs)


def test_a_workflow_file_takes_bounds_as_a_list(tmp_path: Path) -> None:
    path = tmp_path / "workflow.yaml"
    path.write_text("input: a.tif\nmodel: buildings\nregion: [440000, 4190000.5, 450000, 4200000, EPSG:32618]\n")
    region = read_workflow(path).region
    assert region is not None
    assert read_region(region).geometry.bounds == (440000, 4190000.5, 450000, 4200000)


def test_what_is_no_region_is_refused_in_a_sentence() -> None:
    with pytest.raises(CrsError, match="is a table without a CRS; give it one with set_crs"):
        read_region(gpd.GeoSeries([POLYGON]))
    with pytest.raises(RegionError, match="features of type Point; give polygons only"):
        read_region(gpd.GeoSeries([shapely.Point(1, 2)], crs=CRS))
    with pytest.raises(RegionError, match=r"the region is a list; give a vector file.*bounds with their CRS, such as"):
        read_region([1, 2, 3])
    with pytest.raises(RegionError, match=r"the region '1,2,3' has 3 numbers; write minx,miny,maxx,maxy, or with"):
        read_region("1,2,3")
    with pytest.raises(CrsError, match="is a geometry without a CRS"):
        read_region(POLYGON)
    with pytest.raises(RegionError, match="the region 'nan,1,2,3' has bounds that are no numbers; write minx"):
        read_region("nan,1,2,3")
    broken = shapely.Polygon([(1, 1), (2, np.nan), (3, 1)])
    with pytest.raises(RegionError, match="the region has coordinates that are no numbers; leave out"):
        read_region(gpd.GeoSeries([POLYGON, broken], crs=CRS))


@pytest.mark.parametrize("call", ["open_raster", "segment", "plan", "polygonize"])
@pytest.mark.parametrize(
    ("array", "error", "sentence"),
    [
        (np.zeros((2, 9, 9)), InputTypeError, "ndarray is no imagery; give its place too: xarray.DataArray"),
        (xr.DataArray(np.zeros((2, 9, 9))), CrsError, "no coordinates of rows and columns; give coordinates"),
    ],
    ids=["numpy", "xarray"],
)
def test_array_without_a_place_is_refused_with_the_remedy(
    model: Path, tmp_path: Path, call: str, array: Any, error: type[Exception], sentence: str
) -> None:
    calls = {
        "open_raster": lambda: open_raster(array),
        "segment": lambda: geoseg.segment(array, str(model)),
        "plan": lambda: geoseg.plan({"input": array, "model": str(model)}),
        "polygonize": lambda: polygonize(array, tmp_path / "a.gpkg"),
    }
    with pytest.raises(error, match=sentence):
        calls[call]()


def test_small_region_of_a_tile_service_is_planned_at_once() -> None:
    side = 256 << 18
    pixel = 2 * 20_037_508.342789244 / side
    raster = open_raster_of(side, Affine(pixel, 0, -20_037_508.342789244, 0, -pixel, 20_037_508.342789244))
    region = RegionMask.of("13.37,52.50,13.38,52.51", raster)
    grid = TileGrid((side, side), Tiling(512, 32, 32), (2, 2))
    plan = Plan(raster, None, grid, region)  # type: ignore[arg-type]
    begin = time.perf_counter()
    places = plan.places
    assert time.perf_counter() - begin < 2
    assert places is not None
    assert 1 < len(places) < 100


def _far_apart(side: int, size: float) -> tuple[RegionMask, tuple[int, Any]]:
    """Two squares of some degrees, far apart on the web's square of so many pixels, and its blocks of 2 px."""
    pixel = 2 * 20_037_508.342789244 / side
    raster = open_raster_of(side, Affine(pixel, 0, -20_037_508.342789244, 0, -pixel, 20_037_508.342789244))
    squares = [shapely.box(x, y, x + size, y + size) for x, y in ((-120, 40), (150, -30))]
    region = RegionMask.of(gpd.GeoSeries(squares, crs=4326), raster)
    return region, (side // 2, lambda block: (max(0, 2 * block - 1), min(side, 2 * block + 3)))


def test_blocks_of_a_region_whose_parts_lie_far_apart_are_those_that_it_touches() -> None:
    region, spans = _far_apart(1_200, 20)
    ends = [spans[1](block) for block in range(spans[0])]
    expected = []
    for row, (top, bottom) in enumerate(ends):
        windows = [Window(top, left, bottom - top, right - left) for left, right in ends]
        expected += [(row, col) for col in np.flatnonzero(region.touches_each(windows)).tolist()]
    assert list(region.touched_blocks(spans, spans)) == expected


def test_blocks_between_far_parts_of_a_region_are_not_gone_through() -> None:
    region, spans = _far_apart(256 << 20, 1e-5)
    assert 2 <= len(list(region.touched_blocks(spans, spans))) < 100


def open_raster_of(side: int, transform: Affine) -> Any:
    """A raster of which nothing but the grid is known."""
    from odc.geo.geobox import GeoBox

    from geoseg.raster.mosaic import Raster

    return Raster(GeoBox((side, side), transform, "EPSG:3857"), ("a",), np.dtype(np.uint8), ())


def test_small_region_of_a_tile_service_becomes_polygons_at_once(client: Client, tmp_path: Path) -> None:
    """A VRT with the grid of zoom 18, two trillion blocks or so, and 200 x 200 px of labels in it."""
    labels = np.ones((200, 200), np.uint8)
    labels[50:90, 60:100] = 2
    write_raster(tmp_path / "labels.tif", labels[None])
    side, left, top = 256 << 18, 36_047_000, 22_011_000
    pixel = 2 * 20_037_508.342789244 / side
    x, y = -20_037_508.342789244 + left * pixel, 20_037_508.342789244 - top * pixel
    (tmp_path / "service.vrt").write_text(
        f'<VRTDataset rasterXSize="{side}" rasterYSize="{side}"><SRS>EPSG:3857</SRS>'
        f"<GeoTransform>-20037508.342789244, {pixel}, 0, 20037508.342789244, 0, -{pixel}</GeoTransform>"
        '<VRTRasterBand dataType="Byte" band="1"><NoDataValue>0</NoDataValue><SimpleSource>'
        '<SourceFilename relativeToVRT="1">labels.tif</SourceFilename><SourceBand>1</SourceBand>'
        f'<SrcRect xOff="0" yOff="0" xSize="200" ySize="200"/><DstRect xOff="{left}" yOff="{top}" xSize="200" '
        'ySize="200"/></SimpleSource></VRTRasterBand></VRTDataset>'
    )
    bounds = x + 20 * pixel, y - 150 * pixel, x + 180 * pixel, y - 30 * pixel
    region = ",".join(map(repr, bounds)) + ",EPSG:3857"
    begin = time.perf_counter()
    geoseg.polygonize(str(tmp_path / "service.vrt"), tmp_path / "a.gpkg", region=region, client=client)
    assert time.perf_counter() - begin < 120  # all blocks would take days
    frame = gpd.read_file(tmp_path / "a.gpkg")
    assert frame.groupby("class")["pixels"].sum().to_dict() == {1: 160 * 120 - 40 * 40, 2: 40 * 40}


def test_evaluate_takes_paths_and_regions_of_any_form(tmp_path: Path) -> None:
    labels = np.ones((1, 100, 100), np.uint8)
    labels[0, :, 50:] = 2
    objects = (labels == 2).astype(np.uint32)
    files = {"labels": labels, "truth": labels, "objects": objects, "true_objects": objects}
    paths = {name: OwnPath(write_raster(tmp_path / f"{name}.tif", pixels)) for name, pixels in files.items()}
    (tmp_path / "scores.csv").write_text("instance,score\n1,0.5\n")
    for form, region in _forms(tmp_path).items():
        result = evaluate(paths["labels"], paths["truth"], region=region)
        assert result.summary()["scores"]["accuracy"] == 1, form
        result.write_json(OwnPath(tmp_path / "result.json"))
        assert json.loads((tmp_path / "result.json").read_text())["truth"] == str(tmp_path / "truth.tif")
    options: Any = {"instances": paths["objects"], "truth_instances": paths["true_objects"]}
    assert evaluate(paths["labels"], paths["truth"], **options).task == "panoptic"
    scores = evaluate(paths["objects"], paths["true_objects"], task="instance", scores=OwnPath(tmp_path / "scores.csv"))
    assert scores.summary()["settings"]["scores"] == str(tmp_path / "scores.csv")


@pytest.mark.parametrize("side", ["prediction", "truth"])
def test_evaluate_refuses_an_array_without_a_place(tmp_path: Path, side: str) -> None:
    path = write_raster(tmp_path / "labels.tif", np.ones((1, 9, 9), np.uint8))
    sides: dict[str, Any] = {"prediction": path, "truth": path, side: np.zeros((9, 9))}
    with pytest.raises(InputTypeError, match="ndarray is no imagery; give its place too"):
        evaluate(**sides)


def test_every_path_of_a_workflow_may_be_path_like(scene: Path, model: Path) -> None:
    names = ("model", "things", "weights", "prompts", "region", "output")
    wanted = read_workflow({"model": "a", "input": [OwnPath(scene)]}, **{name: OwnPath(scene) for name in names})
    assert {getattr(wanted, name) for name in names} == {str(scene)}
    assert wanted.input == [str(scene)]
    assert read_workflow({"model": "a"}, features=[OwnPath(scene)]).features == [str(scene)]
    assert find_model(OwnPath(model)).name == "constant"  # type: ignore[arg-type]
    labels = geoseg.segment(OwnPath(scene), OwnPath(model)).values
    np.testing.assert_array_equal(labels, geoseg.segment(str(scene), str(model)).values)


def test_a_recipe_takes_paths(tmp_path: Path, scene: Path) -> None:
    content = {
        "name": "a", "images": [OwnPath(scene)], "labels": [{"raster": OwnPath(scene)}], "data": OwnPath(tmp_path),
        "classes": [{"value": 1, "name": "b"}, {"value": 2, "name": "c"}], "validation": {"east": 0.3},
    }  # fmt: skip
    recipe = parse_recipe(content)
    assert (recipe.images, recipe.data) == ((str(scene),), str(tmp_path))
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe.model_dump(mode="json", exclude_unset=True)))
    assert load_recipe(OwnPath(tmp_path / "recipe.yaml"), images=[OwnPath(scene)]).images == recipe.images
    with pytest.raises(InputNotFoundError, match=r"neither beside the recipe nor in the data folder .*/nowhere;"):
        changed = load_recipe(OwnPath(tmp_path / "recipe.yaml"), images=["none.tif"])
        geoseg.train(changed, data=OwnPath(tmp_path / "nowhere"), output=OwnPath(tmp_path / "model"))
