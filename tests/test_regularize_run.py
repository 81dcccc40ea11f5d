"""Regularized polygons of whole rasters and runs: the same for every layout, and refused where they would do harm."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pytest
import shapely
from distributed import Client
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

import geoseg
from geoseg.cli import main
from geoseg.engine import connect
from geoseg.errors import WorkflowError
from geoseg.models.spec import ClassSpec
from geoseg.options import Polygonizing
from geoseg.workflow.outlines import check_regularized
from tests.rasters import write_raster
from tests.test_footprints import RECTANGLE, SHAPES, corners, meeting, overlap, put, terrace
from tests.test_objects_run import NETWORKS, scene, write_model
from tests.test_objects_run import client as inside  # a fixture, under another name

__all__ = ["inside"]


def town(shape: tuple[int, int] = (360, 340)) -> NDArray[np.uint32]:
    """Houses that touch, stand alone, wind around a yard, or lie on the raster's edge, with edges that waver."""
    y, x = np.mgrid[: shape[0], : shape[1]] + 0.5
    forms = [form for form, _ in SHAPES.values()]
    houses = [*terrace(0.3), put(RECTANGLE, 45, 0.2, -6, 110)]
    houses += [put(forms[k % 4], 28 + 2 * k, 0.1 * k, 60 + 72 * (k % 4), 120 + 72 * (k // 4)) for k in range(12)]
    waves = 0.8 * gaussian_filter(np.random.default_rng(0).standard_normal(shape), 2)
    labels = np.zeros(shape, np.uint32)
    for number, house in enumerate(houses, start=1):
        inside = shapely.contains_xy(house, x, y)
        soft = gaussian_filter(inside.astype(float), 1)
        labels[(soft + waves * (soft > 0.02) > 0.5) & (labels == 0)] = number
    return labels


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with connect(None, 2) as own:
        yield own


@pytest.fixture(scope="module")
def raster(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_raster(tmp_path_factory.mktemp("raster") / "houses.tif", town(), nodata=0)


def rows_of(path: Path) -> list[tuple[Any, ...]]:
    frame = gpd.read_file(path, layer="polygons")
    return [tuple(row) for row in frame.assign(geometry=frame.geometry.to_wkb()).itertuples(index=False)]


def test_regularized_polygons_are_the_same_for_every_block_size_and_number_of_workers(
    raster: Path, client: Client, tmp_path: Path
) -> None:
    found = []
    for block_size in (512, 100, 23):
        path = tmp_path / f"{block_size}.gpkg"
        geoseg.polygonize(str(raster), path, client=client, block_size=block_size, regularize=True)
        found.append(rows_of(path))
    arguments = ["polygonize", str(raster), str(tmp_path / "one.gpkg"), "--regularize", "--block-size", "64"]
    assert main([*arguments, "--workers", "1"]) == 0
    found.append(rows_of(tmp_path / "one.gpkg"))
    assert len(found[0]) >= len(np.unique(town())) - 1
    for rows in found[1:]:
        assert rows == found[0]


def test_regularized_polygons_are_few_straight_walls_that_do_not_overlap(
    raster: Path, client: Client, tmp_path: Path
) -> None:
    frames = []
    for name, settings in {"pixels": {}, "simple": {"simplify": 15}, "walls": {"regularize": True}}.items():
        geoseg.polygonize(str(raster), tmp_path / f"{name}.gpkg", client=client, **settings)
        frames.append(gpd.read_file(tmp_path / f"{name}.gpkg"))
    pixels, simple, walls = frames
    polygons = walls.geometry.to_numpy()
    assert walls["class"].tolist() == pixels["class"].tolist()
    assert walls["pixels"].tolist() == pixels["pixels"].tolist()
    assert shapely.is_valid(polygons).all()
    assert shapely.coverage_is_valid(polygons)
    assert meeting(pixels.geometry.to_numpy(), "****1****") <= meeting(polygons, "****1****")
    assert shapely.get_num_coordinates(polygons).sum() < shapely.get_num_coordinates(simple.geometry).sum()
    large = walls["pixels"] > 300
    angles = np.concatenate([corners(polygon) for polygon in polygons[large]])
    straight = angles > 174  # a neighbour's wall ends there
    assert (np.abs(angles[~straight] - 90) < 2).mean() > 0.9
    assert walls["area_m2"].to_numpy() == pytest.approx(walls.area.to_numpy(), rel=2e-3)
    assert walls["perimeter_m"].to_numpy() == pytest.approx(walls.length.to_numpy(), rel=2e-3)


def test_a_tolerance_of_ones_own_gives_fewer_walls(raster: Path, client: Client, tmp_path: Path) -> None:
    counts = []
    for simplify in (5, 25):
        path = tmp_path / f"{simplify}.gpkg"
        geoseg.polygonize(str(raster), path, client=client, regularize=True, simplify=simplify)
        counts.append(shapely.get_num_coordinates(gpd.read_file(path).geometry).sum())
    assert counts[1] < counts[0]


def test_a_region_cuts_regularized_polygons_along_its_edge(raster: Path, client: Client, tmp_path: Path) -> None:
    edge = shapely.Polygon([(440_300, 4_199_600), (442_900, 4_199_100), (442_700, 4_196_900), (440_300, 4_196_700)])
    gpd.GeoDataFrame(geometry=[edge], crs="EPSG:32618").to_file(tmp_path / "aoi.gpkg")
    settings: dict[str, Any] = {"client": client, "regularize": True}
    geoseg.polygonize(str(raster), tmp_path / "all.gpkg", **settings)
    for block_size in (512, 70):
        path = tmp_path / f"{block_size}.gpkg"
        geoseg.polygonize(str(raster), path, region=str(tmp_path / "aoi.gpkg"), block_size=block_size, **settings)
    assert rows_of(tmp_path / "512.gpkg") == rows_of(tmp_path / "70.gpkg")
    cut, whole = (gpd.read_file(tmp_path / name) for name in ("512.gpkg", "all.gpkg"))
    assert cut.geometry.is_valid.all()
    assert cut.union_all().difference(edge).area < 1e-3
    wanted = whole.clip(edge)
    assert cut.union_all().symmetric_difference(wanted.union_all()).area < 0.03 * wanted.area.sum()
    inner = cut[cut.within(edge.buffer(-100))]
    beside = whole[whole.within(edge.buffer(-100))]
    assert inner["class"].tolist() == beside["class"].tolist()
    assert overlap(inner.geometry.to_numpy(), beside.geometry.to_numpy()).min() > 0.95


@pytest.mark.parametrize(
    ("profile", "settings", "what"),
    [
        ({"nodata": 255}, {}, "holds classes; choose what is a building, such as classes: \\[1\\]"),
        ({"nodata": 255}, {"classes": [1, 2]}, "that would be 1, 2; choose what is a building"),
        ({"dtype": np.uint32}, {}, "declares no nodata"),
    ],
    ids=["classes", "several", "ground"],
)
def test_what_is_no_building_is_not_regularized(
    tmp_path: Path, client: Client, profile: dict[str, Any], settings: dict[str, Any], what: str
) -> None:
    labels = np.random.default_rng(0).integers(0, 3, (20, 20)).astype(profile.pop("dtype", np.uint8))
    path = write_raster(tmp_path / "labels.tif", labels, **profile)
    with pytest.raises(WorkflowError, match=what):
        geoseg.polygonize(str(path), tmp_path / "out.gpkg", client=client, regularize=True, **settings)


def test_one_class_of_many_is_regularized_when_it_is_chosen(tmp_path: Path, client: Client) -> None:
    labels = np.where(town() > 0, 7, 3).astype(np.uint8)
    path = write_raster(tmp_path / "labels.tif", labels, nodata=255)
    geoseg.polygonize(str(path), tmp_path / "out.gpkg", client=client, regularize=True, classes=[7])
    frame = gpd.read_file(tmp_path / "out.gpkg")
    assert set(frame["class"]) == {7}
    assert not meeting(frame.geometry.to_numpy(), "T********")


@pytest.mark.parametrize(
    ("stuff", "things", "remedy"),
    [
        (["ground", "building"], [], "classes: \\[building\\]"),
        (["land"], ["car", "house"], "classes: \\[house\\]"),
        (["a", "b"], [], "classes: \\[a\\]"),
    ],
)
def test_the_remedy_names_what_is_called_a_building(stuff: list[str], things: list[str], remedy: str) -> None:
    with pytest.raises(WorkflowError, match=remedy):
        check_regularized(stuff, things)


def test_objects_alone_and_one_class_alone_are_regularized() -> None:
    check_regularized([], ["house", "ship"])
    check_regularized(["building"], [])
    assert ClassSpec(1, "building").name == "building"


def run(client: Client, raster: Path, task: str, output: Path, **settings: Any) -> gpd.GeoDataFrame:
    model = write_model(raster.parent, task)
    result = geoseg.run(
        {"model": str(model)}, input=str(raster), output=str(output), client=client, regularize=True, **settings
    )
    return gpd.read_file(result.features_paths[0])


@pytest.fixture
def ships(tmp_path: Path) -> Path:
    return write_raster(tmp_path / "scene.tif", scene(), nodata=0)


def test_objects_of_a_run_are_regularized_and_still_touch(inside: Client, ships: Path, tmp_path: Path) -> None:
    frame = run(inside, ships, "instance-segmentation", tmp_path / "out", block_tiles=1)
    again = run(inside, ships, "instance-segmentation", tmp_path / "again", block_tiles=4)
    assert frame.geometry.to_wkb().tolist() == again.geometry.to_wkb().tolist()
    assert frame["instance"].tolist() == [1, 2, 3, 4, 5]
    one, other = frame.geometry[1], frame.geometry[2]
    assert one.intersection(other).length == pytest.approx(100, abs=15)
    assert one.intersection(other).area == 0
    assert np.abs(frame.area / (100 * frame["pixels"]) - 1).max() < 0.06


def test_stuff_beside_objects_is_refused_before_anything_is_predicted(
    inside: Client, ships: Path, tmp_path: Path
) -> None:
    assert "panoptic-segmentation" in NETWORKS
    with pytest.raises(WorkflowError, match="that would be house, ship, sea, land; choose what is a building"):
        run(inside, ships, "panoptic-segmentation", tmp_path / "out")
    assert not list((tmp_path / "out" / "state" / "predict").glob("*"))


def test_objects_of_a_panoptic_map_are_regularized_when_they_are_chosen(
    inside: Client, ships: Path, tmp_path: Path
) -> None:
    frame = run(inside, ships, "panoptic-segmentation", tmp_path / "out", classes=["house"])
    assert set(frame["name"]) == {"house"}
    assert frame.geometry.is_valid.all()


def test_the_preset_of_openstreetmap_writes_tags_and_right_angles_the_same_for_every_layout(
    raster: Path, client: Client, tmp_path: Path
) -> None:
    paths = [tmp_path / f"{size}.geojson" for size in (512, 23)]
    for path in paths:
        geoseg.polygonize(str(raster), path, client=client, block_size=int(path.stem), preset="osm")
    texts = [path.read_text().replace('"name": "512"', '"name": "23"') for path in paths]
    assert texts[0] == texts[1]
    geoseg.polygonize(str(raster), paths[1], client=client, preset="osm")  # nobody has edited it
    features = json.loads(paths[0].read_text())["features"]
    assert len(features) >= len(np.unique(town())) - 1
    assert all(feature["properties"] == {"building": "yes", "source": "geoseg"} for feature in features)
    assert all("id" not in feature for feature in features)
    shapes = np.array([shapely.geometry.shape(feature["geometry"]) for feature in features])
    assert {shape.geom_type for shape in shapes} == {"Polygon"}
    assert shapely.is_valid(shapes).all()
    assert shapely.is_ccw(shapely.get_exterior_ring(shapes)).all()
    degrees = shapely.get_coordinates(shapes)
    assert degrees == pytest.approx(np.round(degrees, 7), abs=1e-12)
    assert (np.abs(degrees) <= [180, 90]).all()


def test_a_preset_fills_in_what_is_not_said() -> None:
    known = {"input": "a.tif", "output": "b.geojson"}
    osm = Polygonizing(**known, preset="osm")
    assert (osm.regularize, osm.right_angles, osm.shortest_edge, osm.fill_holes) == (True, True, 0.5, 4.0)
    assert Polygonizing(**known, preset="osm", shortest_edge=1.5).shortest_edge == 1.5
    again = Polygonizing(**(Polygonizing(**known).model_dump() | {"preset": "osm"}))
    assert again == osm
    assert not Polygonizing(**known).regularize


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("out.gpkg", {"preset": "osm"}, r"preset osm is for GeoJSON.*out\.gpkg; name a file such as osm\.geojson\."),
        ("out.gpkg", {"right_angles": True}, "right_angles is about the walls that regularize makes; add regularize"),
        ("out.gpkg", {"shortest_edge": 0.5}, "shortest_edge is about the walls that regularize makes"),
    ],
)
def test_options_of_walls_without_walls_are_refused(
    name: str, settings: dict[str, Any], message: str, raster: Path, client: Client, tmp_path: Path
) -> None:
    with pytest.raises(WorkflowError, match=message):
        geoseg.polygonize(str(raster), tmp_path / name, client=client, **settings)
