"""Every command and every line of Python in the README works."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import rasterio
from rasterio.windows import Window
from shapely.geometry import Point, box

from geoseg.catalog import find_imagery
from geoseg.cli import main
from geoseg.training import load_recipe
from tests.networks import save_sam
from tests.rasters import TEN_METRES, write_raster
from tests.test_sam import grounding_dino

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
COMMANDS = [line for line in re.findall(r"^geoseg .*$", README, re.MULTILINE) if not line.startswith("geoseg train")]


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a scene and a region of the user's, as the README's commands expect them."""
    with rasterio.open(find_imagery("delmarva").paths[0]) as source:
        window = Window(100, 200, 300, 260)
        transform = source.window_transform(window)
        pixels, names = source.read(window=window), source.descriptions
    write_raster(tmp_path / "scene.tif", pixels, transform=transform, descriptions=names)
    left, top = transform.c, transform.f
    region = gpd.GeoDataFrame(geometry=[box(left + 500, top - 1500, left + 1500, top - 500)], crs="EPSG:32618")
    region.to_crs(4326).to_file(tmp_path / "aoi.geojson")
    classes = np.random.default_rng(0).integers(0, 4, (1, 30, 40)).repeat(4, 1).repeat(4, 2).astype(np.uint8)
    write_raster(tmp_path / "labels.tif", classes, transform=transform)
    write_raster(tmp_path / "truth.tif", np.roll(classes, 1, axis=2), transform=transform)
    for name, side in (("buildings", 100), ("surveyed", 110)):
        house = gpd.GeoDataFrame(geometry=[box(left, top - side, left + side, top)], crs="EPSG:32618")
        house.to_file(tmp_path / f"{name}.gpkg")
    pixels = np.random.default_rng(1).integers(0, 256, (3, 128, 128), dtype=np.uint8)
    write_raster(tmp_path / "aerial.tif", pixels, colorinterp=["red", "green", "blue"])
    at = rasterio.Affine(0.2, 0, 500_000, 0, -0.2, 4_200_000)
    write_raster(tmp_path / "drone.tif", pixels, transform=at, colorinterp=["red", "green", "blue"])
    points = gpd.GeoDataFrame({"positive": [1]}, geometry=[Point(TEN_METRES @ (50, 60))], crs="EPSG:32618")
    points.to_crs(4326).to_file(tmp_path / "points.gpkg")
    fill_cache(tmp_path / "hub", monkeypatch)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def fill_cache(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiny networks where the hub's own library keeps what it has fetched by name."""
    for name, save in (("facebook/sam-vit-base", save_sam), ("IDEA-Research/grounding-dino-tiny", grounding_dino)):
        folder = home / f"models--{name.replace('/', '--')}"
        save(folder / "snapshots" / "0123")
        (folder / "refs").mkdir()
        (folder / "refs" / "main").write_text("0123")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(home))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_HUB_CACHE", str(home))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.mark.parametrize("command", COMMANDS)
def test_the_command_works_as_it_stands(command: str, elsewhere: Path) -> None:
    assert main(shlex.split(command)[1:]) == 0
    assert (elsewhere / "scene.tif").is_file()


def test_the_python_works_as_it_stands(elsewhere: Path) -> None:
    code = re.search(r"```python\n(.*?)```", README, re.DOTALL)
    assert code is not None
    names: dict[str, object] = {}
    exec(code.group(1), names)  # noqa: S102 - our own README
    assert names["result"].labels == Path("out/labels.tif")  # type: ignore[attr-defined]
    assert (elsewhere / "out" / "features.gpkg").is_file()
    with rasterio.open(elsewhere / "out" / "labels.tif") as source:
        assert (names["labels"].compute().to_numpy() == source.read(1)).all()  # type: ignore[attr-defined]


def test_the_recipe_of_the_shipped_model_can_be_read() -> None:
    assert "geoseg train train_land_cover" in README
    assert load_recipe(ROOT / "workflows" / "train_land_cover.yaml").name == "sentinel2-land-cover"
