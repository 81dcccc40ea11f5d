"""An analyst's work on the shipped scene, as docs/finishing.md tells it; every result is read by others than geoseg."""

from __future__ import annotations

import csv
import shlex
import shutil
from pathlib import Path

import geopandas as gpd
import numpy as np
import pypdfium2
import pytest
import rasterio
import yaml
from numpy.typing import NDArray
from rasterio.features import geometry_mask
from scipy import ndimage
from shapely.geometry import Point, box

from geoseg.catalog import find_imagery
from geoseg.cli import main
from tests.test_docs import commands

LEGEND = [
    {"name": "Forest", "color": "#1b7837", "of": ["trees", "shrub_and_scrub"], "value": 10},
    {"name": "Farmland", "color": "#e49635", "of": ["crops", "grass"], "value": 20},
    {"name": "Wetland", "of": ["flooded_vegetation"], "value": 30},
    {"name": "quarry", "color": "#8c510a", "of": [], "value": 40},
]
"""Classes of the finished map; water, built, bare and snow follow as they are."""

UNIT = 1000.0
"""Minimum mapping unit, m2: ten pixels."""

PIXEL = 100.0
"""Ground of a pixel, m2."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the commands of the page have run, one after the other, on the shipped scene."""
    home = tmp_path_factory.mktemp("analyst")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        (home / "scene.tif").symlink_to(find_imagery("delmarva").paths[0])
        (home / "legend.yaml").write_text(yaml.safe_dump({"classes": LEGEND}))
        left, bottom, right, top = rasterio.open("scene.tif").bounds
        halves = gpd.GeoDataFrame(
            {"name": ["west", "east"]},
            geometry=[box(left, bottom, left + 5_003, top), box(left + 5_003, bottom, right, top)],
            crs="EPSG:32618",
        )
        halves.to_file("aoi.geojson")  # as GeoJSON has it, in degrees
        edits().to_file("edits.gpkg")
        for command in commands("finishing"):
            assert main(shlex.split(command)[1:]) == 0, command
            if not (home / "first.tif").exists():
                shutil.copy(home / "out" / "land_use" / "labels.tif", home / "first.tif")
    return home


def edits(bounds: tuple[float, float, float, float] | None = None) -> gpd.GeoDataFrame:
    """Forty corrections: 30 polygons of four classes, some over others, and 10 points of segments that are quarries."""
    random = np.random.default_rng(7)
    left, bottom, right, top = bounds or rasterio.open(find_imagery("delmarva").paths[0]).bounds
    shapes, classes = [], []
    for _ in range(30):
        x, y, size = random.uniform(left, right - 900), random.uniform(bottom, top - 900), random.uniform(150, 900)
        shapes.append(Point(x + size, y + size).buffer(size / 2, 3))
        classes.append(random.choice(["Forest", "Farmland", "quarry", "water"]))
    for _ in range(10):
        shapes.append(Point(random.uniform(left, right), random.uniform(bottom, top)))
        classes.append("quarry")
    return gpd.GeoDataFrame({"class": classes}, geometry=shapes, crs="EPSG:32618")


def labels_of(path: Path) -> NDArray[np.uint8]:
    with rasterio.open(path) as source:
        return source.read(1)


def expected_labels(folder: Path) -> NDArray[np.uint8]:
    """The first map with the legend and the corrections, by rasterio and scipy."""
    values = {"Forest": 10, "Farmland": 20, "quarry": 40, "water": 0}
    model = {0: 0, 1: 10, 5: 10, 2: 20, 4: 20, 3: 30}
    with rasterio.open(folder / "first.tif") as source:
        found, transform = source.read(1), source.transform
    labels = found.copy()
    for value, shown in model.items():
        labels[found == value] = shown
    drawn = edits()
    for shape, name in zip(drawn.geometry[:30], drawn["class"], strict=False):
        labels[geometry_mask([shape], labels.shape, transform, invert=True)] = values[name]
    burnt = labels.copy()
    for point in drawn.geometry[30:]:
        column, row = (int(part) for part in ~transform @ (point.x, point.y))
        segments, _ = ndimage.label(burnt == burnt[row, column])
        labels[segments == segments[row, column]] = 40
    return labels


@pytest.mark.slow
def test_the_raster_is_the_first_map_with_legend_and_corrections(folder: Path) -> None:
    with rasterio.open(folder / "out" / "land_use" / "labels.tif") as source:
        assert (source.read(1) == expected_labels(folder)).all()
        names = {key.removeprefix("CLASS_"): value for key, value in source.tags().items() if key.startswith("CLASS_")}
    assert names["40"] == "quarry"
    assert names["0"] == "water"


@pytest.mark.slow
def test_the_sieved_raster_has_no_area_below_the_minimum(folder: Path) -> None:
    labels = labels_of(folder / "out" / "land_use" / "sieved.tif")
    for value in np.unique(labels):
        segments, _ = ndimage.label(labels == value)
        assert np.bincount(segments.ravel())[1:].min() * PIXEL >= UNIT, value
    before, count = ndimage.label(expected_labels(folder) == 10)
    assert np.bincount(before.ravel())[1:].min() * PIXEL < UNIT
    assert ndimage.label(labels == 10)[1] < count


@pytest.mark.slow
def test_both_vector_files_hold_the_same_smooth_polygons_that_cover_the_scene(folder: Path) -> None:
    labels = labels_of(folder / "out" / "land_use" / "sieved.tif")
    files = {ending: gpd.read_file(folder / "out" / "land_use" / f"map.{ending}") for ending in ("gpkg", "shp")}
    assert len(files["gpkg"]) == len(files["shp"])
    polygons = files["gpkg"]
    assert polygons.geometry.area.min() >= UNIT - 1e-6
    assert polygons.is_valid.all()
    assert polygons.geometry.area.sum() == pytest.approx(labels.size * PIXEL)
    assert polygons.union_all().area == pytest.approx(labels.size * PIXEL), "nothing is covered twice"
    for name, value in (("Forest", 10), ("Farmland", 20), ("Wetland", 30), ("quarry", 40), ("water", 0)):
        assert polygons[polygons["name"] == name].area.sum() == pytest.approx(
            (labels == value).sum() * PIXEL, rel=0.02
        ), name


@pytest.mark.slow
def test_areas_are_those_that_counting_gives(folder: Path) -> None:
    labels = labels_of(folder / "out" / "land_use" / "labels.tif")
    part = np.zeros(labels.shape[1])
    part[:500], part[500] = 1, 0.3
    with (folder / "areas.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    found = {(row["zone"], row["name"]): float(row["area_ha"]) for row in rows}
    for name, value in (("Forest", 10), ("Farmland", 20), ("Wetland", 30), ("quarry", 40)):
        columns = (labels == value).sum(0) * PIXEL / 10_000
        assert found["map", name] == pytest.approx(columns.sum(), rel=2e-3)
        for zone, share in (("1", part), ("2", 1 - part)):
            assert found[zone, name] == pytest.approx(columns @ share, rel=4e-3)


@pytest.mark.slow
def test_the_sheet_has_the_finished_classes(folder: Path) -> None:
    with pypdfium2.PdfDocument(folder / "map.pdf") as document:
        text = document[0].get_textpage().get_text_range()
        assert sorted(document[0].get_size()) == pytest.approx([595.3, 841.9], abs=0.1)
    places = [text.index(name) for name in ("Forest", "Farmland", "Wetland", "quarry", "water", "built", "bare")]
    assert places == sorted(places), "in the legend's order"
    assert {"Land cover", "Forest", "Farmland", "Wetland", "quarry"} <= {part.strip() for part in text.splitlines()} | {
        line.rsplit(" ", 2)[0] for line in text.splitlines()
    }
