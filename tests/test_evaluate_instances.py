"""Maps of objects from files: scores as pycocotools has them, in windows, of rasters and of polygons on a grid."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import rasterio
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from rasterio.features import geometry_mask
from shapely import box
from shapely.affinity import affine_transform, rotate, translate
from shapely.geometry import MultiPolygon, Point, Polygon

from geoseg.errors import CrsError, EvaluationError, InputNotFoundError
from geoseg.evaluation import evaluate, grid, match_instances
from geoseg.evaluation.coco import ObjectAttributes, coco_scores
from geoseg.evaluation.overlaps import NOTHING, VOID, Overlaps, Tally, overlaps_of, runs_of
from geoseg.grid import Window
from geoseg.vector.pixels import centres_inside, edges_of, spans_inside
from tests.rasters import TEN_METRES, write_raster
from tests.test_evaluate_coco import official, scene, segments


@pytest.fixture(autouse=True)
def _small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows of 61 px, which cut most objects."""
    monkeypatch.setattr(grid, "SIDE", 61)


def summary_of(*paths: Path, **settings: Any) -> dict[str, Any]:
    return evaluate(*paths, **settings).summary()["scores"]  # type: ignore[no-any-return]


def write_scores(path: Path, numbers: np.ndarray, scores: np.ndarray) -> Path:
    pd.DataFrame({"instance": numbers, "score": scores}).to_csv(path, index=False)
    return path


def write_scene(folder: Path, seed: int, **options: Any) -> tuple[Path, Path, np.ndarray, np.ndarray, np.ndarray]:
    """Files of a prediction, with scores beside it, and of the truth; and what is in them."""
    truth, found, scores = scene(seed)
    write_scores(folder / "predicted.csv", np.unique(found)[1:], scores)
    paths = [
        write_raster(
            folder / f"{name}.tif", array.astype(np.uint16), tiled=True, blockxsize=64, blockysize=64, **options
        )
        for name, array in (("predicted", found), ("truth", truth))
    ]
    return paths[0], paths[1], truth, found, scores


@pytest.mark.parametrize("seed", range(4))
def test_average_precision_of_files_is_that_of_pycocotools(seed: int, tmp_path: Path) -> None:
    prediction, path, truth, found, scores = write_scene(tmp_path, seed, crs=None, transform=None)
    kinds = np.zeros(200, np.int64)
    theirs = official(segments(truth, kinds), segments(found, kinds, scores), 1)
    result = evaluate(prediction, path)
    mine = result.summary()["scores"]
    assert result.task == "instance"
    assert mine["ap"] == pytest.approx(np.nanmean(theirs.precision[..., 0]))
    assert mine["ap50"] == pytest.approx(np.nanmean(theirs.precision[0, ..., 0]))
    assert mine["ap75"] == pytest.approx(np.nanmean(theirs.precision[5, ..., 0]))
    assert mine["ar"] == pytest.approx(np.nanmean(theirs.recall[..., 0]))
    for size, name in enumerate(("small", "medium"), 1):
        assert mine["sizes"][name]["ap"] == pytest.approx(np.nanmean(theirs.precision[..., size]))
        assert mine["sizes"][name]["ar"] == pytest.approx(np.nanmean(theirs.recall[..., size]))
    assert mine["size_unit"] == "px"


def test_counts_are_those_of_the_whole_arrays(tmp_path: Path) -> None:
    prediction, path, truth, found, scores = write_scene(tmp_path, 5)
    whole = match_instances(truth, found, 0.5, scores)
    mine = summary_of(prediction, path)
    assert (mine["true_objects"], mine["predicted_objects"]) == (whole.truths, len(whole.partners))
    assert (mine["pairs"], mine["precision"], mine["recall"]) == (whole.hits, whole.precision, whole.recall)
    assert mine["f1"] == pytest.approx(whole.f1)
    assert mine["mean_iou"] == pytest.approx(whole.iou[whole.partners > 0].mean())
    assert mine["area_iou"] == pytest.approx(((truth > 0) & (found > 0)).sum() / ((truth > 0) | (found > 0)).sum())
    sizes = np.unique(truth, return_counts=True)[1][1:] * 100.0
    large = summary_of(prediction, path, sizes=(5_000, 40_000))
    assert [large["sizes"][name]["true_objects"] for name in ("small", "medium", "large")] == [
        (sizes < 5_000).sum(), ((5_000 <= sizes) & (sizes < 40_000)).sum(), (40_000 <= sizes).sum(),
    ]  # fmt: skip
    assert large["size_unit"] == "m2"


def test_without_scores_there_is_no_average_precision_and_a_note_says_so(tmp_path: Path) -> None:
    prediction, path, *_ = write_scene(tmp_path, 6)
    (tmp_path / "predicted.csv").unlink()
    result = evaluate(prediction, path)
    assert result.summary()["scores"]["ap50"] is None
    assert result.summary()["scores"]["f1"] > 0
    assert any("no scores" in note for note in result.notes)


def test_scores_may_stand_in_any_table_that_has_one_for_each_object(tmp_path: Path) -> None:
    prediction, path, _, found, scores = write_scene(tmp_path, 7)
    beside = summary_of(prediction, path)
    moved = (tmp_path / "predicted.csv").rename(tmp_path / "sure.csv")
    assert summary_of(prediction, path, scores=moved) == beside
    numbers = np.unique(found)[1:]
    table = gpd.GeoDataFrame({"instance": numbers, "p": scores}, geometry=[Point(0, 0)] * len(numbers), crs=32618)
    table.to_file(tmp_path / "sure.gpkg")
    assert summary_of(prediction, path, scores=tmp_path / "sure.gpkg", score_column="p") == beside
    with pytest.raises(EvaluationError, match="lack one of the columns 'instance' and 'score'"):
        evaluate(prediction, path, scores=tmp_path / "sure.gpkg")
    write_scores(tmp_path / "few.csv", numbers[2:], scores[2:])
    with pytest.raises(EvaluationError, match=f"2 of {len(numbers)} objects have no score .* number {numbers[0]};"):
        evaluate(prediction, path, scores=tmp_path / "few.csv")
    with pytest.raises(InputNotFoundError, match="do not exist"):
        evaluate(prediction, path, scores=tmp_path / "nowhere.csv")
    (tmp_path / "broken.gpkg").write_text("no table")
    with pytest.raises(EvaluationError, match="are not a table"):
        evaluate(prediction, path, scores=tmp_path / "broken.gpkg")


def test_a_declared_nodata_of_zero_says_that_there_is_no_object(tmp_path: Path) -> None:
    prediction, path, truth, found, _ = write_scene(tmp_path, 8)
    expected = summary_of(prediction, path)
    for name, array in (("predicted", found), ("truth", truth)):
        write_raster(tmp_path / f"{name}.tif", array.astype(np.uint32), nodata=0)
    assert summary_of(prediction, path) == expected


def test_where_the_truth_is_not_known_nothing_counts(tmp_path: Path) -> None:
    truth, found = np.zeros((2, 100, 120), np.uint16)
    truth[10:30, 10:30], truth[60:90, 60:120] = 1, 9999
    found[10:30, 12:32], found[65:85, 80:100], found[50:70, 58:62] = 4, 5, 6
    paths = write_raster(tmp_path / "p.tif", found), write_raster(tmp_path / "t.tif", truth)
    kept = summary_of(*paths, ignore=[9999])
    assert (kept["true_objects"], kept["predicted_objects"], kept["pairs"]) == (1, 2, 1)
    assert kept["pixels"] == truth.size - 30 * 60
    hidden = summary_of(paths[0], write_raster(tmp_path / "nodata.tif", truth, nodata=9999))
    assert hidden == kept
    assert summary_of(*paths)["true_objects"] == 2
    with pytest.raises(EvaluationError, match="cannot be ignored by 'road'"):
        evaluate(*paths, ignore=["road"])


def test_an_object_that_is_found_counts_although_most_of_it_lies_where_the_truth_is_not_known(tmp_path: Path) -> None:
    truth, found = np.zeros((2, 20, 40), np.uint16)
    truth[:, :10], truth[:, 10:] = 1, 9999
    found[:, :30] = 5
    paths = write_raster(tmp_path / "p.tif", found), write_raster(tmp_path / "t.tif", truth)
    mine = summary_of(*paths, ignore=[9999])
    assert (mine["predicted_objects"], mine["pairs"], mine["mean_iou"], mine["precision"]) == (1, 1, 1, 1)


def test_beyond_the_prediction_nothing_is_compared_and_a_note_says_so(tmp_path: Path) -> None:
    prediction, path, truth, found, _ = write_scene(tmp_path, 9)
    (tmp_path / "predicted.csv").unlink()
    part = found[40:200, 30:220].astype(np.uint16)
    write_raster(prediction, part, transform=TEN_METRES @ Affine.translation(30, 40))
    result = evaluate(prediction, path)
    whole = match_instances(truth[40:200, 30:220], part)
    mine = result.summary()["scores"]
    assert (mine["true_objects"], mine["pairs"]) == (whole.truths, whole.hits)
    assert mine["compared"] == pytest.approx(160 * 190 / 260**2)
    assert any(note.startswith("45.0% of the known truth is compared") for note in result.notes)
    left, top = TEN_METRES @ (30, 40)
    right, bottom = TEN_METRES @ (220, 200)
    region = f"{left},{bottom},{right},{top},EPSG:32618"
    assert summary_of(prediction, path, region=region) == mine | {"compared": 1}


def test_objects_are_cut_to_the_region_on_both_sides(tmp_path: Path) -> None:
    prediction, path, truth, found, _ = write_scene(tmp_path, 10)
    (tmp_path / "predicted.csv").unlink()
    (left, top), (right, bottom) = TEN_METRES @ (33, 50), TEN_METRES @ (170, 201)
    place = slice(50, 201), slice(33, 170)
    whole = match_instances(truth[place], found[place])
    mine = summary_of(prediction, path, region=f"{left},{bottom},{right},{top},EPSG:32618")
    assert (mine["true_objects"], mine["predicted_objects"]) == (whole.truths, len(whole.partners))
    assert mine["mean_iou"] == pytest.approx(whole.iou[whole.partners > 0].mean())
    assert (mine["pixels"], mine["compared"]) == (151 * 137, 1)


def shapes(seed: int, count: int = 25) -> list[Polygon]:
    """Turned rectangles in pixels, some over each other, some with a hole."""
    rng = np.random.default_rng(seed)
    result = []
    for _ in range(count):
        y, x, height, width = *rng.uniform(0, 180, 2), *rng.uniform(3, 40, 2)
        shape = rotate(box(x, y, x + width, y + height), rng.uniform(0, 90))
        result.append(shape.difference(shape.centroid.buffer(3)) if rng.random() < 0.2 else shape)
    return result


def write_shapes(path: Path, polygons: list[Polygon], crs: Any = 32618, **columns: Any) -> Path:
    placed = [affine_transform(shape, TEN_METRES.to_shapely()) for shape in polygons]
    gpd.GeoDataFrame(columns, geometry=placed, crs=32618).to_crs(crs).to_file(path)
    return path


@given(st.integers(0, 10_000), st.integers(-20, 50), st.integers(-20, 50), st.integers(1, 60), st.integers(1, 60))
def test_spans_hold_the_pixels_whose_centres_lie_inside(seed: int, y: int, x: int, height: int, width: int) -> None:
    polygons = np.array(shapes(seed, 6))
    window = Window(y, x, height, width)
    owners, rows, starts, stops = spans_inside(polygons, window)
    for number, polygon in enumerate(polygons):
        mask = np.zeros(window.shape, bool)
        for owner, row, start, stop in zip(owners, rows, starts, stops, strict=True):
            if owner == number:
                mask[row, start:stop] = True
        assert np.array_equal(mask, centres_inside(edges_of(polygon, Affine.identity()), window))
        assert np.array_equal(mask, ~geometry_mask([polygon], window.shape, Affine.translation(x, y)))


@pytest.mark.parametrize("seed", range(3))
def test_polygons_that_lie_over_each_other_are_whole_masks(seed: int, tmp_path: Path) -> None:
    """Each mask is burnt by GDAL for the comparison, and scored beside pycocotools."""
    truth, _, _ = scene(seed, 200)
    rng = np.random.default_rng(seed)
    numbers = np.unique(truth[truth > 0])
    boxes = [(truth == number).nonzero() for number in numbers]
    found = [
        translate(rotate(box(x.min(), y.min(), x.max() + 1, y.max() + 1), rng.uniform(0, 5)), *rng.uniform(-2, 2, 2))
        for y, x in boxes
    ] + shapes(seed, 10)
    scores = rng.permutation(len(found)) / 100
    prediction = write_shapes(tmp_path / "predicted.gpkg", found, score=scores)
    path = write_raster(tmp_path / "truth.tif", truth.astype(np.uint16))
    result = evaluate(prediction, path)
    mine = result.summary()["scores"]
    masks = [~geometry_mask([shape], truth.shape, Affine.identity()) for shape in found]
    kinds = np.zeros(200, np.int64)
    listed = [
        segments(mask.astype(np.uint8), kinds, scores[place:])[0] | {"id": place + 1}
        for place, mask in enumerate(masks)
        if mask.any()
    ]
    theirs = official(segments(truth, kinds), listed, 1)
    assert result.task == "instance"
    assert mine["ap"] == pytest.approx(np.nanmean(theirs.precision[..., 0]))
    assert mine["ap50"] == pytest.approx(np.nanmean(theirs.precision[0, ..., 0]))
    assert mine["predicted_objects"] == len(listed)
    union = np.any(masks, axis=0)
    assert mine["area_iou"] == pytest.approx((union & (truth > 0)).sum() / (union | (truth > 0)).sum())
    swapped = summary_of(path, prediction)
    assert (swapped["true_objects"], swapped["predicted_objects"]) == (len(listed), len(numbers))
    assert swapped["area_iou"] == mine["area_iou"]
    assert swapped["ap"] is None


def test_features_need_a_raster_that_lies_somewhere(tmp_path: Path) -> None:
    layer = write_shapes(tmp_path / "truth.gpkg", shapes(0, 3))
    nowhere = write_raster(tmp_path / "p.tif", np.ones((20, 20), np.uint16), crs=None, transform=None)
    with pytest.raises(CrsError, match="cannot be compared with features"):
        evaluate(nowhere, layer)


def test_objects_of_different_classes_are_no_pair(tmp_path: Path) -> None:
    polygons = [box(5, 5, 25, 25), box(40, 5, 60, 25), box(80, 5, 100, 25), box(5, 60, 25, 80)]
    truth = np.zeros((100, 120), np.uint16)
    labels = np.full((100, 120), 255, np.uint8)
    for number, (shape, kind) in enumerate(zip(polygons, (1, 1, 2, 2), strict=True), 1):
        left, top, right, bottom = map(int, shape.bounds)
        truth[top:bottom, left:right], labels[top:bottom, left:right] = number, kind
    labels[5:10, 5:25] = 7  # most pixels decide
    folder = tmp_path / "truth"
    folder.mkdir()
    write_raster(folder / "instances.tif", truth, nodata=0)
    write_raster(folder / "labels.tif", labels, nodata=255)
    columns = {"class": [1, 2, 2, 2], "name": ["house", "shed", "shed", "shed"], "score": [0.9, 0.8, 0.7, 0.6]}
    prediction = write_shapes(tmp_path / "predicted.gpkg", polygons, **columns)
    mine = summary_of(prediction, folder, task="instance")
    assert (mine["true_objects"], mine["predicted_objects"], mine["pairs"]) == (4, 4, 3)
    assert mine["classes"]["house"] == {
        "true_objects": 2, "predicted_objects": 1, "pairs": 1, "precision": 1, "recall": 0.5, "f1": 2 / 3,
        "ap50": pytest.approx(51 / 101), "ap75": pytest.approx(51 / 101), "ap": pytest.approx(51 / 101), "ar": 0.5,
    }  # fmt: skip
    only = evaluate(prediction, folder, task="instance", classes=["shed"])
    assert only.summary()["scores"]["true_objects"] == 2
    assert only.notes == ("3 objects of other classes, or of none, are left out",)
    without = summary_of(prediction, folder / "instances.tif")
    assert (without["pairs"], "classes" in without) == (4, False)
    strange = write_shapes(tmp_path / "strange.gpkg", polygons, **{"class": [5, 5, 5, 5]})
    result = evaluate(strange, folder, task="instance")
    assert result.summary()["scores"]["pairs"] == 4
    assert "have no class in common" in result.notes[0]
    one_side = evaluate(prediction, folder / "instances.tif", classes=["house"]).summary()["scores"]
    assert (one_side["true_objects"], one_side["predicted_objects"]) == (4, 1)
    with pytest.raises(EvaluationError, match="has classes of objects; omit --classes"):
        evaluate(folder / "instances.tif", folder / "instances.tif", classes=[1])


def test_parts_of_one_instance_are_one_object_and_stuff_is_none(tmp_path: Path) -> None:
    polygons = [box(0, 0, 10, 10), box(10, 0, 20, 10), box(30, 30, 40, 40), box(0, 50, 90, 90)]
    layer = write_shapes(
        tmp_path / "features.gpkg", polygons, instance=[1, 1, 2, 0], isthing=[True, True, True, False], score=[0.5] * 4
    )
    truth = np.zeros((100, 100), np.uint16)
    truth[:10, :20], truth[30:40, 30:40] = 1, 2
    mine = summary_of(layer, write_raster(tmp_path / "truth.tif", truth))
    assert (mine["predicted_objects"], mine["pairs"], mine["mean_iou"]) == (2, 2, 1)


def test_a_prediction_without_objects_has_found_nothing(tmp_path: Path) -> None:
    truth = write_raster(tmp_path / "truth.tif", scene(0)[0].astype(np.uint16))
    nothing = gpd.GeoDataFrame({"score": []}, geometry=[], crs=32618)
    nothing.to_file(tmp_path / "nothing.gpkg")
    for prediction in (tmp_path / "nothing.gpkg", write_raster(tmp_path / "p.tif", np.zeros((260, 260), np.uint16))):
        mine = summary_of(prediction, truth)
        assert (mine["predicted_objects"], mine["pairs"], mine["recall"], mine["area_iou"]) == (0, 0, 0, 0)
        assert mine["precision"] is None


@given(st.integers(0, 1000), st.integers(1, 40))
def test_overlaps_that_are_added_up_over_windows_are_those_of_the_whole(seed: int, size: int) -> None:
    rng = np.random.default_rng(seed)
    truth, found = rng.integers(-1, 5, (40, 30)), rng.integers(0, 5, (40, 30))
    tally = Tally(2)
    for y in range(0, 40, size):
        for x in range(0, 30, size):
            tally.add(*runs_of(*(side[y : y + size, x : x + size] for side in (truth, found))))
    mine, whole = Overlaps.of_tallies(tally), overlaps_of(truth, found)
    for name in vars(whole):
        assert np.array_equal(getattr(mine, name), getattr(whole, name))
    for place, number in enumerate(whole.found):
        assert whole.found_areas[place] == np.sum(found == number)
        assert whole.hidden[place] == np.sum((found == number) & (truth == VOID))
    for first, second, shared in zip(whole.first, whole.second, whole.shared, strict=True):
        assert shared == np.sum((truth == whole.trues[first]) & (found == whole.found[second]))
    assert len(whole.shared) == len({pair for pair in zip(truth.flat, found.flat, strict=True) if min(pair) > NOTHING})


def test_a_tally_keeps_one_row_for_each_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("geoseg.evaluation.overlaps._PENDING", 10)
    tally = Tally(1)
    for _ in range(100):
        tally.add((np.array([3, 1, 3]),), np.array([1, 2, 4]))
        assert tally._waiting <= 14
    (keys,), areas = tally.total()
    assert (keys.tolist(), areas.tolist()) == ([1, 3], [200, 500])
    assert [column.tolist() for column in Tally(2).total()[0]] == [[], []]


def test_real_buildings_agree_with_pycocotools(
    shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grid, "SIDE", 400)
    path = shared_data / "buildings" / "val" / "kampala_ug_instances.tif"
    if not path.is_file():
        pytest.skip("needs buildings that do not ship with geoseg")
    with rasterio.open(path) as source:
        truth, transform = source.read(1), source.transform
    found = np.roll(truth, (5, 4), (0, 1))
    found[found % 7 == 3] = 0
    numbers = np.unique(found)[1:]
    scores = np.random.default_rng(0).random(len(numbers)).round(2)
    prediction = write_raster(tmp_path / "predicted.tif", found, transform=transform, crs="EPSG:3857")
    write_scores(tmp_path / "predicted.csv", numbers, scores)
    kinds = np.zeros(len(np.unique(truth)), np.int64)
    theirs = official(segments(truth, kinds), segments(found, kinds, scores), 1)
    mine = summary_of(prediction, path)
    assert mine["ap"] == pytest.approx(np.nanmean(theirs.precision[..., 0]))
    whole = overlaps_of(truth, found)
    pixel = transform.a**2 * 0.99996
    sizes = [
        ObjectAttributes(areas * pixel, np.zeros(len(areas), np.int64))
        for areas in (whole.true_areas, whole.found_areas)
    ]
    expected = coco_scores(whole, scores, *sizes, limits=(20, 60))
    by_size = summary_of(prediction, path, sizes=(20, 60))["sizes"]
    for size, name in enumerate(("small", "medium", "large"), 1):
        assert by_size[name]["ap"] == pytest.approx(expected.average_precision(size))
        assert not math.isnan(by_size[name]["ap"])


@pytest.mark.parametrize("left", [179.995, -180.005])
def test_polygons_cut_at_the_antimeridian_are_those_beyond_it(left: float, tmp_path: Path) -> None:
    """RFC 7946 cuts polygons there; a raster goes on in degrees beyond 180, on either side."""
    transform = Affine(1e-4, 0, left, 0, -1e-4, 40)
    objects = np.zeros((100, 100), np.uint16)
    places = [(5, 5), (20, 45), (60, 80), (40, 10), (70, 46)]
    for number, (row, column) in enumerate(places, start=1):
        objects[row : row + 12, column : column + 10] = number
    raster = write_raster(tmp_path / "objects.tif", objects, transform=transform, crs="EPSG:4326", nodata=0)
    boxes = [box(*(transform @ (x, y + 12)), *(transform @ (x + 10, y))) for y, x in places]
    east, west = box(0, 0, 180, 90), box(-180, 0, 0, 90)
    halves = [[translate(shape, turn) & side for turn in (-360, 0, 360) for side in (east, west)] for shape in boxes]
    cut = [MultiPolygon([part for part in parts if part.area > 1e-12]) for parts in halves]
    assert any(len(shape.geoms) == 2 for shape in cut)
    for shapes in (boxes, cut):
        gpd.GeoDataFrame(geometry=shapes, crs=4326).to_file(tmp_path / "truth.gpkg")
        scores = evaluate(raster, tmp_path / "truth.gpkg").summary()["scores"]
        assert (scores["true_objects"], scores["f1"]) == (5, 1)
