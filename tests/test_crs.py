"""The CRS of a file is kept as the file states it: no code that is merely close takes its place."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pyproj
import pytest
import rasterio
import rasterio.warp
from affine import Affine
from distributed import Client

from geoseg import evaluate, polygonize
from geoseg.engine import connect
from geoseg.errors import CrsError
from geoseg.imagery.describing import describe
from geoseg.raster import open_raster, write_cog
from geoseg.raster.placing import exact_code

MONTE_MARIO = "+proj=utm +zone=33 +ellps=intl +towgs84=-104.1,-49.1,-9.9,0.971,-2.917,0.714,-11.68 +units=m +no_defs"
ED50 = "EPSG:23033"
GRS80 = "+proj=utm +zone=18 +ellps=GRS80 +units=m +no_defs"
SPHERE = "+proj=sinu +R=6371007.181 +units=m +no_defs"
CLARKE = "+proj=utm +zone=18 +ellps=clrk66 +units=m +no_defs"
OWN = (MONTE_MARIO, GRS80, SPHERE, CLARKE)


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    """Workers that all tests of this file share."""
    with connect(None, 1) as client:
        yield client


PLACE = Affine(10.0, 0.0, 500_000.0, 0.0, -10.0, 4_600_000.0)


def _raster(path: Path, crs: str, transform: Affine = PLACE) -> Path:
    labels = np.zeros((1, 24, 32), np.uint8)
    labels[0, 4:12, 6:20] = 1
    with rasterio.open(
        path, "w", driver="GTiff", width=32, height=24, count=1, dtype="uint8", crs=crs, transform=transform
    ) as file:
        file.write(labels)
    return path


def _degrees(crs: Any, x: float, y: float) -> tuple[float, float]:
    """The place as GDAL has it."""
    (east,), (north,) = rasterio.warp.transform(rasterio.crs.CRS.from_user_input(crs), "EPSG:4326", [x], [y])
    return east, north


@pytest.mark.parametrize("crs", OWN)
def test_raster_lies_where_gdal_places_it_by_the_file_s_own_definition(tmp_path: Path, crs: str) -> None:
    raster = open_raster(str(_raster(tmp_path / "a.tif", crs)))
    assert raster.crs is not None
    place = pyproj.Transformer.from_crs(raster.crs.proj, "EPSG:4326", always_xy=True).transform(5e5, 4.6e6)
    assert np.allclose(place, _degrees(crs, 5e5, 4.6e6), atol=1e-8, rtol=0)  # a millimetre
    assert exact_code(raster.crs.proj) is None


@pytest.mark.parametrize("crs", ["EPSG:32618", "EPSG:3065", "EPSG:3857", "EPSG:4326", "EPSG:28992", "EPSG:2056"])
def test_code_is_kept_where_the_definition_is_equal(tmp_path: Path, crs: str) -> None:
    transform = Affine(1e-4, 0, 10, 0, -1e-4, 40) if crs == "EPSG:4326" else PLACE
    raster = open_raster(str(_raster(tmp_path / "a.tif", crs, transform)))
    assert str(raster.crs) == crs


@pytest.mark.parametrize("crs", OWN)
@pytest.mark.parametrize("ending", [".gpkg", ".parquet", ".fgb"])
def test_polygons_keep_the_definition(client: Client, tmp_path: Path, crs: str, ending: str) -> None:
    source, target = _raster(tmp_path / "a.tif", crs), tmp_path / f"a{ending}"
    polygonize(str(source), target, client=client)
    table = gpd.read_parquet(target) if ending == ".parquet" else gpd.read_file(target)
    corner = table.total_bounds[[0, 3]]
    moved = pyproj.Transformer.from_crs(table.crs, "EPSG:4326", always_xy=True).transform(*corner)
    assert np.allclose(moved, _degrees(crs, 5e5, 4.6e6), atol=1e-8, rtol=0)


@pytest.mark.parametrize("crs", OWN)
def test_label_raster_keeps_the_definition(tmp_path: Path, crs: str) -> None:
    raster = open_raster(str(_raster(tmp_path / "a.tif", crs)))
    target = write_cog(tmp_path / "b.tif", raster.shape, raster.transform, raster.crs, [], nodata=255)
    with rasterio.open(target) as file:
        assert np.allclose(_degrees(file.crs, 5e5, 4.6e6), _degrees(crs, 5e5, 4.6e6), atol=1e-8, rtol=0)
    assert open_raster(str(target)).crs == raster.crs


def test_stac_fields_have_a_code_only_where_it_is_exact(tmp_path: Path) -> None:
    own = describe(open_raster(str(_raster(tmp_path / "a.tif", MONTE_MARIO))).geobox).properties
    coded = describe(open_raster(str(_raster(tmp_path / "b.tif", ED50))).geobox).properties
    assert own["proj:code"] is None
    assert pyproj.CRS.from_wkt(own["proj:wkt2"]).is_bound
    assert coded["proj:code"] == ED50


def test_two_datums_are_two_grids_for_evaluate(tmp_path: Path) -> None:
    here, there = _raster(tmp_path / "a.tif", MONTE_MARIO), _raster(tmp_path / "b.tif", ED50)
    same = evaluate(str(here), str(here), task="semantic").scores.summary()["accuracy"]
    moved = evaluate(str(here), str(there), task="semantic").scores.summary()["accuracy"]
    assert same == 1 > moved


def test_geocentric_crs_is_refused_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(CrsError, match="is not one of a map; warp the raster"):
        open_raster(str(_raster(tmp_path / "a.tif", "EPSG:4978")))
    with pytest.raises(CrsError, match="is not one of a map"):
        open_raster(str(_raster(tmp_path / "b.tif", "EPSG:32618")), crs="EPSG:4978")


@pytest.mark.parametrize("code", ["EPSG:32632+5773", "EPSG:7415"])
def test_crs_with_heights_is_one_of_a_map(tmp_path: Path, code: str) -> None:
    raster = open_raster(str(_raster(tmp_path / "a.tif", code)))
    assert raster.crs.proj == pyproj.CRS(code)


def test_a_crs_beside_a_declared_one_is_pointed_out(tmp_path: Path) -> None:
    path = str(_raster(tmp_path / "a.tif", ED50))
    (note,) = open_raster(path, crs="EPSG:32617").notes
    assert "and keeps it: crs is for files that declare none; correct what the file declares." in note
    assert not open_raster(path).notes
    assert open_raster(path, crs="EPSG:32617").crs == open_raster(path).crs
