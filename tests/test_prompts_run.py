"""Runs that are asked for something: from a layer of prompts and a folder of weights to polygons, on real workers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pyogrio
import pytest
import rasterio
from distributed import Client
from shapely.geometry import Point, box

import geoseg
from geoseg.catalog import find_model
from geoseg.engine import Event, connect
from geoseg.errors import RegionError, WorkflowError
from geoseg.models import load_model
from geoseg.models.trial import try_model
from geoseg.vector import TableLike
from tests.networks import save_sam
from tests.rasters import TEN_METRES, write_raster

SIDE = 300


@pytest.fixture(scope="module")
def sam(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of weights."""
    return save_sam(tmp_path_factory.mktemp("sam"))


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """Coloured squares under noise."""
    rng = np.random.default_rng(4)
    squares = np.kron(rng.integers(0, 200, (3, 10, 10)), np.ones((30, 30)))
    pixels = (squares + rng.integers(0, 55, squares.shape)).astype(np.uint8)
    return write_raster(tmp_path / "photo.tif", pixels, colorinterp=["red", "green", "blue"])


def at(x: float, y: float) -> Point:
    """A place in px as a point of the raster's CRS."""
    return Point(TEN_METRES @ (x, y))


@pytest.fixture
def points(tmp_path: Path) -> Path:
    """Two objects that are wanted, one of them with a point that is not on it; in degrees."""
    places = [at(40.5, 40.5), at(180.5, 60.5), at(190.5, 62.5)]
    frame = gpd.GeoDataFrame({"positive": [1, 1, 0], "object": [1, 2, 2]}, geometry=places, crs="EPSG:32618")
    frame.to_crs(4326).to_file(tmp_path / "points.gpkg")
    return tmp_path / "points.gpkg"


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    """One worker process for all runs: importing the library takes longer than they do."""
    with connect(None, 1) as client:
        yield client


def run(
    client: Client, photo: Path, sam: Path, prompts: TableLike | None, output: Path, **settings: Any
) -> geoseg.RunResult:
    given = {"tile_size": 128, "halo": 0, "ramp": 32, "min_score": 0.0, **settings}
    return geoseg.run(
        "prompts",
        input=str(photo),
        weights=str(sam),
        prompts=prompts,
        output=str(output),
        client=client,
        **given,
    )


def test_points_give_one_object_each_and_only_their_blocks_are_read(
    client: Client, photo: Path, sam: Path, points: Path, tmp_path: Path
) -> None:
    heard: list[Event] = []
    result = run(
        client,
        photo,
        sam,
        points,
        tmp_path / "out",
        progress=lambda event: heard.append(event) if isinstance(event, Event) else None,
    )
    asked = {(0, 0), (0, 1)}
    beside = {(0, 2), (1, 0), (1, 1), (1, 2)}  # where their tiles reach: nothing is read there
    assert {event.place for event in heard if event.stage == "predict"} == asked | beside
    assert result.plan.grid.rows.blocks * result.plan.grid.cols.blocks == 9
    features = gpd.read_file(result.features_paths[0], layer="objects")
    assert features["instance"].tolist() == list(range(1, len(features) + 1))
    assert 0 < len(features) <= 2
    assert result.instances_path is not None
    with rasterio.open(result.instances_path) as source:
        instances = source.read(1)
    assert instances.max() == len(features)
    assert not instances[128:, :].any()


def test_prompts_give_the_same_for_every_layout_of_blocks(
    client: Client, photo: Path, sam: Path, points: Path, tmp_path: Path
) -> None:
    held = gpd.read_file(points)  # as objects they are a text that is longer than a name of a file can be
    results = [run(client, photo, sam, points, tmp_path / "out1", block_tiles=1)]
    results.append(run(client, photo, sam, held, tmp_path / "out2", block_tiles=2))
    tables = [pyogrio.read_arrow(result.features_paths[0], layer="objects")[1] for result in results]
    assert len(tables[0])
    assert tables[0].equals(tables[1])


def test_a_box_over_several_tiles_is_one_object(client: Client, photo: Path, sam: Path, tmp_path: Path) -> None:
    left, top = TEN_METRES @ (20, 30)
    right, bottom = TEN_METRES @ (270, 110)
    frame = gpd.GeoDataFrame(geometry=[box(left, bottom, right, top)], crs="EPSG:32618")
    frame.to_file(tmp_path / "boxes.geojson")
    result = run(client, photo, sam, tmp_path / "boxes.geojson", tmp_path / "out")
    features = gpd.read_file(result.features_paths[0], layer="objects")
    assert len(features) == 1
    bounds = features.total_bounds
    assert (bounds[2] - bounds[0]) / 10 > 128  # px: wider than a tile


def test_prompts_outside_the_region_are_said_to_be(
    client: Client, photo: Path, sam: Path, points: Path, tmp_path: Path
) -> None:
    left, top = TEN_METRES @ (250, 250)
    region = f"{left},{top - 200},{left + 200},{top},EPSG:32618"
    with pytest.raises(RegionError, match="no prompt lies within the region"):
        run(client, photo, sam, points, tmp_path / "out", region=region)


def test_a_model_that_is_asked_in_words_says_so(photo: Path, points: Path) -> None:
    with pytest.raises(WorkflowError, match="'sam3' segments what a text describes; give --text"):
        geoseg.plan("prompts", model="sam3", input=str(photo), prompts=str(points))


def test_a_model_that_takes_prompts_is_tried_with_one(sam: Path) -> None:
    tried = try_model(load_model(replace(find_model("sam-vit-base"), weights=str(sam), min_score=0.0)), size=128)
    assert tried.result.startswith("1 objects")
