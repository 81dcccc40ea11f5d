"""The models that ship, by the workflows that ship, on imagery that they have never seen."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
from distributed import Client

import geoseg
from geoseg.catalog import catalogs_home, find_model, workflows_home
from geoseg.engine import connect
from geoseg.evaluation import evaluate
from geoseg.training import load_recipe
from geoseg.training.families import family_of
from tests.rasters import write_raster

WORKFLOWS = workflows_home()
TRAINED = {
    "buildings": "train_buildings.yaml",
    "buildings-mask-rcnn": "train_buildings_mask_rcnn.yaml",
    "land-cover-aerial": "train_land_cover_aerial.yaml",
}


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with connect(None, 2) as client:
        yield client


def run(client: Client, workflow: str, scene: Path, output: Path, **settings: object) -> geoseg.RunResult:
    return geoseg.run(
        WORKFLOWS / workflow, input=str(scene), output=str(output), client=client, report=False, **settings
    )


def test_buildings_of_a_place_that_was_never_seen_are_found(client: Client, shared_data: Path, tmp_path: Path) -> None:
    folder = shared_data / "buildings" / "val"
    result = run(client, "buildings.yaml", folder / "kampala_ug_rgb.tif", tmp_path / "out")
    scores = evaluate(tmp_path / "out", folder / "kampala_ug_instances.tif", task="instance").summary()["scores"]
    assert scores["f1"] >= 0.65
    assert scores["area_iou"] >= 0.75
    features = gpd.read_file(result.features_paths[0], layer="buildings")
    assert {"instance", "score", "area_m2"} <= set(features.columns)
    assert features.geometry.is_valid.all()
    first, second = shapely.STRtree(features.geometry).query(features.geometry, predicate="overlaps")
    apart = shapely.area(shapely.intersection(features.geometry.values[first], features.geometry.values[second]))
    assert (apart < 1e-6).all()


def test_houses_of_a_place_that_was_never_seen_are_found_by_mask_rcnn(
    client: Client, shared_data: Path, tmp_path: Path
) -> None:
    folder = shared_data / "buildings" / "val"
    run(client, "buildings.yaml", folder / "zanzibar_tz_rgb.tif", tmp_path / "out", model="buildings-mask-rcnn")
    scores = evaluate(tmp_path / "out", folder / "zanzibar_tz_instances.tif", task="instance").summary()["scores"]
    assert scores["f1"] >= 0.75
    assert scores["area_iou"] >= 0.75


def test_land_cover_of_a_scene_that_was_never_seen_is_mapped(client: Client, shared_data: Path, tmp_path: Path) -> None:
    window = rasterio.windows.Window(900, 600, 1200, 1000)
    for kind in ("rgb", "labels"):
        with rasterio.open(shared_data / "dubai" / "val" / f"tile4_{kind}.tif") as source:
            pixels = source.read(window=window)
        colors = {"colorinterp": ["red", "green", "blue"]} if kind == "rgb" else {"nodata": 255}
        write_raster(tmp_path / f"{kind}.tif", pixels, crs=None, transform=rasterio.Affine.identity(), **colors)
    run(client, "land_cover_aerial.yaml", tmp_path / "rgb.tif", tmp_path / "out", crs="local")
    scores = evaluate(tmp_path / "out" / "labels.tif", tmp_path / "labels.tif").summary()["scores"]
    assert scores["mean_iou"] > 0.35
    assert scores["accuracy"] > 0.6


def test_a_panoptic_map_holds_land_cover_and_buildings_that_tile_the_plane(
    client: Client, shared_data: Path, tmp_path: Path
) -> None:
    with rasterio.open(shared_data / "buildings" / "val" / "zanzibar_tz_rgb.tif") as source:
        window = rasterio.windows.Window(0, 600, 1500, 1000)
        pixels, transform = source.read(window=window), source.window_transform(window)
        crs = source.crs
    scene = write_raster(
        tmp_path / "scene.tif", pixels, crs=crs, transform=transform, colorinterp=["red", "green", "blue"]
    )
    result = run(client, "panoptic.yaml", scene, tmp_path / "out", simplify=0)
    features = gpd.read_file(result.features_paths[0], layer="land_cover")
    things = features["isthing"].astype(bool)
    assert things.sum() > 5
    assert set(features.loc[things, "name"]) == {"building"}
    assert set(features.loc[~things, "name"]) <= {"land", "road", "vegetation", "water"}
    with rasterio.open(result.labels_path) as source:
        assert features["pixels"].sum() == source.width * source.height
    assert shapely.coverage_is_valid(features.geometry.explode().values)


@pytest.mark.parametrize("name", TRAINED)
def test_a_trained_entry_is_what_its_recipe_says(name: str) -> None:
    spec, recipe = find_model(name), load_recipe(WORKFLOWS / TRAINED[name])
    assert tuple(spec.band_names) == recipe.bands
    assert spec.scalings == recipe.scalings
    detects = family_of(recipe, spec.architecture).detects
    assert spec.watershed == (None if detects else recipe.watershed_settings)
    assert [(item.value, item.name) for item in spec.classes] == [(item.value, item.name) for item in recipe.classes]
    assert (spec.resolution, spec.tile_size) == (recipe.resolution, recipe.tile_size)
    weights = Path(str(spec.weights))
    assert weights.stat().st_size <= 20e6
    card = (catalogs_home() / "models" / name / "README.md").read_text(encoding="utf-8")
    assert "## Known failures" in card
    assert "## Provenance" in card
    steps = np.loadtxt(weights.with_name("log.csv"), delimiter=",", skiprows=1, usecols=0)
    assert 0 < steps[-1] <= recipe.steps
