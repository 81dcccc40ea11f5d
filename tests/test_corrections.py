"""Corrections that a person draws: burnt into labels, traced where they touch, the same in every order and layout."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
import yaml
from distributed import Client
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.features import rasterize
from scipy import ndimage

import geoseg
from geoseg.cli import main
from geoseg.corrections import CorrectionLayer, read_corrections
from geoseg.engine import connect
from geoseg.errors import InputNotFoundError, InputWarning, WorkflowError
from geoseg.grid import TileGrid, Tiling
from geoseg.models.spec import ClassSpec
from geoseg.probabilities import Labelling
from geoseg.report.account import inputs_section
from geoseg.report.record import read_record
from geoseg.store import RunFolder
from geoseg.store.correcting import prepare_corrections, write_corrections
from geoseg.tree import BlockTree
from tests.networks import Box, write_model
from tests.rasters import TEN_METRES, noise, write_raster

UTM = "EPSG:32618"
SHAPE = 60, 52
CLASSES = [ClassSpec(value, name) for value, name in enumerate(("water", "trees", "crops"))]

Edit = tuple[shapely.Geometry, int, bool]
"""A geometry in pixels, a label, and whether it is denied."""


# Any map, any layout, any edits


def expected(labels: NDArray[Any], scores: NDArray[Any], edits: list[Edit], connectivity: int) -> NDArray[Any]:
    """The rule, one pixel after the other: polygons in their order, then the segments of points in theirs."""
    found, is_known = labels.copy(), labels != 255
    denied = np.zeros((len(CLASSES), *labels.shape), bool)

    def correct(inside: NDArray[np.bool_], label: int, denies: bool) -> None:
        inside = inside & is_known
        if not denies:
            found[inside], denied[:, inside] = label, False
            return
        denied[label][inside] = True
        for y, x in zip(*np.nonzero(inside & (found == label)), strict=True):
            left = [value for value in range(len(CLASSES)) if not denied[value, y, x]]
            if left:
                found[y, x] = max(left, key=lambda value: scores[value, y, x])

    for shape, label, denies in edits:
        if shape.geom_type == "Polygon":
            correct(rasterize([shape], labels.shape).astype(bool), label, denies)
    structure = ndimage.generate_binary_structure(2, 1 if connectivity == 4 else 2)
    before = found.copy()
    for shape, label, denies in edits:
        if shape.geom_type == "Point":
            y, x = int(shape.y), int(shape.x)
            segments = ndimage.label(before == before[y, x], structure)[0]
            if before[y, x] != 255:
                correct(segments == segments[y, x], label, denies)
    return found


def layer_of(edits: list[Edit]) -> CorrectionLayer:
    shapes, spots = ([edit for edit in edits if edit[0].geom_type == kind] for kind in ("Polygon", "Point"))
    of = lambda items, at, dtype: np.array([item[at] for item in items], dtype)  # noqa: E731
    at = np.array([(int(item[0].y), int(item[0].x)) for item in spots], np.int64).reshape(-1, 2)
    return CorrectionLayer(
        "x", of(shapes, 0, object), of(shapes, 1, np.int64), of(shapes, 2, bool), at, of(spots, 1, np.int64),
        of(spots, 2, bool),
    )  # fmt: skip


@st.composite
def some_edits(draw: st.DrawFn) -> list[Edit]:
    """Triangles with corners off the grid of centres, and points."""
    edits: list[Edit] = []
    for seed, is_point, label, denies in draw(
        st.lists(st.tuples(st.integers(0, 2**32), st.booleans(), st.integers(0, 2), st.booleans()), max_size=6)
    ):
        xy = np.random.default_rng(seed).uniform(0.01, np.array(SHAPE[::-1]) - 0.01, (3, 2))
        edits.append((shapely.Point(xy[0]) if is_point else shapely.Polygon(xy), label, denies))
    return edits


def start(folder: RunFolder, grid: TileGrid, labels: NDArray[Any], scores: NDArray[Any]) -> SimpleNamespace:
    """A run folder with the labels of a map, and what corrections need to know of the run."""
    arrays = ("labels", "confidence", "probabilities", "corrected")
    folder.prepare(grid, {"inputs": []}, overwrite=True, arrays=arrays, classes=3)
    for block in grid.blocks():
        core = block.core.slices()
        kept = {"labels": labels[core], "confidence": np.full(block.core.shape, 77, np.uint8)}
        folder.blocks.write_block(block, kept | {"probabilities": scores[(slice(None), *core)]})
    tree = BlockTree((grid.rows.blocks, grid.cols.blocks))
    spec = SimpleNamespace(stuff=CLASSES)
    return SimpleNamespace(
        grid=grid, tree=tree, spec=spec, labelling=Labelling(), runs=lambda _: True, corrections=None
    )


@pytest.mark.slow
@settings(max_examples=25)
@given(
    st.integers(0, 2**32),
    st.lists(some_edits(), min_size=1, max_size=3),
    st.sampled_from([4, 8]),
    st.sampled_from([((1, 1), 16), ((2, 3), 16), ((4, 1), 24), ((9, 9), 32)]),
)
def test_labels_are_those_of_the_rule_whatever_the_blocks_and_what_was_corrected_before(
    seed: int, rounds: list[list[Edit]], connectivity: int, layout: tuple[tuple[int, int], int]
) -> None:
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 3, (2, 15, 13)).repeat(4, 1).repeat(4, 2).astype(np.uint8)
    labels = np.where(random.random(SHAPE) < 0.8, coarse[0], coarse[1])
    labels[random.random(SHAPE) < 0.02] = 255
    scores = random.permuted(np.arange(3 * labels.size).reshape(3, -1), axis=None).reshape(3, *SHAPE).astype(np.uint16)
    grid = TileGrid(SHAPE, Tiling(layout[1], 0, 0, 1), layout[0])
    with TemporaryDirectory() as home:
        folder = RunFolder(Path(home))
        plan = start(folder, grid, labels, scores)
        for edits in rounds:
            plan.corrections, plan.connectivity = layer_of(edits), connectivity
            prepare_corrections(plan, folder)  # type: ignore[arg-type]
            write_corrections(plan, folder)  # type: ignore[arg-type]
            everywhere = slice(0, SHAPE[0]), slice(0, SHAPE[1])
            found, confidence = folder.blocks.read_stuff(*everywhere)
            rule = expected(labels, scores, edits, connectivity)
            np.testing.assert_array_equal(found, rule)
            np.testing.assert_array_equal(folder.blocks.read_labels(*everywhere), rule)
            if not any(denies for *_, denies in edits):
                assert (confidence[found != labels] == 255).all()
        plan.corrections = None
        prepare_corrections(plan, folder)  # type: ignore[arg-type]
        np.testing.assert_array_equal(folder.blocks.read_labels(*everywhere), labels)
        assert not folder.blocks.corrected_places(grid)


# Runs


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with connect(None, 1) as client:
        yield client


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    mask = np.ones((200, 180), bool)
    mask[60:80, 30:90] = False
    pixels = noise(2, 50, 45).repeat(4, 1).repeat(4, 2)
    return write_raster(tmp_path_factory.mktemp("scene") / "scene.tif", pixels, mask=mask)


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model"), Box(1), name="box", halo=3)


def workflow(scene: Path, model: Path, output: Path, **more: Any) -> dict[str, Any]:
    given = {"model": str(model), "input": str(scene), "output": str(output), "ramp": 8, "tile_size": 48}
    return {**given, "report": False, "outputs": ["confidence"], **more}


@pytest.fixture(scope="module")
def plain(scene: Path, box: Path, client: Client, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run without corrections, in many blocks."""
    folder = tmp_path_factory.mktemp("plain")
    geoseg.run(workflow(scene, box, folder, block_tiles=1), client=client)
    return folder


def pixels(path: Path) -> NDArray[Any]:
    with rasterio.open(path) as source:
        return source.read(1)


def rows(folder: Path) -> list[Any]:
    table = gpd.read_file(folder / "features.gpkg", layer="land_use")
    columns = (table[name] for name in table.columns if name != "geometry")
    return sorted(zip(*columns, table.geometry.to_wkb(), strict=True))


def placed(*edits: tuple[shapely.Geometry, Any], column: str = "class") -> gpd.GeoDataFrame:
    """Features of edits in pixels of the scene."""
    shapes = [shapely.affinity.affine_transform(shape, TEN_METRES.to_shapely()) for shape, _ in edits]
    return gpd.GeoDataFrame({column: [value for _, value in edits]}, geometry=shapes, crs=UTM)


TRIANGLE = shapely.Polygon([(10.2, 10.3), (40.1, 12.7), (22.4, 44.6)])


def test_corrections_are_burnt_and_only_what_they_touch_is_traced_again(
    plain: Path, scene: Path, box: Path, client: Client, tmp_path: Path
) -> None:
    out = Path(shutil.copytree(plain, tmp_path / "out"))
    edits = placed((TRIANGLE, "crops"))
    edits.to_crs(4326).to_file(tmp_path / "edits.gpkg")
    planned = geoseg.plan(out / "workflow.yaml", corrections=tmp_path / "edits.gpkg")
    assert planned.tiles_to_predict == 0
    assert planned.summary()["corrections"]["polygons"] == 1
    result = geoseg.run(out / "workflow.yaml", corrections=tmp_path / "edits.gpkg", client=client)
    before, labels = pixels(plain / "labels.tif"), pixels(out / "labels.tif")
    inside = rasterize([TRIANGLE], labels.shape).astype(bool)
    np.testing.assert_array_equal(labels, np.where(inside & (before != 255), 2, before))
    confidence = pixels(out / "confidence.tif")
    np.testing.assert_array_equal(confidence, np.where(inside & (before != 255), 255, pixels(plain / "confidence.tif")))
    done = {stage: count for stage, count in result.outcome.done.items() if count}
    assert set(done) == {"correct", "trace", "join"}
    assert done["trace"] <= 9 < planned.steps["trace"][1]
    assert {stage: left for stage, (left, _) in planned.steps.items() if left} == done
    record = json.loads((out / "run.json").read_text())["corrections"]
    assert (record["file"], record["polygons"]) == (str(tmp_path / "edits.gpkg"), 1)
    assert record["pixels"] == np.count_nonzero(inside & (before != 255))
    assert record["changed"] == np.count_nonzero(labels != before)
    facts = inputs_section(read_record(out))["facts"]["Corrections"]
    counts = f"{record['pixels']:,} px, of which {record['changed']:,} got another class"
    assert facts == f"1 polygon and 0 points of edits.gpkg: {counts}"
    assert geoseg.run(out / "workflow.yaml", client=client).is_unchanged, "the record names the file"
    fresh = geoseg.run(workflow(scene, box, tmp_path / "fresh", block_tiles=[2, 3]), corrections=edits, client=client)
    np.testing.assert_array_equal(pixels(fresh.labels_path), labels)
    assert rows(tmp_path / "fresh") == rows(out)


def test_a_confidence_that_corrections_have_made_untrue_does_not_stay(
    plain: Path, client: Client, tmp_path: Path
) -> None:
    out = Path(shutil.copytree(plain, tmp_path / "out"))
    settings = yaml.safe_load((out / "workflow.yaml").read_text())
    outputs = [name for name in settings["outputs"] if not name.startswith("confidence")]
    geoseg.run({**settings, "output": str(out), "outputs": outputs}, client=client)
    assert (out / "confidence.tif").is_file(), "it is still that of the labels"
    edits = placed((TRIANGLE, "crops"))
    result = geoseg.run({**settings, "output": str(out), "outputs": outputs}, corrections=edits, client=client)
    assert not (out / "confidence.tif").exists()
    with pytest.raises(InputNotFoundError, match="has no confidence; run it again with outputs="):
        assert result.confidence is None


@pytest.mark.slow
@pytest.mark.parametrize("more", [{}, {"min_area": 3000, "legend": {"trees": "land", "crops": "land"}}])
def test_changed_and_removed_corrections_give_what_a_new_run_gives(
    plain: Path, scene: Path, box: Path, client: Client, tmp_path: Path, more: dict[str, Any]
) -> None:
    out = Path(shutil.copytree(plain, tmp_path / "out"))
    point = shapely.Point(100.3, 120.4)
    first = placed((TRIANGLE, "water"), (point, 0), (shapely.box(90.1, 20.2, 170.7, 60.6), "crops"))
    second = placed((shapely.box(150.1, 150.2, 175.7, 190.6), 0), (point, "crops"), (shapely.Point(20.5, 15.5), 2))
    for edits in (first, second.assign(**{"class": ["0.0", "crops", "2.0"]})):
        geoseg.run(out / "workflow.yaml", corrections=edits, client=client, **more)
    fresh = geoseg.run(workflow(scene, box, tmp_path / "fresh"), corrections=second, client=client, **more)
    np.testing.assert_array_equal(pixels(out / "labels.tif"), pixels(fresh.labels_path))
    np.testing.assert_array_equal(pixels(out / "confidence.tif"), pixels(fresh.output / "confidence.tif"))
    assert rows(out) == rows(fresh.output)
    removed = {"corrections": second.iloc[:0], "legend": {}, "min_area": 0}
    geoseg.run(out / "workflow.yaml", client=client, **removed)
    np.testing.assert_array_equal(pixels(out / "labels.tif"), pixels(plain / "labels.tif"))
    assert rows(out) == rows(plain)


def test_what_a_pixel_is_not_becomes_the_second_best_class(
    scene: Path, box: Path, client: Client, tmp_path: Path
) -> None:
    edits = placed((shapely.box(20.1, 90.2, 120.7, 160.6), "trees"), column="not")
    result = geoseg.run(workflow(scene, box, tmp_path, outputs=["confidence", "probabilities"]), client=client)
    before = pixels(result.labels_path)
    geoseg.run(tmp_path / "workflow.yaml", corrections=edits, client=client)
    with rasterio.open(tmp_path / "probabilities.tif") as source:
        scores = source.read().astype(np.int64)
    scores[1] = -1
    inside = np.zeros(before.shape, bool)
    inside[90:161, 20:121] = True
    inside &= before == 1
    np.testing.assert_array_equal(pixels(tmp_path / "labels.tif"), np.where(inside, scores.argmax(0), before))
    confidence = pixels(tmp_path / "confidence.tif")[inside]
    np.testing.assert_allclose(confidence, scores.max(0)[inside] / 32767 * 255, atol=0.51)


def test_binary_models_are_corrected_by_what_a_pixel_is_not(
    scene: Path, box: Path, client: Client, tmp_path: Path
) -> None:
    item = json.loads(box.read_text())
    item["properties"] |= {"geoseg:activation": "sigmoid", "geoseg:threshold": 0.9}
    for entry in item["properties"]["mlm:output"][0]["classification:classes"]:
        entry["value"] += 1
    model = box.with_name("roofs.json")
    model.write_text(json.dumps(item))
    whole = shapely.box(-1, -1, 200, 210)
    edits = placed((whole, "background"), column="not")
    result = geoseg.run(workflow(scene, model, tmp_path), corrections=edits, client=client)
    labels = pixels(result.labels_path)
    assert set(np.unique(labels)) <= {1, 2, 3, 255}, "the best class, though it is below the threshold"
    edits = placed((whole, 1), (whole, 2), (whole, 3), column="not")
    geoseg.run(tmp_path / "workflow.yaml", corrections=edits, client=client)
    np.testing.assert_array_equal(pixels(result.labels_path), np.where(labels == 255, 255, 0))


def test_a_run_without_probabilities_refuses_what_a_pixel_is_not(
    plain: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = Path(shutil.copytree(plain, tmp_path / "out"))
    edits = placed((TRIANGLE, "trees"), column="not")
    edits.to_file(tmp_path / "edits.gpkg")
    command = ["run", str(out / "workflow.yaml"), "--corrections", str(tmp_path / "edits.gpkg"), "--output", str(out)]
    for name in ("plan", "run"):
        assert main([name, *command[1:]]) == 2
        assert capsys.readouterr().err == (
            f"the corrections '{tmp_path / 'edits.gpkg'}' say what class some pixels are not, and {out} has kept no "
            "probabilities of the others; give those features a class, or start anew in another output folder.\n"
        )


def test_a_class_of_the_legend_that_no_model_finds_is_drawn(plain: Path, client: Client, tmp_path: Path) -> None:
    out = Path(shutil.copytree(plain, tmp_path / "out"))
    legend = [{"name": "quarry", "of": [], "value": 9}, {"name": "land", "of": ["trees", "crops"]}]
    edits = placed((TRIANGLE, "Quarry"), (shapely.box(100.1, 100.2, 120.3, 130.4), "crops"))
    geoseg.run(out / "workflow.yaml", legend=legend, corrections=edits, client=client)
    before, labels = pixels(plain / "labels.tif"), pixels(out / "labels.tif")
    grouped = np.where(before == 2, 1, before)
    inside, other = (
        rasterize([shape], before.shape).astype(bool) for shape in (TRIANGLE, shapely.box(100.1, 100.2, 120.3, 130.4))
    )
    expected_labels = np.where(inside, 9, np.where(other, 1, grouped))
    np.testing.assert_array_equal(labels, np.where(before == 255, 255, expected_labels))


KNOWN = "give one of 0 water, 1 trees, 2 crops."
REFUSED = [
    (
        placed((TRIANGLE, "tree")),
        f"feature 1 of the corrections 'PATH': the class 'tree' is none of the map's; {KNOWN}",
    ),
    (placed((TRIANGLE, 7)), f"feature 1 of the corrections 'PATH': the class '7' is none of the map's; {KNOWN}"),
    (
        placed((TRIANGLE, 1), (TRIANGLE, None)),
        "feature 2 of the corrections 'PATH' has neither a class nor a class that it is not; give it one of the two.",
    ),
    (
        placed((TRIANGLE, 1)).assign(**{"not": 2}),
        "feature 1 of the corrections 'PATH' has the class 1 and not 2; give it one of the two.",
    ),
    (
        placed((TRIANGLE, 1), column="kind"),
        "the corrections 'PATH' have no column of classes; add one that is called class, or not.",
    ),
    (
        placed((shapely.LineString([(1, 1), (9, 9)]), 1)),
        "the corrections 'PATH' have features of type LineString; give polygons or points.",
    ),
    (
        placed((shapely.box(900, 900, 950, 950), 1)),
        "no feature of the corrections 'PATH' lies within the raster; give corrections of the same area.",
    ),
    (
        placed((TRIANGLE, 1)).set_crs(None, allow_override=True),
        "the layer of corrections 'PATH' has no CRS; save it with one.",
    ),
]


@pytest.mark.filterwarnings("ignore:'crs' was not provided")
@pytest.mark.parametrize(("table", "message"), REFUSED)
def test_corrections_that_cannot_be_used_are_one_sentence(
    scene: Path, box: Path, tmp_path: Path, table: gpd.GeoDataFrame, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "edits.gpkg"
    table.to_file(path)
    command = ["plan", str(scene), "--model", str(box), "--ramp", "8", "--corrections", str(path)]
    assert main([*command, "--output", str(tmp_path / "out")]) == 3
    assert capsys.readouterr().err == message.replace("PATH", str(path)) + "\n"


def test_models_of_objects_refuse_corrections(scene: Path, box: Path, tmp_path: Path) -> None:
    item = json.loads(box.read_text())
    item["properties"]["mlm:tasks"] = item["properties"]["mlm:output"][0]["tasks"] = ["instance-segmentation"]
    model = box.with_name("objects.json")
    model.write_text(json.dumps(item))
    with pytest.raises(WorkflowError, match="tells objects apart, and corrections change classes of pixels"):
        geoseg.plan(workflow(scene, model, tmp_path, outputs=[]), corrections=placed((TRIANGLE, 1)))


def test_features_outside_of_the_raster_are_left_out_with_a_warning() -> None:
    table = placed((TRIANGLE, 1), (shapely.box(900, 900, 950, 950), 1), (shapely.Point(-0.2, 5), 1))
    with pytest.warns(InputWarning, match="2 of 3 features of the corrections lie outside of the raster; left out"):
        layer = read_corrections(table, GeoBox((200, 180), TEN_METRES, UTM), int)
    assert (len(layer.shapes), len(layer.spots), layer.outside) == (1, 0, 2)
