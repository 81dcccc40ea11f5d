"""Footprints on a round globe: whole projections, poles, the antimeridian, 0 to 360; and what cannot be placed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pytest
import shapely
import shapely.geometry
from affine import Affine
from pyproj import Transformer

import geoseg
from geoseg.errors import GeosegWarning, ReportWarning
from geoseg.imagery.adding import add_imagery
from geoseg.imagery.describing import describe
from geoseg.imagery.searching import Search
from geoseg.raster import open_raster
from geoseg.vector import every_reading, place_region, read_region
from tests.networks import Constant, write_model
from tests.rasters import TEN_METRES, write_raster

SINUSOIDAL = "+proj=sinu +R=6371007.181 +units=m +no_defs"
MOON = "+proj=eqc +R=1737400 +units=m +no_defs"
KINDS = {
    "mollweide": ("ESRI:54009", Affine(1e6, 0, -18.041e6, 0, -1e6, 9e6), (18, 36)),
    "sinusoidal": (SINUSOIDAL, Affine(1e6, 0, -20.0151e6, 0, -1e6, 10.0076e6), (20, 40)),
    "beyond_the_poles": ("EPSG:4326", Affine(10, 0, -180.05, 0, -10, 90.05), (18, 36)),
    "geostationary": (
        "+proj=geos +h=35785831 +lon_0=0 +sweep=y +ellps=WGS84", Affine(6e5, 0, -5.56e6, 0, -6e5, 5.56e6), (19, 19),
    ),
    "north_pole": ("EPSG:3413", Affine(1e4, 0, -1e5, 0, -1e4, 1e5), (20, 20)),
    "south_pole": ("EPSG:3031", Affine(1e4, 0, -1e5, 0, -1e4, 1e5), (20, 20)),
    "polar_over_180": ("EPSG:3413", Affine(1e4, 0, -1.1e6, 0, -1e4, 1.4e6), (60, 60)),
    "small_over_180": ("EPSG:3413", Affine(2e3, 0, -1.03e6, 0, -2e3, 1.03e6), (60, 60)),
    "longitudes_to_360": ("EPSG:4326", Affine(10, 0, 0, 0, -10, 90), (18, 36)),
}  # fmt: skip


def _raster(folder: Path, kind: str) -> Path:
    crs, transform, shape = KINDS[kind]
    pixels = np.random.default_rng(0).integers(1, 255, (2, *shape)).astype(np.uint8)
    return write_raster(folder / f"{kind}.tif", pixels, crs=crs, transform=transform)


@pytest.mark.parametrize("kind", KINDS)
def test_footprint_holds_every_pixel_that_has_a_place(tmp_path: Path, kind: str) -> None:
    crs, transform, (height, width) = KINDS[kind]
    place = describe(open_raster(str(_raster(tmp_path, kind))).geobox)
    rows, columns = np.mgrid[:height, :width] + 0.5
    x, y = transform @ (columns.ravel(), rows.ravel())
    transformer = Transformer.from_crs(crs, "EPSG:4326", always_xy=True)
    lon, lat = transformer.transform(x, y)
    back = transformer.transform(lon, lat, direction="INVERSE")
    there = np.isfinite(lon) & np.isfinite(lat) & np.isclose(back, [x, y], atol=1).all(axis=0) | (crs == "EPSG:4326")
    footprint = shapely.buffer(shapely.geometry.shape(place.geometry), 1e-6)
    points = shapely.points((lon[there] + 180) % 360 - 180, lat[there])
    assert there.sum() > there.size / 4
    assert shapely.intersects(footprint, points).all()
    west, south, east, north = place.bbox or ()
    assert -180 <= west <= 180 and -180 <= east <= 180 and -90 <= south < north <= 90


def test_a_region_of_many_parcels_has_the_footprint_of_their_bounds(tmp_path: Path) -> None:
    raster = write_raster(tmp_path / "a.tif", np.ones((1, 512, 512), np.uint8), transform=TEN_METRES)
    corners = [(440_000 + 80 * col, 4_199_980 - 80 * row) for row in range(40) for col in range(30)]
    parcels = shapely.union_all([shapely.box(x, y - 60, x + 60, y) for x, y in corners])
    geobox, region = open_raster(str(raster)).geobox, read_region(gpd.GeoSeries([parcels], crs=32618))
    footprint = shapely.geometry.shape(describe(geobox, region).geometry)
    bounds = gpd.GeoSeries([shapely.box(*parcels.bounds)], crs=32618).to_crs(4326)[0]
    assert footprint.symmetric_difference(bounds).area < 1e-3 * bounds.area
    assert shapely.get_num_coordinates(footprint) < 20


def test_raster_of_another_planet_has_no_footprint(tmp_path: Path) -> None:
    path = write_raster(
        tmp_path / "a.tif", np.ones((9, 9), np.uint8), crs=MOON, transform=Affine(100, 0, 0, 0, -100, 0)
    )
    place = describe(open_raster(str(path)).geobox)
    assert (place.geometry, place.bbox) == (None, None)
    assert add_imagery(tmp_path, home=tmp_path / "home").is_file()


@pytest.mark.parametrize("kind", KINDS)
def test_catalog_takes_what_lies_anywhere(tmp_path: Path, kind: str) -> None:
    _raster(tmp_path, kind)
    assert add_imagery(tmp_path, home=tmp_path / "home").is_file()


@pytest.mark.parametrize("kind", ["mollweide", "north_pole", "geostationary", "moon"])
def test_run_ends_well_wherever_its_raster_lies(tmp_path: Path, kind: str) -> None:
    if kind == "moon":
        pixels = np.ones((2, 32, 32), np.uint8)
        path = write_raster(tmp_path / "a.tif", pixels, crs=MOON, transform=Affine(100, 0, 0, 0, -100, 0))
    else:
        path = _raster(tmp_path, kind)
    model = write_model(tmp_path / "model", Constant(), name="constant", tile_size=64)
    settings: dict[str, Any] = {"input": str(path), "model": str(model), "output": str(tmp_path / "out"), "workers": 1}
    if kind == "moon":
        with pytest.warns(ReportWarning, match=r"item.json has no footprint.* is not a CRS of the earth"):
            result = geoseg.run(settings)
    elif kind == "north_pole":
        with pytest.warns(GeosegWarning, match=r"are not in 'a.pmtiles', .* beyond latitude 85.05; write .gpkg too"):
            result = geoseg.run(settings, features=["a.gpkg", "a.pmtiles"])
        assert "latitude 85.05" in json.loads(result.run_file.read_text())["warnings"][0]
    else:
        with pytest.warns(GeosegWarning, match=r"are not in 'a.geojson', .* over the edge of the world in "):
            result = geoseg.run(settings, features=["a.geojson"])
        assert "a.geojson" in json.loads(result.run_file.read_text())["warnings"][0]
    assert result.report is not None
    assert (result.output / "item.json").is_file()


def test_by_product_that_cannot_be_made_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError("no footprint")

    monkeypatch.setattr("geoseg.workflow.result_item.describe", fails)
    path = write_raster(tmp_path / "a.tif", np.ones((2, 40, 40), np.uint8))
    model = write_model(tmp_path / "model", Constant(), name="constant", tile_size=64)
    with pytest.warns(ReportWarning, match=r"item.json was not written \(no footprint\); the results are whole"):
        result = geoseg.run({"input": str(path), "model": str(model), "output": str(tmp_path / "out")}, workers=1)
    assert json.loads(result.run_file.read_text())["status"] == "finished"


BEYOND = shapely.box(179, -18, 181, -17)
SPLIT = shapely.union_all([shapely.box(179, -18, 180, -17), shapely.box(-180, -18, -179, -17)])
LONG_WAY = shapely.Polygon([(179, -18), (-179, -18), (-179, -17), (179, -17)])


@pytest.mark.parametrize("footprint", [BEYOND, SPLIT, LONG_WAY, shapely.box(-181, -18, -179, -17)])
@pytest.mark.parametrize("longitude", [179.5, -179.5])
def test_item_over_the_antimeridian_is_found_however_it_is_written(footprint: Any, longitude: float) -> None:
    region = read_region(f"{longitude - 0.1},-17.6,{longitude + 0.1},-17.4")
    item = {"geometry": shapely.geometry.mapping(footprint), "properties": {}}
    box = {"geometry": None, "bbox": list(footprint.bounds), "properties": {}}
    assert Search(region=region).accepts(item)
    assert Search(region=region).accepts(box)
    far = read_region("170,-17.6,171,-17.4")
    assert footprint is LONG_WAY or not Search(region=far).accepts(item)


def test_footprint_of_the_whole_globe_stays_whole() -> None:
    whole = shapely.box(-180, -90, 180, 90)
    assert every_reading(whole).equals(whole)


@pytest.mark.parametrize("west", [-10.0, 350.0])
def test_region_is_found_in_a_raster_of_longitudes_to_360(tmp_path: Path, west: float) -> None:
    raster = open_raster(str(_raster(tmp_path, "longitudes_to_360")))
    region = place_region(read_region(f"{west},40,{west + 5},45"), raster.geobox)
    assert shapely.box(350, 40, 355, 45).within(region.geometry)
