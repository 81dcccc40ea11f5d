"""Rasters that do not say where they lie: given a CRS, or mapped as the plain pixels that they are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import rasterio.features
import shapely
from affine import Affine

import geoseg
from geoseg.cli import main
from geoseg.corrections import read_corrections
from geoseg.errors import CrsError, RegionError, VectorError, WorkflowError
from geoseg.grid import Window
from geoseg.raster import open_raster
from tests.networks import Box, write_model
from tests.rasters import TEN_METRES, noise, write_raster

HEIGHT, WIDTH = 160, 180


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_model(tmp_path / "model", Box(1), name="box", halo=1)


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A photograph of large fields: three bands, no CRS, no transform."""
    fields = np.random.default_rng(0).integers(1, 255, (3, HEIGHT // 20, WIDTH // 20), dtype=np.uint8)
    return write_raster(
        tmp_path / "photo.jpg", fields.repeat(20, 1).repeat(20, 2), crs=None, transform=None, driver="JPEG"
    )


def settings(photo: Path, model: Path, **more: Any) -> dict[str, Any]:
    return {
        "model": str(model),
        "input": str(photo),
        "ramp": 8,
        "bands": [1, 2],
        "workers": 1,
        "crs": "local",
        **more,
    }


# A CRS that is missing


@pytest.mark.parametrize("crs", ["EPSG:32618", "32618", 32618])
def test_a_missing_crs_may_be_given(tmp_path: Path, crs: str | int) -> None:
    raster = open_raster(write_raster(tmp_path / "a.tif", noise(1, 4, 4), crs=None), crs=crs)
    assert str(raster.crs) == "EPSG:32618"
    assert raster.transform == TEN_METRES
    assert raster.resolution == (10, 10)


def test_a_crs_that_a_raster_has_is_kept(tmp_path: Path) -> None:
    placed, unplaced = write_raster(tmp_path / "a.tif", noise(1, 4, 4)), tmp_path / "b.tif"
    write_raster(unplaced, noise(1, 4, 4), crs=None)
    for crs in ("EPSG:32633", "local"):
        assert str(open_raster(placed, crs=crs).crs) == "EPSG:32618"
    assert str(open_raster([placed, unplaced], crs="EPSG:32618").crs) == "EPSG:32618"


def test_a_crs_that_nobody_knows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CrsError, match=r"'EPSG:99' is not known; write .* EPSG:32618, or local"):
        open_raster(write_raster(tmp_path / "a.tif", noise(1, 4, 4), crs=None), crs="EPSG:99")


def test_a_crs_alone_places_no_raster_without_a_transform(photo: Path) -> None:
    with pytest.raises(CrsError, match=r"no transform, so it is not georeferenced.* `crs: local`"):
        open_raster(photo, crs="EPSG:32618")


# Plain pixels


def test_plain_pixels_go_down_from_the_corner_and_are_never_resampled(photo: Path) -> None:
    raster = open_raster(photo, crs="local", resolution=0.3)
    assert raster.is_plain
    assert raster.shape == (HEIGHT, WIDTH)
    assert raster.transform @ (WIDTH, HEIGHT) == (WIDTH, -HEIGHT)
    assert raster.summary()["resolution_m"] is None
    with rasterio.open(photo) as source:
        np.testing.assert_array_equal(raster.read(Window(0, 0, HEIGHT, WIDTH))[0], source.read())


def test_a_transform_without_a_crs_is_kept_by_local_pixels(tmp_path: Path) -> None:
    raster = open_raster(write_raster(tmp_path / "a.tif", noise(1, 4, 4), crs=None), crs="local")
    assert raster.is_plain
    assert raster.transform == TEN_METRES


def test_rasters_without_a_place_do_not_lie_upon_one_another(tmp_path: Path) -> None:
    paths = [
        write_raster(tmp_path / f"B0{i}.png", noise(1, 4, 4), crs=None, transform=None, driver="PNG") for i in "23"
    ]
    with pytest.raises(CrsError, match=r"2 rasters are not georeferenced \(such as .*B02\.png.*B03\.png.* its own run"):
        open_raster(paths, crs="local")
    assert open_raster(paths, bands=["B02", "B03"], crs="local").bands == ("B02", "B03")


def test_a_photograph_is_mapped_to_labels_and_polygons_that_fit(photo: Path, model: Path, tmp_path: Path) -> None:
    features = ["a.gpkg", "a.parquet", "a.fgb", "a.shp"]
    result = geoseg.run(settings(photo, model, output=str(tmp_path / "out"), features=features))
    with rasterio.open(result.labels_path) as source:
        labels, transform = source.read(1), source.transform
        assert source.crs.to_wkt().startswith('LOCAL_CS["plain pixels"')
    assert transform == Affine(1, 0, 0, 0, -1, 0)
    assert len(np.unique(labels)) == 2
    for path in result.features_paths:
        layer = gpd.read_parquet(path) if path.suffix == ".parquet" else gpd.read_file(path)
        assert layer.crs.name == "plain pixels"
        assert layer["pixels"].sum() == HEIGHT * WIDTH
        np.testing.assert_allclose(layer["area_m2"], layer["pixels"])
        burnt = rasterio.features.rasterize(
            zip(layer.geometry, layer["class"], strict=True), labels.shape, fill=255, transform=transform
        )
        np.testing.assert_array_equal(burnt, labels)
    assert json.loads(result.run_file.read_text())["plan"]["raster"]["resolution_m"] is None


def test_labels_of_a_photograph_are_a_raster_like_any_other(photo: Path, model: Path, tmp_path: Path) -> None:
    result = geoseg.run(settings(photo, model, output=str(tmp_path / "out"), features=[]))
    assert open_raster(result.labels_path, resolution=0.3).shape == (HEIGHT, WIDTH)
    polygons = geoseg.polygonize(str(result.labels_path), tmp_path / "polygons.gpkg", workers=1)
    assert gpd.read_file(polygons.output)["pixels"].sum() == HEIGHT * WIDTH


def test_a_photograph_is_segmented_lazily(photo: Path, model: Path, tmp_path: Path) -> None:
    result = geoseg.run(settings(photo, model, output=str(tmp_path / "out"), features=[]))
    labels = geoseg.segment(str(photo), str(model), bands=[1, 2], crs="local", ramp=8)
    with rasterio.open(result.labels_path) as source:
        np.testing.assert_array_equal(labels.compute(), source.read(1))
    assert (float(labels.x[0]), float(labels.y[0])) == (0.5, -0.5)


def test_a_region_of_a_photograph_is_given_in_its_pixels(photo: Path, model: Path, tmp_path: Path) -> None:
    result = geoseg.run(settings(photo, model, output=str(tmp_path / "out"), region="20,-50,60,0"))
    assert gpd.read_file(result.features_paths[0]).total_bounds.tolist() == [20, -50, 60, 0]
    with rasterio.open(result.labels_path) as source:
        assert np.argwhere(source.read(1) != 255).max(0).tolist() == [49, 59]
    with pytest.raises(
        RegionError, match="is in EPSG:4326, and the raster has no place on the ground; give it in pixels"
    ):
        geoseg.plan(settings(photo, model, region="10,10,11,11,EPSG:4326"))


@pytest.mark.filterwarnings("ignore:'crs' was not provided")
@pytest.mark.parametrize("name", ["drawn.gpkg", "drawn.shp"])
def test_what_is_drawn_on_a_photograph_lies_in_its_pixels(name: str, photo: Path, model: Path, tmp_path: Path) -> None:
    drawn = gpd.GeoDataFrame({"class": [1]}, geometry=[shapely.box(20, -50, 60, 0)])
    drawn.to_file(tmp_path / name)
    plan = geoseg.plan(settings(photo, model, region=str(tmp_path / name)))
    assert plan.region is not None
    assert plan.region.region.geometry.bounds == (20, -50, 60, 0)
    geobox = open_raster(photo, crs="local").geobox
    layer = read_corrections(tmp_path / name, geobox, int)
    assert layer.shapes[0].bounds == (20, 0, 60, 50)
    drawn.set_crs(4326).to_file(tmp_path / "placed.gpkg")
    with pytest.raises(
        CrsError, match=r"are in WGS 84, and the raster is in plain pixels, to which no way leads; give"
    ):
        read_corrections(tmp_path / "placed.gpkg", geobox, int)


def test_formats_that_need_the_earth_are_refused_before_anything_runs(photo: Path, model: Path, tmp_path: Path) -> None:
    for name in ("a.geojson", "a.pmtiles"):
        with pytest.raises(VectorError, match="on earth, and 'plain pixels' has none"):
            geoseg.run(settings(photo, model, output=str(tmp_path / "out"), features=[name]))
    assert not (tmp_path / "out").exists()


def test_the_command_line_maps_a_photograph(photo: Path, model: Path, tmp_path: Path) -> None:
    workflow = tmp_path / "map.yaml"
    workflow.write_text(f"model: {model}\nramp: 8\nworkers: 1\nbands: [1, 2]\n")
    output = tmp_path / "out"
    given = ["--input", str(photo), "--output", str(output)]
    assert main(["run", str(workflow), *given]) == 3
    assert main(["run", str(workflow), *given, "--crs", "local"]) == 0
    assert (output / "labels.tif").is_file()
    with rasterio.open(photo) as source:
        classes = write_raster(tmp_path / "a.png", source.read(1), crs=None, transform=None, driver="PNG")
    assert main(["polygonize", str(classes), str(tmp_path / "a.gpkg"), "--crs", "local", "--workers", "1"]) == 0


# The resolution at which the model looks


def test_a_person_may_say_at_which_resolution_the_model_looks(tmp_path: Path, model: Path) -> None:
    scene = write_raster(tmp_path / "scene.tif", noise(3, 300, 200))
    wanted = settings(scene, model)
    assert geoseg.plan(wanted).raster.shape == (300, 200)
    coarser = geoseg.plan(wanted, resolution=20)
    assert coarser.raster.shape == (150, 100)
    assert coarser.raster.resolution == (20, 20)
    assert coarser.fingerprint() != geoseg.plan(wanted).fingerprint()
    assert geoseg.segment(str(scene), str(model), bands=[1, 2], resolution=20, ramp=8).shape == (150, 100)


def test_the_resolution_goes_before_the_models_own() -> None:
    own, other = geoseg.plan("land_use"), geoseg.plan("land_use", resolution=30)
    assert own.spec.resolution == 10
    assert own.raster.resolution == (10, 10)
    assert other.raster.resolution == (30, 30)


@pytest.mark.parametrize("resolution", [0, -1, float("nan"), float("inf"), "fine"])
def test_a_resolution_must_be_a_length(photo: Path, model: Path, resolution: object) -> None:
    with pytest.raises(WorkflowError, match="resolution"):
        geoseg.plan(settings(photo, model, resolution=resolution))


def test_plain_pixels_have_no_resolution_to_choose(photo: Path, model: Path) -> None:
    with pytest.raises(WorkflowError, match="cannot be resampled to metres; leave resolution out"):
        geoseg.plan(settings(photo, model, resolution=0.3))
