"""Whole runs that tell objects apart: on Dask workers, from a raster on disk to instances and polygons."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import geopandas as gpd
import numpy as np
import pyogrio
import pyproj
import pytest
import rasterio
import shapely
import torch
from affine import Affine
from distributed import Client
from numpy.typing import NDArray
from rasterio.features import rasterize
from scipy import ndimage

import geoseg
from geoseg import tasks
from geoseg.engine import Event
from geoseg.errors import BlockError, DamagedError, FingerprintError, GeosegWarning, WorkerError, WorkflowError
from geoseg.grid import TileGrid, Tiling
from geoseg.instances import TileObjects
from geoseg.models import Detections, ModelSpec, Prompts, wrap
from geoseg.store import ObjectFolder
from geoseg.store.journal import Journal
from tests.networks import write_item
from tests.rasters import TEN_METRES, write_raster

SEA, LAND = 0, 1
HOUSE, SHIP = 2, 3


def blobs(scaled: torch.Tensor, _prompts: list[Prompts]) -> list[Detections]:
    """Every connected group of equal pixels above 9 is an object; 10 to 99 houses, from 100 on ships."""
    return [_blobs(layer[0].numpy()) for layer in scaled]


def _blobs(values: NDArray[np.float32]) -> Detections:
    masks, classes, scores = [], [], []
    for value in np.unique(values[values > 9]):
        labelled, count = ndimage.label(values == value)
        masks += [labelled == number + 1 for number in range(count)]
        classes += [int(value >= 100)] * count
        scores += [0.5 + float(value) / 400] * count
    return Detections.of(masks, classes, scores)


def land_and_things(scaled: torch.Tensor) -> tuple[torch.Tensor, list[Detections]]:
    """Sea where pixels are 1, land elsewhere, and blobs."""
    sea = (scaled[:, :1] == 1).float()
    scores = torch.cat([sea, 1 - sea, 0 * sea, 0 * sea], 1)
    found = blobs(scaled, [])
    return scores, [Detections.of(_whole(item, scaled.shape), item.classes + 2, item.scores) for item in found]


def _whole(found: Detections, shape: torch.Size) -> Iterator[NDArray[np.bool_]]:
    for window, mask in zip(found.windows, found.masks, strict=True):
        whole = np.zeros(tuple(shape[2:]), np.bool_)
        whole[window.slices()] = mask
        yield whole


NETWORKS = {"instance-segmentation": blobs, "panoptic-segmentation": land_and_things}


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    """Workers in this process, so that they can open a network that is a plain function."""

    def opened(spec: ModelSpec, device: str = "cpu", **_more: Any) -> Any:
        return wrap(NETWORKS[spec.task], spec, device)

    monkeypatch.setattr(tasks, "load_model", opened)
    with Client(n_workers=2, threads_per_worker=1, processes=False, dashboard_address=None) as client:
        yield client


def scene() -> NDArray[np.uint8]:
    """Sea, land, houses that touch, a ship over several tiles, and no data in a corner."""
    pixels = np.full((150, 170), 2, np.uint8)
    pixels[:60] = 1
    pixels[70:80, 20:30], pixels[70:80, 30:44] = 10, 11
    pixels[90:93, 60:63] = 12
    pixels[20:40, 30:150] = 100
    pixels[25:35, 50:60] = 1  # a hole
    pixels[100:140, 100:140] = 13
    pixels[-20:, :20] = 0
    return pixels


def write_model(folder: Path, task: str) -> Path:
    """An item of a task; the weights are not looked at by the network of these tests."""
    weights = folder / "weights.onnx"
    weights.write_bytes(b"none")
    path = write_item(folder / f"{task}.json", weights, halo=4, tile_size=64, bands=["b1"], framework="ONNX", classes=2)
    item = json.loads(path.read_text())
    names = [("house", HOUSE), ("ship", SHIP)]
    if task == "panoptic-segmentation":
        names = [("sea", SEA), ("land", LAND), *names]
    item["properties"]["mlm:tasks"] = [task]
    output = item["properties"]["mlm:output"][0]
    output["tasks"] = [task]
    output["classification:classes"] = [
        {"value": value, "name": name, "geoseg:isthing": value >= HOUSE} for name, value in names
    ]
    item["properties"] |= {"geoseg:activation": "none", "geoseg:ramp": 8}
    path.write_text(json.dumps(item))
    return path


@pytest.fixture
def raster(tmp_path: Path) -> Path:
    return write_raster(tmp_path / "scene.tif", scene(), nodata=0)


def truth() -> NDArray[np.int64]:
    """Objects of the scene, numbered by their first pixel."""
    ids = np.zeros(scene().shape, np.int64)
    for number, value in enumerate((100, 10, 11, 12, 13), start=1):
        ids[scene() == value] = number
    return ids


def read(path: Path) -> NDArray[Any]:
    with rasterio.open(path) as source:
        return source.read(1)


def run(client: Client, raster: Path, task: str, output: Path, **settings: Any) -> geoseg.RunResult:
    model = write_model(raster.parent, task)
    return geoseg.run({"model": str(model)}, input=str(raster), output=str(output), client=client, **settings)


def test_imagery_without_data_is_told_of_and_a_raster_without_objects_is_not(client: Client, tmp_path: Path) -> None:
    void = write_raster(tmp_path / "void.tif", np.zeros((100, 90), np.uint8), nodata=0)
    with pytest.warns(GeosegWarning, match=r"no pixel of labels.tif has a class: the imagery has no data where it was"):
        run(client, void, "instance-segmentation", tmp_path / "void")
    sea = write_raster(tmp_path / "sea.tif", np.ones((100, 90), np.uint8), nodata=0)
    assert len(run(client, sea, "instance-segmentation", tmp_path / "sea").features) == 0  # a warning is an error


def test_instances_of_a_raster_are_the_objects_in_it(client: Client, raster: Path, tmp_path: Path) -> None:
    result = run(client, raster, "instance-segmentation", tmp_path / "out")
    assert result.instances_path is not None
    np.testing.assert_array_equal(read(result.instances_path), truth())
    classes = np.array([255, SHIP, HOUSE, HOUSE, HOUSE, HOUSE])[truth()]
    np.testing.assert_array_equal(read(result.labels_path), classes)
    features = gpd.read_file(result.features_paths[0])
    assert features["instance"].tolist() == [1, 2, 3, 4, 5]
    assert features["name"].tolist() == ["ship", "house", "house", "house", "house"]
    np.testing.assert_allclose(features["score"], [0.75, 0.525, 0.5275, 0.53, 0.5325], atol=1e-4)
    assert features["pixels"].tolist() == np.bincount(truth().ravel())[1:].tolist()
    shapes = zip(features.geometry, features["instance"], strict=True)
    with rasterio.open(result.labels_path) as source:
        drawn = rasterize(shapes, source.shape, transform=source.transform)
    np.testing.assert_array_equal(drawn, truth())
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Area of objects" in page and "<dt>Mapped" not in page


def test_panoptic_features_tile_the_plane_and_things_lie_over_stuff(
    client: Client, raster: Path, tmp_path: Path
) -> None:
    result = run(client, raster, "panoptic-segmentation", tmp_path / "out")
    assert result.instances_path is not None
    np.testing.assert_array_equal(read(result.instances_path), truth())
    labels = np.where(scene() == 1, SEA, LAND)
    labels = np.where(truth() > 0, np.array([0, SHIP, HOUSE, HOUSE, HOUSE, HOUSE])[truth()], labels)
    labels[scene() == 0] = 255
    np.testing.assert_array_equal(read(result.labels_path), labels)
    features = gpd.read_file(result.features_paths[0])
    assert features[features["isthing"].astype(bool)]["instance"].tolist() == [1, 2, 3, 4, 5]
    assert set(features[~features["isthing"].astype(bool)]["name"]) == {"sea", "land"}
    assert features["pixels"].sum() == (labels != 255).sum()
    assert features.geometry.is_valid.all()
    assert features.geometry.union_all().area == pytest.approx(features.geometry.area.sum())


@pytest.mark.parametrize("task", NETWORKS)
def test_layouts_give_the_same_rasters_and_polygons(client: Client, raster: Path, tmp_path: Path, task: str) -> None:
    results = [
        run(client, raster, task, tmp_path / f"out{blocks}", block_tiles=blocks, simplify=15, min_area=600)
        for blocks in (1, 2, 4)
    ]
    for result in results[1:]:
        assert result.instances_path is not None
        np.testing.assert_array_equal(read(result.instances_path), read(results[0].instances_path))  # type: ignore[arg-type]
        np.testing.assert_array_equal(read(result.labels_path), read(results[0].labels_path))
        tables = [pyogrio.read_arrow(item.features_paths[0])[1] for item in (result, results[0])]
        assert tables[0].equals(tables[1])


def test_objects_of_two_classes_become_one_class_and_stay_two_objects(
    client: Client, raster: Path, tmp_path: Path
) -> None:
    task, legend = "panoptic-segmentation", [{"name": "object", "of": ["house", "ship"], "value": 9}]
    before = run(client, raster, task, tmp_path / "out")
    labels, instances = read(before.labels_path), read(before.instances_path or tmp_path)
    later = run(client, raster, task, tmp_path / "out", legend=legend, min_area=3000, keep_classes=["object"])
    assert not later.outcome.done["predict"]
    np.testing.assert_array_equal(read(later.instances_path or tmp_path), instances)
    np.testing.assert_array_equal(read(later.labels_path), np.where(np.isin(labels, [HOUSE, SHIP]), 9, labels))
    features = gpd.read_file(later.features_paths[0])
    things = features[features["isthing"].astype(bool)]
    assert things["instance"].tolist() == [1, 2, 3, 4, 5]
    assert (set(things["class"]), set(things["name"])) == ({9}, {"object"})
    assert set(features["name"]) == {"object", "sea", "land"}
    with pytest.raises(WorkflowError, match="one class 'a' of 'ship', whose objects are told apart, and 'sea', which"):
        run(client, raster, task, tmp_path / "out", legend={"sea": "a", "ship": "a"})


def test_another_minimum_area_predicts_nothing_anew(client: Client, raster: Path, tmp_path: Path) -> None:
    run(client, raster, "instance-segmentation", tmp_path / "out")
    heard: list[Event] = []
    result = run(
        client,
        raster,
        "instance-segmentation",
        tmp_path / "out",
        min_area=1_000,
        progress=lambda event: heard.append(event) if isinstance(event, Event) else None,
    )
    assert {event.status for event in heard if event.stage in ("predict", "finish")} == {"kept"}
    assert len(gpd.read_file(result.features_paths[0])) == 4  # the house of 900 m2 is gone
    again = run(client, raster, "instance-segmentation", tmp_path / "out", min_area=1_000)
    assert again.outcome.done.total() == 0


@pytest.mark.parametrize("task", NETWORKS)
def test_objects_of_changed_imagery_are_those_of_a_new_run(client: Client, tmp_path: Path, task: str) -> None:
    """A ship grows into the scene that has changed, and a house comes before all others: the numbers of all change."""
    folder = tmp_path / "scenes"
    folder.mkdir()

    def write(pixels: NDArray[np.uint8]) -> None:
        for name, first in (("east", 150), ("west", 0)):
            place = TEN_METRES @ Affine.translation(first, 0)
            write_raster(folder / f"{name}.tif", pixels[:, first : first + 150], transform=place, nodata=0)

    def start(output: str, **more: Any) -> geoseg.RunResult:
        model = write_model(tmp_path, task)
        settings = {"input": str(folder), "output": str(tmp_path / output), "block_tiles": 1, **more}
        return geoseg.run({"model": str(model)}, client=client, **settings)

    pixels = scene()
    write(pixels)
    start("out")
    pixels[22:38, 150:], pixels[5:9, 160:165] = 100, 14
    write(pixels)
    result, fresh = start("out", refresh=True), start("fresh")
    assert 0 < result.outcome.done["predict"] < result.plan.block_count
    for name in ("labels.tif", "instances.tif"):
        np.testing.assert_array_equal(read(result.output / name), read(fresh.output / name))
    tables = [pyogrio.read_arrow(item.features_paths[0])[1] for item in (result, fresh)]
    assert tables[0].equals(tables[1])


def test_only_some_classes_become_polygons(client: Client, raster: Path, tmp_path: Path) -> None:
    result = run(client, raster, "panoptic-segmentation", tmp_path / "out", classes=["house", "sea"])
    assert set(gpd.read_file(result.features_paths[0])["name"]) == {"house", "sea"}


def test_every_format_holds_objects(client: Client, raster: Path, tmp_path: Path) -> None:
    names = [f"objects{ending}" for ending in (".gpkg", ".shp", ".fgb", ".parquet", ".geojson", ".pmtiles")]
    result = run(client, raster, "panoptic-segmentation", tmp_path / "out", features=names)
    wanted = pyogrio.read_dataframe(result.features_paths[0], layer="land_use")
    for path in result.features_paths[1:5]:
        found = gpd.read_parquet(path) if path.suffix == ".parquet" else pyogrio.read_dataframe(path)
        assert sorted(found["instance"]) == sorted(wanted["instance"]), path
        assert sorted(found["isthing"].astype(bool)) == sorted(wanted["isthing"].astype(bool)), path
    assert result.features_paths[5].stat().st_size > 0


def test_objects_with_a_low_score_are_left_out(client: Client, raster: Path, tmp_path: Path) -> None:
    result = run(client, raster, "instance-segmentation", tmp_path / "out", min_score=0.7)
    assert gpd.read_file(result.features_paths[0])["name"].tolist() == ["ship"]


def guesses(scaled: torch.Tensor, prompts: list[Prompts]) -> list[Detections]:
    """Blobs, each of them twice more, worn away and moved: scores and pixels are others in each tile."""
    return [_guessed(found, layer[0].numpy()) for found, layer in zip(blobs(scaled, prompts), scaled, strict=True)]


def _guessed(found: Detections, values: NDArray[np.float32]) -> Detections:
    rng = np.random.default_rng(int(values.sum()))
    blob_masks = list(_whole(found, torch.Size((1, 1, *values.shape))))
    guessed = [
        np.roll(mask, rng.integers(-9, 9, 2), (0, 1)) & (rng.random(mask.shape) < 0.9) for mask in blob_masks * 2
    ]
    scores = np.concatenate([found.scores, rng.integers(0, 20, len(guessed)) / 20])
    return Detections.of([*blob_masks, *guessed], np.tile(found.classes, 3), scores)


def guesses_on_land(scaled: torch.Tensor) -> tuple[torch.Tensor, list[Detections]]:
    scores, _ = land_and_things(scaled)
    return scores, [replace(found, classes=found.classes + 2) for found in guesses(scaled, [])]


@pytest.mark.parametrize(
    ("task", "layouts", "min_scores"),
    [
        ("instance-segmentation", (1, 2), (0.9, 0.55, 0.7)),
        ("panoptic-segmentation", (2, 1), (0.6, 0.751, 0.0)),
        ("panoptic-segmentation", (1, 3), (0.45, 0.45, 0.8)),
    ],
)
def test_another_min_score_gives_what_a_run_with_it_gives_and_predicts_nothing(
    client: Client,
    raster: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    task: str,
    layouts: tuple[int, int],
    min_scores: tuple[float, ...],
) -> None:
    monkeypatch.setitem(NETWORKS, "instance-segmentation", guesses)
    monkeypatch.setitem(NETWORKS, "panoptic-segmentation", guesses_on_land)
    first, other = ({"block_tiles": layout, "outputs": ["confidence"]} for layout in layouts)
    lowest = min(0.5, *min_scores)  # down to the model's own they are kept without being asked for
    before = run(client, raster, task, tmp_path / "a", min_score=lowest if lowest < 0.5 else None, **first)
    for min_score in min_scores:
        later = run(client, raster, task, tmp_path / "a", min_score=min_score, **first)
        done = {stage for stage, count in later.outcome.done.items() if count}
        assert done == ({"overlap", "unite", "number", "trace", "join"} if min_score != lowest else set())
        fresh = run(client, raster, task, tmp_path / f"b{min_score}", min_score=min_score, overwrite=True, **other)
        for path, expected in zip(later.rasters, fresh.rasters, strict=True):
            np.testing.assert_array_equal(read(path), read(expected))
        tables = [pyogrio.read_arrow(item.features_paths[0])[1] for item in (later, fresh)]
        assert tables[0].equals(tables[1])
        lowest = min_score
    assert not np.array_equal(read(before.output / "instances.tif"), truth())


def test_a_lower_min_score_than_what_was_kept_is_refused_and_planned_as_a_whole_run(
    client: Client, raster: Path, tmp_path: Path
) -> None:
    made = run(client, raster, "instance-segmentation", tmp_path / "out", min_score=0.8).plan
    wanted = {"model": str(write_model(tmp_path, "instance-segmentation")), "input": str(raster)}
    wanted |= {"output": str(tmp_path / "out")}
    assert geoseg.plan(wanted, min_score=0.5).tiles_to_predict == 0
    assert geoseg.plan(wanted, min_score=0.49).tiles_to_predict == made.tile_count
    with pytest.raises(FingerprintError, match=r"holds another run: min_score \(0.5 before, 0.49 now\)\. "):
        run(client, raster, "instance-segmentation", tmp_path / "out", min_score=0.49)
    run(client, raster, "instance-segmentation", tmp_path / "out", min_score=0.49, overwrite=True)
    assert geoseg.plan(wanted).tiles_to_predict == 0  # more is kept than the model's own asks for


def test_a_run_that_finds_nothing_leaves_empty_layers(client: Client, raster: Path, tmp_path: Path) -> None:
    names = ["objects.gpkg", "objects.parquet", "objects.shp"]
    result = run(client, raster, "instance-segmentation", tmp_path / "out", min_score=1.0, features=names)
    assert not read(result.instances_path).any()  # type: ignore[arg-type]
    assert (read(result.labels_path) == 255).all()
    frame = pyogrio.read_dataframe(result.features_paths[0], layer="land_use")
    assert len(frame) == 0
    assert "instance" in frame.columns


def test_small_faces_of_stuff_go_to_any_neighbour_whatever_is_outlined(
    client: Client, raster: Path, tmp_path: Path
) -> None:
    """The hole in the ship is sea and small, and only touches the ship, which is a wall: it stays."""
    wanted = {"min_area": 20_000, "classes": ["sea", "land"]}
    result = run(client, raster, "panoptic-segmentation", tmp_path / "out", **wanted)
    everything = run(client, raster, "panoptic-segmentation", tmp_path / "all", min_area=20_000)
    chosen = pyogrio.read_dataframe(result.features_paths[0], layer="land_use")
    whole = pyogrio.read_dataframe(everything.features_paths[0], layer="land_use")
    stuff = whole[~whole["isthing"].astype(bool)].reset_index(drop=True)
    assert len(chosen) == len(stuff) < len(whole)
    assert chosen["pixels"].tolist() == stuff["pixels"].tolist()
    assert 100 in chosen["pixels"].tolist()


def test_a_block_that_fails_is_repeated_and_the_numbers_are_as_if_it_never_had(
    client: Client, raster: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run(client, raster, "panoptic-segmentation", tmp_path / "whole")
    good = tasks.parse_block

    def failing(*arguments: Any, **options: Any) -> Any:
        block = arguments[3]
        if (block.row, block.col) == (0, 1):
            raise OSError("the disk is gone")
        return good(*arguments, **options)

    monkeypatch.setattr(tasks, "parse_block", failing)
    with pytest.raises(BlockError, match="0-1"):
        run(client, raster, "panoptic-segmentation", tmp_path / "out", retries=0)
    partial = read(tmp_path / "out" / "instances.tif")
    assert (partial != truth()).any()
    monkeypatch.undo()
    monkeypatch.setattr(tasks, "load_model", lambda spec, device, **_: wrap(NETWORKS[spec.task], spec, device))
    result = run(client, raster, "panoptic-segmentation", tmp_path / "out")
    assert result.outcome.kept["predict"] > 0
    assert result.instances_path is not None
    np.testing.assert_array_equal(read(result.instances_path), truth())
    np.testing.assert_array_equal(read(result.labels_path), read(whole.labels_path))
    tables = [pyogrio.read_arrow(item.features_paths[0])[1] for item in (result, whole)]
    assert tables[0].equals(tables[1])


def _is_cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def _holds_other_bytes(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-9] ^= 255
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("name", "repeated"),
    [
        ("0-1.tiles.npz", set()),
        ("1-0.meeting.npz", set()),
        ("0-1.tiles.npz ../unite/0-0", {"predict", "unite", "number"}),
        ("1-0.meeting.npz ../unite/0-0", {"overlap", "unite", "number"}),
        ("united/scores.npy", {"unite", "number"}),
        ("../unite/0-0", {"unite", "number"}),
        ("settings.json", {"overlap", "unite", "number"}),
    ],
)
@pytest.mark.parametrize("damage", [Path.unlink, _is_cut_off])
def test_objects_that_are_missing_or_cut_off_are_found_again(
    client: Client, raster: Path, tmp_path: Path, name: str, repeated: set[str], damage: Callable[[Path], None]
) -> None:
    whole = run(client, raster, "panoptic-segmentation", tmp_path / "whole")
    shutil.copytree(whole.output / "state", tmp_path / "out" / "state")
    for file in name.split():
        damage(tmp_path / "out" / "state" / "objects" / file)
    result = run(client, raster, "panoptic-segmentation", tmp_path / "out")
    assert {stage for stage, count in result.outcome.done.items() if count} == repeated
    assert result.instances_path is not None
    np.testing.assert_array_equal(read(result.instances_path), truth())
    tables = [pyogrio.read_arrow(item.features_paths[0])[1] for item in (result, whole)]
    assert tables[0].equals(tables[1])


def test_labels_under_objects_that_are_lost_are_made_again_and_never_nodata(
    client: Client, raster: Path, tmp_path: Path
) -> None:
    """Numbers of objects are all there, so nothing but the labels says that something is missing."""
    whole = run(client, raster, "panoptic-segmentation", tmp_path / "whole")
    shutil.copytree(whole.output / "state", tmp_path / "out" / "state")
    (tmp_path / "out" / "state" / "blocks.zarr" / "labels" / "c" / "0" / "0").unlink()
    result = run(client, raster, "panoptic-segmentation", tmp_path / "out")
    assert {stage for stage, count in result.outcome.done.items() if count} == {"predict", "finish"}
    np.testing.assert_array_equal(read(result.labels_path), read(whole.labels_path))


def test_united_objects_that_hold_other_bytes_are_united_again(client: Client, raster: Path, tmp_path: Path) -> None:
    result = run(client, raster, "instance-segmentation", tmp_path / "out")
    _holds_other_bytes(tmp_path / "out" / "state" / "objects" / "united" / "scores.npy")
    assert result.instances_path is not None
    result.instances_path.unlink()
    again = run(client, raster, "instance-segmentation", tmp_path / "out")
    assert again.outcome.done["unite"] == 1
    assert again.instances_path is not None
    np.testing.assert_array_equal(read(again.instances_path), truth())


def test_objects_of_another_block_are_damage(tmp_path: Path) -> None:
    objects, grid = ObjectFolder(tmp_path / "objects"), TileGrid((20, 20), Tiling(16, 2, 4), (1, 1))
    for col in (0, 1):
        tile = TileObjects(
            np.ones((4, 4), np.int32), np.array([2 + col], np.uint8), np.ones(1, np.float32), np.zeros(1)
        )
        Journal(tmp_path, tmp_path / "predict").put(
            (0, col), [objects.write_tiles(grid.block(0, col), {(0, col): tile})]
        )
    paths = [objects.path / f"0-{col}.tiles.npz" for col in (0, 1)]
    paths[0].write_bytes(paths[1].read_bytes())
    with pytest.raises(DamagedError, match=r"0-0\.tiles\.npz was damaged \(it is another file\) and is removed"):
        objects.read_tiles(0, 0)
    assert list(objects.read_tiles(0, 1)) == [(0, 1)]


def test_a_file_of_objects_that_is_gone_is_an_error_and_never_no_objects(tmp_path: Path) -> None:
    objects = ObjectFolder(tmp_path / "objects")
    tile = TileObjects(np.ones((4, 4), np.int32), np.array([2], np.uint8), np.ones(1, np.float32), np.array([-1]))
    grid = TileGrid((20, 20), Tiling(16, 2, 4), (1, 1))
    objects.write_tiles(grid.block(0, 0), {(0, 0): tile})
    blocks = [(0, 0), (0, 1)]
    assert len(objects.read_table(2, blocks, is_complete=False).keys) == 1
    with pytest.raises(DamagedError, match=r"0-1\.tiles\.npz is missing; start the run again"):
        objects.read_table(2, blocks, is_complete=True)
    with pytest.raises(DamagedError, match=r"0-1\.tiles\.npz is missing"):
        objects.read_tiles(0, 1)
    with pytest.raises(DamagedError, match=r"0-0\.meeting\.npz is missing"):
        objects.read_meeting(blocks, is_complete=True)
    path = objects.path / "0-0.tiles.npz"
    content = path.read_bytes()
    path.write_bytes(content[:60] + bytes(40) + content[100:])
    with pytest.raises(DamagedError, match=r"0-0\.tiles\.npz was damaged .* and is removed"):
        objects.read_tiles(0, 0)
    assert not path.exists()


def test_other_prompts_are_another_run_and_models_without_prompts_refuse_them(
    client: Client, raster: Path, tmp_path: Path
) -> None:
    run(client, raster, "instance-segmentation", tmp_path / "out")
    with pytest.raises(WorkflowError, match="takes no prompts"):
        run(client, raster, "instance-segmentation", tmp_path / "out", text="houses")
    with pytest.raises(FingerprintError):
        run(client, raster, "instance-segmentation", tmp_path / "out", tile_size=96)


def test_objects_in_degrees_stay_by_their_area_on_the_ground(client: Client, tmp_path: Path) -> None:
    """Squares of as many pixels from 58 to 3 degrees north: those near the equator are larger, and stay."""
    pixel, side, tops = 0.1, 6, (20, 150, 300, 450, 560)
    values = np.ones((600, 40), np.uint8)
    for top in tops:
        values[top : top + side, 10 : 10 + side] = 20
    raster = write_raster(
        tmp_path / "a.tif", values[None], crs="EPSG:4326", transform=Affine(pixel, 0, 5, 0, -pixel, 60)
    )
    geod = pyproj.Geod(ellps="WGS84")

    def area(top: int) -> float:
        square = shapely.box(0, 60 - (top + side) * pixel, side * pixel, 60 - top * pixel)
        x, y = shapely.get_coordinates(shapely.segmentize(square, 0.01)).T
        return abs(float(geod.polygon_area_perimeter(x, y)[0]))

    sizes = [area(top) for top in tops]
    for least, blocks in ((sizes[2] * 1.0001, 1), (sizes[2] * 0.9999, 4)):
        kept = [top for top, size in zip(tops, sizes, strict=True) if size >= least]
        out = tmp_path / f"out{blocks}"
        result = run(client, raster, "instance-segmentation", out, min_area=least, block_tiles=blocks)
        rows = np.unique(np.nonzero(read(result.instances_path))[0])
        np.testing.assert_array_equal(rows, np.concatenate([np.arange(top, top + side) for top in kept]))
        table = gpd.read_file(result.features_paths[0])
        np.testing.assert_allclose(table["area_m2"], [area(top) for top in kept], rtol=1e-6)


@pytest.mark.parametrize("name", ["export.write_raster", "write_outlines"])
def test_writing_a_result_is_tried_again_as_a_block_is(
    client: Client, raster: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    write, tries = resolve_name(f"geoseg.workflow.running:{name}"), tmp_path / "tries"

    def fail(*arguments: Any, times: int) -> Any:
        tries.mkdir(exist_ok=True)
        if (count := len(list(tries.iterdir()))) < times:
            (tries / str(count)).touch()
            raise SystemError("it may pass")
        return write(*arguments)

    monkeypatch.setattr(f"geoseg.workflow.running.{name}", partial(fail, times=2))
    result = run(client, raster, "panoptic-segmentation", tmp_path / "out")
    assert len(list(tries.iterdir())) == 2
    assert len(result.features)
    monkeypatch.setattr(f"geoseg.workflow.running.{name}", partial(fail, times=9))
    with pytest.raises(WorkerError, match="a worker fails"):
        run(client, raster, "panoptic-segmentation", tmp_path / "other")
