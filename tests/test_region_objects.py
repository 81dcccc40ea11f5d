"""Regions and paths as Python callers have them: tables, geometries, path-like objects; arrays are refused."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pytest
import shapely
import xarray as xr
from affine import Affine
from distributed import Client
from hypothesis import given
from hypothesis import strategies as st

import geoseg
from geoseg.engine import connect
from geoseg.errors import CrsError, InputTypeError, RegionError
from geoseg.grid import TileGrid, Tiling
from geoseg.planning import Plan, RegionMask
from geoseg.raster import open_raster
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


def test_what_is_no_region_is_refused_in_a_sentence() -> None:
    with pytest.raises(CrsError, match="is a table without a CRS; give it one with set_crs"):
        read_region(gpd.GeoSeries([POLYGON]))
    with pytest.raises(RegionError, match="features of type Point; give polygons only"):
        read_region(gpd.GeoSeries([shapely.Point(1, 2)], crs=CRS))
    with pytest.raises(RegionError, match="the region is a list; give a vector file"):
        read_region([1, 2, 3, 4])  # type: ignore[arg-type]
    with pytest.raises(CrsError, match="is a geometry without a CRS"):
        read_region(POLYGON)


@pytest.mark.parametrize("call", ["open_raster", "segment", "plan", "polygonize"])
def test_array_in_memory_is_refused_with_the_remedy(model: Path, tmp_path: Path, call: str) -> None:
    array: Any = xr.DataArray(np.zeros((2, 9, 9)))
    calls = {
        "open_raster": lambda: open_raster(array),
        "segment": lambda: geoseg.segment(array, str(model)),
        "plan": lambda: geoseg.plan({"input": array, "model": str(model)}),
        "polygonize": lambda: polygonize(array, tmp_path / "a.gpkg"),
    }
    with pytest.raises(InputTypeError, match=r"input is an xarray.DataArray, and rasters are read from files"):
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
