"""Rasters whose longitudes count from 0 and from -180 lie at the same places."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from affine import Affine
from numpy.typing import NDArray
from rasterio.warp import Resampling, reproject

import geoseg
from geoseg.grid import Window
from geoseg.raster import open_raster
from tests.rasters import write_raster

STEP = 0.001
UTM = Affine(100, 0, 438_000, 0, -100, 4_206_100)
LABELS = np.random.default_rng(0).integers(0, 4, (20, 24), dtype=np.uint8).repeat(5, 0).repeat(5, 1)


def grid(west: float, step: float = STEP, north: float = 38) -> Affine:
    return Affine(step, 0, west, 0, -step, north)


@pytest.fixture(scope="module")
def rasters(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same labels from -180, from 0, in another datum and in UTM, there brought by GDAL."""
    folder = tmp_path_factory.mktemp("longitudes")
    projected = np.full((130, 130), 255, np.uint8)
    places: dict[str, Any] = {"src_transform": grid(-75.7), "dst_transform": UTM, "resampling": Resampling.nearest}
    reproject(LABELS, projected, src_crs="EPSG:4326", dst_crs="EPSG:32618", dst_nodata=255, **places)
    made = {
        "west": (LABELS, grid(-75.7), "EPSG:4326"),
        "east": (LABELS, grid(284.3), "EPSG:4326"),
        "datum": (LABELS, grid(284.3), "EPSG:4269"),
        "utm": (projected, UTM, "EPSG:32618"),
    }
    return {
        name: write_raster(folder / f"{name}.tif", labels, transform=transform, crs=crs, nodata=255)
        for name, (labels, transform, crs) in made.items()
    }


@pytest.mark.parametrize("truth", ["west", "east", "datum", "utm"])
def test_evaluation_and_comparison_do_not_depend_on_where_degrees_begin(rasters: dict[str, Path], truth: str) -> None:
    same = ("west", "east", "datum")
    counts = {}
    for name in rasters:
        found = geoseg.evaluate(rasters[name], rasters[truth])
        accuracy = found.summary()["scores"]["accuracy"]
        assert accuracy == 1 if name == truth or {name, truth} <= set(same) else accuracy > 0.97
        changed = geoseg.compare(rasters[truth], rasters[name]).pixels
        assert changed is not None
        counts[name] = changed.pixel_matrix.to_numpy()
    for name in same[1:]:
        np.testing.assert_array_equal(counts[name], counts["west"])


@pytest.mark.parametrize("first", ["west", "east"])
@pytest.mark.parametrize("second", ["west", "east", "datum"])
def test_a_mosaic_has_each_place_once(rasters: dict[str, Path], first: str, second: str) -> None:
    raster = open_raster([rasters[first], rasters[second]])
    assert (raster.shape, raster.transform) == (LABELS.shape, open_raster(rasters[first]).transform)
    np.testing.assert_array_equal(raster.read(Window(0, 0, *raster.shape))[0][0], LABELS)


def test_a_neighbour_is_beside_the_first_raster_wherever_its_degrees_begin(tmp_path: Path) -> None:
    halves: list[NDArray[Any]] = np.split(LABELS, 2, axis=1)
    paths = [
        write_raster(tmp_path / f"{west}.tif", half, transform=grid(west), crs="EPSG:4326", nodata=255)
        for west, half in ((-75.7, halves[0]), (284.36, halves[1]))
    ]
    for order, west in ((1, -75.7), (-1, 284.3)):
        raster = open_raster(paths[::order])
        assert raster.transform.c == pytest.approx(west)
        np.testing.assert_array_equal(raster.read(Window(0, 0, *raster.shape))[0][0], LABELS)


def test_the_globe_from_0_is_the_globe_from_180_west(tmp_path: Path) -> None:
    labels = np.random.default_rng(1).integers(0, 4, (18, 36), dtype=np.uint8).repeat(10, 0).repeat(10, 1)
    pair = [
        write_raster(tmp_path / "a.tif", labels, transform=grid(-180, 1, 90), crs="EPSG:4326"),
        write_raster(tmp_path / "b.tif", np.roll(labels, 180, 1), transform=grid(0, 1, 90), crs="EPSG:4326"),
    ]
    for one, other in (pair, pair[::-1]):
        found = geoseg.evaluate(one, other).summary()["scores"]
        assert (found["accuracy"], found["pixels"]) == (1, labels.size)
        assert open_raster([one, other]).shape == labels.shape
