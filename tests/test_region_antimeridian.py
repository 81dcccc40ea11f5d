"""Regions over the antimeridian: bounds, polygons cut there, scenes on both sides; and what is refused, with why."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from odc.geo.geobox import GeoBox
from pyproj import Transformer

import geoseg
from geoseg.corrections import read_corrections
from geoseg.errors import RegionError
from geoseg.grid import Window
from geoseg.imagery import open_imagery
from geoseg.prompting import read_prompts
from geoseg.vector import Region, geographic_outline, read_region, region_text
from tests.networks import Box, write_model
from tests.rasters import noise, write_raster
from tests.stac import ground, serving_api, write_scene, write_static

UTM_60 = Affine(1000, 0, 700_000, 0, -1000, 8_200_000)
"""Kilometre pixels in EPSG:32760 around Fiji: the antimeridian runs through them."""

SHAPE = (80, 160)


def inside(region: str, crs: str, transform: Affine, shape: tuple[int, int]) -> Any:
    """Which pixel centres lie between two meridians and two parallels, computed with pyproj alone."""
    west, south, east, north = map(float, region.split(",")[:4])
    longitude, latitude = ground(crs, transform, shape)
    between = (longitude - west) % 360 < (east - west) % 360
    return between & (latitude > south) & (latitude < north)


@pytest.fixture
def cut_polygons(tmp_path: Path) -> str:
    """A region of two polygons that meet at the antimeridian, as RFC 7946 wants it."""
    boxes = [shapely.box(179.2, -17, 180, -16.5), shapely.box(-180, -17, -179.6, -16.5)]
    path = tmp_path / "region.geojson"
    gpd.GeoDataFrame(geometry=boxes, crs=4326).to_file(path)
    return str(path)


def test_bounds_with_the_larger_longitude_first_reach_over_the_antimeridian(cut_polygons: str) -> None:
    expected = inside("179.2,-17,-179.6,-16.5", "EPSG:32760", UTM_60, SHAPE)
    assert 500 < expected.sum() < expected.size
    for given in ("179.2,-17,-179.6,-16.5", cut_polygons, "179.2,-17,180.4,-16.5", "-180.8,-17,-179.6,-16.5"):
        region = read_region(given).to_crs("EPSG:32760")
        np.testing.assert_array_equal(region.mask(Window(0, 0, *SHAPE), UTM_60), expected)


@pytest.mark.parametrize("left", [-180.0, 0.0, 170.0])
def test_they_hold_the_same_places_of_a_raster_in_degrees_wherever_it_begins(left: float) -> None:
    transform, shape = Affine(0.5, 0, left, 0, -0.5, -10), (30, 720 if left <= 0 else 40)
    region = read_region("179.2,-17,-179.1,-16.5").to_crs("EPSG:4326")
    mask = region.mask(Window(0, 0, *shape), transform)
    np.testing.assert_array_equal(mask, inside("179.2,-17,-179.1,-16.5", "EPSG:4326", transform, shape))
    assert mask.sum() == 4


@pytest.mark.parametrize("crs", ["EPSG:3857", "ESRI:54009", "ESRI:54030", "EPSG:8857", "EPSG:3832"])
def test_on_a_map_of_the_world_they_lie_at_both_of_its_ends(crs: str, tmp_path: Path) -> None:
    """Projections whose middle is Greenwich end at the antimeridian; that of the Pacific goes on over it."""
    path = tmp_path / "region.geojson"
    gpd.GeoDataFrame(geometry=[shapely.box(175, 25, 180, 40), shapely.box(-180, 25, -175, 40)], crs=4326).to_file(path)
    half, shape = 20_100_000, (402, 402)
    transform = Affine(100_000, 0, -half, 0, -100_000, half)
    longitude, latitude = ground(crs, transform, shape)
    wanted = ((longitude - 175) % 360 < 10) & (latitude > 25) & (latitude < 40)
    x, y = transform @ tuple(reversed(np.mgrid[:402, :402] + 0.5))
    back = Transformer.from_crs(4326, crs, always_xy=True).transform(longitude, latitude)
    wanted &= np.isfinite(longitude) & (np.hypot(back[0] - x, back[1] - y) < 1)  # beyond the rim pixels have no place
    assert wanted.sum() > 100
    for given in ("175,25,-175,40", "175,25,185,40", str(path)):
        mask = read_region(given).to_crs(crs).mask(Window(0, 0, *shape), transform)
        assert (mask != wanted).sum() <= (4 if crs != "EPSG:3857" else 0)  # curved edges, densely drawn


def test_an_outline_for_a_search_is_cut_at_the_antimeridian(cut_polygons: str) -> None:
    outlines = [geographic_outline(read_region(given)) for given in ("179.2,-17,-179.6,-16.5", cut_polygons)]
    assert shapely.equals(outlines[0], outlines[1])
    assert [part.bounds for part in sorted(outlines[0].geoms, key=lambda part: part.bounds)] == [
        (-180, -17, -179.6, -16.5),
        (179.2, -17, 180, -16.5),
    ]


def test_scenes_on_both_sides_are_found_and_laid_on_one_grid(tmp_path: Path) -> None:
    """Three scenes of zone 60 and two of zone 1, each with a value that depends on its place alone."""
    items = []
    for name, crs, left in (
        ("a", "EPSG:32760", 780_000), ("b", "EPSG:32760", 800_000), ("c", "EPSG:32701", 180_000),
        ("d", "EPSG:32701", 200_000), ("far", "EPSG:32760", 300_000), ("e", "EPSG:32760", 815_000),
    ):  # fmt: skip
        transform = Affine(200, 0, left, 0, -200, 8_180_000)
        longitude, latitude = ground(crs, transform, (150, 120))
        pixels = np.rint(3e4 + 2e4 * ((longitude % 360) - 180) + 1e3 * (latitude + 16)).astype(np.uint16)
        items.append(write_scene(tmp_path, name, {"B04": pixels}, crs=crs, corner=(left, 8_180_000), size=200.0))
    region = "179.7,-16.6,-179.7,-16.5"
    with serving_api(tmp_path, *items) as api:
        rasters = [
            open_imagery(address, bands=["red"], region=read_region(region))
            for address in (str(write_static(tmp_path / "static", *items)), api)
        ]
    raster = rasters[0]
    assert raster.geobox == rasters[1].geobox
    assert str(raster.crs) == "EPSG:32760"
    assert {scene.name for scene in raster.scenes} == {"a", "b", "c", "d", "e"}
    pixels, mask = raster.read(Window(0, 0, *raster.shape))
    wanted = inside(region, "EPSG:32760", raster.transform, raster.shape)
    assert mask[wanted].all()
    longitude, latitude = ground("EPSG:32760", raster.transform, raster.shape)
    expected = 3e4 + 2e4 * ((longitude % 360) - 180) + 1e3 * (latitude + 16)
    assert np.abs(pixels[0] - expected)[mask].max() < 40  # a pixel of 200 m is 37 along a parallel


def test_one_polygon_that_spans_the_globe_the_other_way_says_what_to_do(tmp_path: Path) -> None:
    outline = shapely.Polygon([(179.2, -17), (-179.6, -17), (-179.6, -16.5), (179.2, -16.5)])
    path = tmp_path / "region.geojson"
    gpd.GeoDataFrame(geometry=[outline], crs=4326).to_file(path)
    with pytest.raises(RegionError, match=r"an edge over 358.8 degrees.*two polygons that meet there.*minx larger"):
        read_region(path)
    world = tmp_path / "world.geojson"
    gpd.GeoDataFrame(geometry=[shapely.box(-180, -90, 180, 90)], crs=4326).to_file(world)
    assert read_region(world).geometry.bounds == (-180, -90, 180, 90)


def test_a_polygon_that_jumps_over_the_globe_is_refused_at_every_door(tmp_path: Path) -> None:
    """What `to_crs(4326)` leaves of a polygon over the antimeridian runs the long way round."""
    outline = shapely.Polygon([(179.2, -17), (-179.6, -17), (-179.6, -16.5), (179.2, -16.5)])
    table = gpd.GeoDataFrame({"class": [1]}, geometry=[outline], crs=4326)
    table.to_file(tmp_path / "jump.gpkg")
    labels = write_raster(tmp_path / "labels.tif", np.ones((1, *SHAPE), np.uint8), transform=UTM_60, crs="EPSG:32760")
    geobox = GeoBox(SHAPE, UTM_60, "EPSG:32760")
    edge = "an edge over 358.8 degrees; over the antimeridian give two polygons that meet there"
    for door in (
        lambda: read_region(table),
        lambda: read_region(table.geometry),
        lambda: read_region(outline, crs="EPSG:4326"),
        lambda: read_region(f"EPSG:4326;{shapely.to_geojson(outline)}"),
        lambda: geoseg.polygonize(labels, region=table),
        lambda: geoseg.areas(labels, zones=table),
        lambda: geoseg.areas(labels, zones=tmp_path / "jump.gpkg"),
        lambda: read_corrections(tmp_path / "jump.gpkg", geobox, int),
        lambda: read_prompts(table, geobox),
    ):
        with pytest.raises(RegionError, match=edge):
            door()
    wide = read_region("-170,-20,170,-10")  # an edge of 340 degrees that is meant
    assert read_region(region_text(wide)).geometry.equals(wide.geometry)


@pytest.mark.parametrize("text", ["10,0,5,1", "5,1,10,0", "200,0,190,1", "10,0,5,1,EPSG:32760"])
def test_bounds_that_are_empty_are_still_refused(text: str) -> None:
    if text == "10,0,5,1":  # nearly around the globe, which is allowed
        assert read_region(text).geometry.bounds == (10, 0, 365, 1)
        return
    with pytest.raises(RegionError, match="is empty"):
        read_region(text)


def test_a_run_over_the_antimeridian_maps_what_lies_inside_and_clips_polygons(
    cut_polygons: str, tmp_path: Path
) -> None:
    scene = write_raster(tmp_path / "fiji.tif", noise(2, *SHAPE), transform=UTM_60, crs="EPSG:32760")
    model = write_model(tmp_path / "model", Box(1), name="box", halo=1)
    common = {"model": str(model), "input": str(scene), "ramp": 8, "workers": 1, "bands": [1, 2]}
    result = geoseg.run({**common, "output": str(tmp_path / "out"), "region": cut_polygons})
    with rasterio.open(result.labels_path) as source:
        mapped = source.read(1) != 255
    wanted = inside("179.2,-17,-179.6,-16.5", "EPSG:32760", UTM_60, SHAPE)
    assert mapped[wanted].all()
    assert mapped.sum() < wanted.sum() + 300  # and what the outline touches
    layer = gpd.read_file(result.features_paths[0], layer="land_use")
    region = Region(shapely.box(179.2, -17, 180.4, -16.5), layer.to_crs(4326).crs).to_crs("EPSG:32760").geometry
    region = region.intersection(shapely.box(700_000, 8_120_000, 860_000, 8_200_000))
    assert layer.union_all().symmetric_difference(region).area < 1e-6 * region.area


def test_holes_and_many_polygons_stay_what_they_are(tmp_path: Path) -> None:
    outer = shapely.box(100_000, 4_000_000, 130_000, 4_030_000)
    holed = outer.difference(shapely.box(110_000, 4_010_000, 118_000, 4_020_000))
    other = shapely.box(140_000, 4_000_000, 150_000, 4_040_000)
    path = tmp_path / "region.gpkg"
    gpd.GeoDataFrame(geometry=[shapely.MultiPolygon([holed, other])], crs="EPSG:32618").to_file(path)
    transform = Affine(500, 0, 95_000, 0, -500, 4_045_000)
    scene = write_raster(tmp_path / "scene.tif", noise(2, 100, 120), transform=transform)
    model = write_model(tmp_path / "model", Box(1), name="box", halo=1)
    common = {"model": str(model), "input": str(scene), "ramp": 8, "workers": 1, "bands": [1, 2]}
    result = geoseg.run({**common, "output": str(tmp_path / "out"), "region": str(path)})
    layer = gpd.read_file(result.features_paths[0], layer="land_use")
    assert layer.union_all().symmetric_difference(shapely.union_all([holed, other])).area < 1
    with rasterio.open(result.labels_path) as source:
        mapped = source.read(1) != 255
    columns, rows = np.meshgrid(np.arange(120) + 0.5, np.arange(100) + 0.5)
    x, y = transform @ (columns, rows)
    np.testing.assert_array_equal(mapped, shapely.contains_xy(shapely.union_all([holed, other]), x, y))
