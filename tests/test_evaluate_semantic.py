"""Maps of classes from files: scores as scikit-learn and torchmetrics have them, in windows, on any grid."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import rasterio
from affine import Affine
from PIL import Image
from rasterio.warp import Resampling, calculate_default_transform, reproject
from shapely.geometry import box

from geoseg.errors import CrsError, EvaluationError, GeosegError, OutputError, RegionError
from geoseg.evaluation import BoundaryScores, count_boundaries, evaluate, grid
from geoseg.grid import Window
from geoseg.raster import write_cog
from tests.rasters import TEN_METRES, write_raster

metrics = pytest.importorskip("sklearn.metrics")


@pytest.fixture(autouse=True)
def _small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows of 37 px, so that small rasters have many."""
    monkeypatch.setattr(grid, "SIDE", 37)


def maps(seed: int = 0, shape: tuple[int, int] = (90, 110), classes: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Coarse classes, and the same moved and partly wrong."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, classes, (shape[0] // 9 + 2, shape[1] // 9 + 2))
    whole = np.kron(coarse, np.ones((9, 9), int)).astype(np.uint8)
    truth, predicted = whole[: shape[0], : shape[1]].copy(), whole[2 : shape[0] + 2, 1 : shape[1] + 1].copy()
    wrong = rng.random(shape) < 0.05
    predicted[wrong] = rng.integers(0, classes, np.count_nonzero(wrong))
    return truth, predicted


def write_pair(folder: Path, truth: np.ndarray, predicted: np.ndarray, **options: object) -> tuple[Path, Path]:
    """The prediction's and the truth's file."""
    return (
        write_raster(folder / "predicted.tif", predicted, **options),  # type: ignore[arg-type]
        write_raster(folder / "truth.tif", truth, **options),  # type: ignore[arg-type]
    )


def scores_of(*paths: Path, **settings: object) -> dict[str, object]:
    return evaluate(*paths, **settings).summary()["scores"]  # type: ignore[no-any-return]


@pytest.mark.parametrize("seed", range(3))
def test_scores_are_those_of_scikit_learn(seed: int, tmp_path: Path) -> None:
    truth, predicted = maps(seed)
    truth[5:20, 30:60], predicted[70:80, 10:40] = 255, 255
    result = scores_of(*write_pair(tmp_path, truth, predicted, nodata=255))
    known = (truth != 255) & (predicted != 255)
    one, other = truth[known], predicted[known]
    assert result["confusion"]["counts"] == metrics.confusion_matrix(one, other).tolist()
    assert result["accuracy"] == pytest.approx(metrics.accuracy_score(one, other))
    assert result["mean_iou"] == pytest.approx(metrics.jaccard_score(one, other, average="macro"))
    assert result["mean_f1"] == pytest.approx(metrics.f1_score(one, other, average="macro"))
    measured = metrics.precision_recall_fscore_support(one, other)
    for number, (precision, recall, f1, support) in enumerate(zip(*measured, strict=True)):
        mine = result["classes"][str(number)]
        expected = [number, precision, recall, f1, support]
        keys = ("value", "precision", "recall", "f1", "true_pixels")
        assert [mine[key] for key in keys] == pytest.approx(expected)
    assert result["pixels"] == known.sum()
    assert result["compared"] == pytest.approx(known.sum() / (truth != 255).sum())


def test_iou_is_that_of_torchmetrics(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    classification = pytest.importorskip("torchmetrics.classification")
    truth, predicted = maps(3)
    truth[:9] = 255
    metric = classification.MulticlassJaccardIndex(num_classes=4, average="none", ignore_index=255)
    expected = metric(torch.from_numpy(predicted), torch.from_numpy(truth.astype(np.int64)))
    result = scores_of(*write_pair(tmp_path, truth, predicted), ignore=[255])
    mine = [item["iou"] for item in result["classes"].values()]
    assert mine == pytest.approx(expected.tolist(), abs=1e-6)


@pytest.mark.parametrize("tolerance", ["1px", "2.9", "30m"])
def test_boundary_scores_of_windows_are_those_of_the_whole(tolerance: str, tmp_path: Path) -> None:
    truth, predicted = maps(1)
    truth[40:60, 50:70] = 255
    pixels = {"1px": 1.0, "2.9": 2.9, "30m": 3.0}[tolerance]
    whole = BoundaryScores(count_boundaries(truth, predicted, 4, pixels), tuple("0123"))
    result = scores_of(*write_pair(tmp_path, truth, predicted, nodata=255), tolerance=tolerance)
    assert [item["boundary_f1"] for item in result["classes"].values()] == pytest.approx(whole.f1.tolist())
    assert result["boundary_f1"] == pytest.approx(whole.mean_f1)
    assert (result["tolerance_px"], result["tolerance_m"]) == pytest.approx((pixels, 10 * pixels), rel=1e-3)


def test_a_prediction_on_another_grid_is_read_at_the_centres_of_the_truths_pixels(tmp_path: Path) -> None:
    truth, _ = maps(2)
    finer = np.kron(truth, np.ones((3, 3), np.uint8))
    finer[::3, ::3] = 3  # not at a centre
    place = TEN_METRES @ Affine.scale(1 / 3)
    prediction = write_raster(tmp_path / "finer.tif", finer[30:], transform=place @ Affine.translation(0, 30))
    result = scores_of(prediction, write_raster(tmp_path / "truth.tif", truth))
    assert result["accuracy"] == 1
    assert result["pixels"] == 80 * 110
    assert result["compared"] == pytest.approx(80 / 90)


def test_a_prediction_in_another_crs_is_brought_onto_the_truth(tmp_path: Path) -> None:
    truth = np.zeros((60, 80), np.uint8)
    truth[20:40, 30:60] = 1
    path = write_raster(tmp_path / "truth.tif", truth)
    other = tmp_path / "other.tif"
    with rasterio.open(path) as source:
        transform, width, height = calculate_default_transform(source.crs, "EPSG:4326", 80, 60, *source.bounds)
        pixels = np.full((height * 4, width * 4), 255, np.uint8)
        placed = transform @ Affine.scale(0.25)
        reproject(source.read(1), pixels, src_transform=source.transform, src_crs=source.crs, dst_transform=placed,
                  dst_crs="EPSG:4326", dst_nodata=255, resampling=Resampling.nearest)  # fmt: skip
    write_raster(other, pixels, transform=placed, crs="EPSG:4326", nodata=255)
    result = scores_of(other, path)
    assert result["accuracy"] > 0.985
    assert result["compared"] > 0.97


def test_rasters_that_lie_nowhere_are_compared_pixel_by_pixel(tmp_path: Path) -> None:
    truth, predicted = maps(4)
    nowhere = write_pair(tmp_path, truth, predicted, crs=None, transform=None)
    result = scores_of(*nowhere)
    assert result["accuracy"] == pytest.approx((truth == predicted).mean())
    assert result["tolerance_m"] is None
    assert evaluate(nowhere[0], write_raster(tmp_path / "placed.tif", truth)).summary()["scores"] == result | {
        "tolerance_m": pytest.approx(20, rel=1e-3)
    }
    smaller = write_raster(tmp_path / "smaller.tif", predicted[:50], crs=None, transform=None)
    with pytest.raises(EvaluationError, match=r"110 x 50 px and .* 110 x 90 px, and not both are georeferenced"):
        evaluate(smaller, nowhere[1])
    with pytest.raises(CrsError, match="a region cannot be located in them"):
        evaluate(*nowhere, region="0,0,1,1")
    with pytest.raises(EvaluationError, match="a tolerance of 5 m cannot be converted to px"):
        evaluate(*nowhere, tolerance="5m")


def test_rasters_that_lie_apart_are_an_error(tmp_path: Path) -> None:
    truth, predicted = maps()
    far = write_raster(tmp_path / "far.tif", predicted, transform=TEN_METRES @ Affine.translation(500, 0))
    with pytest.raises(EvaluationError, match="do not overlap"):
        evaluate(far, write_raster(tmp_path / "truth.tif", truth))


def test_only_the_region_counts(tmp_path: Path) -> None:
    truth, predicted = maps(5)
    paths = write_pair(tmp_path, truth, predicted)
    left, top = TEN_METRES @ (20, 30)
    right, bottom = TEN_METRES @ (75, 81)
    gpd.GeoDataFrame(geometry=[box(left, bottom, right, top)], crs="EPSG:32618").to_file(tmp_path / "aoi.gpkg")
    result = scores_of(*paths, region=tmp_path / "aoi.gpkg")
    place = slice(30, 81), slice(20, 75)
    assert (
        result["confusion"]["counts"]
        == metrics.confusion_matrix(*(m[place].ravel() for m in (truth, predicted))).tolist()
    )
    with pytest.raises(RegionError, match="lies outside"):
        evaluate(*paths, region="0,0,1,1,EPSG:4326")


def test_truth_that_is_ignored_is_left_out_and_its_class_may_still_be_predicted(tmp_path: Path) -> None:
    truth, predicted = maps(6)
    result = scores_of(*write_pair(tmp_path, truth, predicted), ignore=[2])
    kept = truth != 2
    assert result["pixels"] == kept.sum()
    assert result["classes"]["2"]["true_pixels"] == 0
    assert result["classes"]["2"]["iou"] == 0
    ious = [result["classes"][name]["iou"] for name in "013"]
    assert result["mean_iou"] == pytest.approx(np.mean(ious))
    expected = metrics.jaccard_score(truth[kept], predicted[kept], labels=[0, 1, 3], average=None)
    assert ious == pytest.approx(expected.tolist())


def test_truth_below_zero_can_be_ignored(tmp_path: Path) -> None:
    truth, predicted = (side.astype(np.int16) for side in maps(6))
    truth[10:30] = -9999
    paths = write_pair(tmp_path, truth, predicted)
    result = scores_of(*paths, task="semantic", ignore=[-9999])
    assert (
        result["confusion"]["counts"] == metrics.confusion_matrix(*(s[truth >= 0] for s in (truth, predicted))).tolist()
    )
    with pytest.raises(EvaluationError, match="the value -9999 is not a class"):
        evaluate(*paths, task="semantic")
    holed = predicted.copy()
    holed[40:44] = -9999  # the prediction writes the same number where it knows nothing
    result = scores_of(*write_pair(tmp_path, truth, holed), task="semantic", ignore=[-9999])
    known = (truth >= 0) & (holed >= 0)
    assert result["confusion"]["counts"] == metrics.confusion_matrix(truth[known], predicted[known]).tolist()


def test_classes_that_are_not_asked_for_become_one_that_no_mean_counts(tmp_path: Path) -> None:
    truth, predicted = maps(7)
    paths = write_pair(tmp_path, truth, predicted)
    every, some = scores_of(*paths), scores_of(*paths, classes=[1, 3])
    assert list(some["classes"]) == ["1", "3", "other"]
    for name in "13":
        keys = ("iou", "f1", "precision", "recall", "true_pixels")
        assert [some["classes"][name][key] for key in keys] == [every["classes"][name][key] for key in keys]
    assert some["mean_iou"] == pytest.approx((some["classes"]["1"]["iou"] + some["classes"]["3"]["iou"]) / 2)
    assert some["classes"]["other"]["value"] is None
    merged = [np.where(np.isin(side, (1, 3)), side, 9) for side in (truth, predicted)]
    assert some["accuracy"] == pytest.approx((merged[0] == merged[1]).mean())


def named(path: Path, labels: np.ndarray, names: dict[int, str]) -> Path:
    """A raster that names its classes, as a run writes it."""
    windows = [(Window(0, 0, *labels.shape), labels)]
    return write_cog(path, labels.shape, TEN_METRES, "EPSG:32618", windows, categories=names)


def test_classes_are_alike_by_name_where_both_sides_have_names(tmp_path: Path) -> None:
    truth, predicted = maps(8)
    coded = np.array([30, 10, 40, 20], np.uint8)[predicted]
    one = named(tmp_path / "truth.tif", truth, {0: "water", 1: "trees", 2: "crops", 3: "built"})
    other = named(tmp_path / "coded.tif", coded, {10: "trees", 20: "built", 30: "water", 40: "crops"})
    result = scores_of(other, one)
    assert list(result["classes"]) == ["water", "trees", "crops", "built"]
    assert [item["value"] for item in result["classes"].values()] == [0, 1, 2, 3]
    assert result["confusion"]["counts"] == metrics.confusion_matrix(truth.ravel(), predicted.ravel()).tolist()
    chosen = scores_of(other, one, classes=["built"], ignore=["water"])
    assert list(chosen["classes"]) == ["built", "other"]
    assert chosen["pixels"] == np.count_nonzero(truth)
    with pytest.raises(EvaluationError, match="no class is called 'build'; did you mean 'built'"):
        evaluate(other, one, classes=["build"])
    with pytest.raises(EvaluationError, match=r"nor .* has a pixel of the classes that are evaluated \(77, 78\); give"):
        evaluate(other, one, classes=[77, 78])


def test_names_can_be_given_to_values_that_have_none(tmp_path: Path) -> None:
    truth, predicted = maps(9)
    coded = named(tmp_path / "coded.tif", predicted + 10, {10: "a", 11: "b", 12: "c", 13: "d"})
    plain = write_raster(tmp_path / "truth.tif", truth)
    by_value = scores_of(coded, plain)
    assert by_value["accuracy"] == 0
    assert len(by_value["classes"]) == 8
    result = scores_of(coded, plain, classes={0: "a", 1: "b", 2: "c", 3: "d"})
    assert result["accuracy"] == pytest.approx((truth == predicted).mean())
    assert [(name, item["value"]) for name, item in result["classes"].items()] == [*zip("abcd", range(4), strict=True)]


def test_wide_values_in_many_places_are_classes_and_named_where_one_side_names_them(tmp_path: Path) -> None:
    truth, predicted = (side.astype(np.uint16) * 300 for side in maps(10))
    paths = write_pair(tmp_path, truth, predicted)
    assert evaluate(*paths).task == "semantic"
    assert list(scores_of(*paths)["classes"]) == ["0", "300", "600", "900"]
    with rasterio.open(paths[1], "r+") as target:
        target.update_tags(CLASS_300="trees")
    assert "trees" in scores_of(*paths)["classes"]


def test_values_that_are_no_classes_are_an_error(tmp_path: Path) -> None:
    far = np.full((5, 5), 70_000, np.uint32)
    with pytest.raises(EvaluationError, match=r"the value 70000 is not a class.*--task instance"):
        evaluate(*write_pair(tmp_path, far, far), task="semantic")
    many = np.arange(300, dtype=np.uint16).reshape(15, 20)
    with pytest.raises(EvaluationError, match="more than 255 classes"):
        evaluate(*write_pair(tmp_path, many, many), task="semantic")
    floats = write_raster(tmp_path / "floats.tif", np.full((5, 5), 0.5, np.float32))
    with pytest.raises(GeosegError, match=r"the prediction .* holds 0\.5, which is not a 63-bit integer"):
        evaluate(floats, write_raster(tmp_path / "t.tif", np.ones((5, 5), np.uint8)))
    picture = write_raster(tmp_path / "rgb.tif", np.ones((3, 5, 5), np.uint8))
    with pytest.raises(EvaluationError, match=r"the truth .* has 3 bands, so it looks like a picture"):
        evaluate(tmp_path / "t.tif", picture)
    empty = write_raster(tmp_path / "empty.tif", np.full((5, 5), 255, np.uint8), nodata=255)
    with pytest.raises(EvaluationError, match=r"the prediction .*empty.tif' has no pixel with a class; choose --task"):
        evaluate(empty, tmp_path / "t.tif")
    with pytest.raises(EvaluationError, match=r"the truth .*empty.tif' has no pixel with a class; choose --task inst"):
        evaluate(tmp_path / "t.tif", empty)
    halves = np.full((2, 5, 5), 255, np.uint8)
    halves[0, :2], halves[1, 3:] = 1, 1
    left, right = (write_raster(tmp_path / f"{i}.tif", half, nodata=255) for i, half in enumerate(halves))
    with pytest.raises(EvaluationError, match=r"no pixel has a class in both the prediction .* and the truth .*; give"):
        evaluate(left, right)


def squares(path: Path, **columns: object) -> Path:
    """Three squares of 20 px side by side in another CRS."""
    shapes = [box(*(TEN_METRES @ (x, 30)), *(TEN_METRES @ (x + 20, 50))) for x in (10, 30, 60)]
    gpd.GeoDataFrame(columns, geometry=shapes, crs="EPSG:32618").to_crs(4326).to_file(path)
    return path


def test_polygons_whose_classes_have_another_column_are_not_taken_for_one_class(tmp_path: Path) -> None:
    _, predicted = maps(11)
    prediction = write_raster(tmp_path / "predicted.tif", predicted)
    words = squares(tmp_path / "words.geojson", kind=["crops", "trees", "crops"])
    sentence = r"have no column 'class' and would all be the class 1, but there is a class 2; name .*--class-column"
    for one, other in ((prediction, words), (words, prediction)):
        with pytest.raises(EvaluationError, match=sentence):
            evaluate(one, other, task="semantic")
    assert evaluate(prediction, words, task="semantic", classes=[1]).task == "semantic"
    binary = write_raster(tmp_path / "binary.tif", (predicted == 1).astype(np.uint8))
    assert evaluate(binary, words, task="semantic").task == "semantic"


def test_the_column_of_the_truth_s_classes_is_none_of_a_run_s_features(tmp_path: Path) -> None:
    names = ["crops", "trees", "crops"]
    found = squares(tmp_path / "features.gpkg", **{"class": [2, 1, 2], "name": names})
    truth = squares(tmp_path / "truth.gpkg", kind=names)
    result = evaluate(found, truth, class_column="kind", task="semantic", resolution=10)
    assert result.summary()["scores"]["accuracy"] == 1
    with pytest.raises(EvaluationError, match="no column 'kinds'"):
        evaluate(found, truth, class_column="kinds", task="semantic", resolution=10)


def test_polygons_with_classes_are_truth_where_they_lie(tmp_path: Path) -> None:
    expected = np.full((90, 110), 255, np.uint8)
    for value, x in ((2, 10), (1, 30), (2, 60)):
        expected[30:50, x : x + 20] = value
    _, predicted = maps(11)
    prediction = write_raster(tmp_path / "predicted.tif", predicted)
    layer = squares(tmp_path / "truth.gpkg", kind=[2, 1, 2])
    result = evaluate(prediction, layer, class_column="kind")
    burnt = scores_of(prediction, write_raster(tmp_path / "burnt.tif", expected, nodata=255))
    assert result.task == "semantic"
    assert result.summary()["scores"] == burnt
    words = squares(tmp_path / "words.geojson", kind=["crops", "trees", "crops"])
    with pytest.raises(EvaluationError, match=r"are words and those of the prediction .* numbers without names"):
        evaluate(prediction, words, class_column="kind")
    by_name = scores_of(prediction, words, class_column="kind", classes={1: "trees", 2: "crops"})
    assert (
        by_name["classes"]["trees"]["iou"]
        == scores_of(prediction, layer, class_column="kind", classes=[1, 2])["classes"]["1"]["iou"]
    )
    with pytest.raises(EvaluationError, match="no column 'kinds'; did you mean 'kind'"):
        evaluate(prediction, layer, class_column="kinds")


def test_a_later_polygon_lies_over_an_earlier_one(tmp_path: Path) -> None:
    expected = np.full((90, 110), 255, np.uint8)
    expected[10:50, 10:50], expected[30:70, 30:70] = 1, 2
    shapes = [box(*(TEN_METRES @ (at, at)), *(TEN_METRES @ (at + 40, at + 40))) for at in (10, 30)]
    gpd.GeoDataFrame({"class": [1, 2]}, geometry=shapes, crs="EPSG:32618").to_file(tmp_path / "truth.gpkg")
    prediction = write_raster(tmp_path / "predicted.tif", expected, nodata=255)
    assert scores_of(prediction, tmp_path / "truth.gpkg")["accuracy"] == 1


def test_polygons_without_classes_are_one_and_everything_else_is_none(tmp_path: Path) -> None:
    expected = np.zeros((90, 110), np.uint8)
    expected[30:50, 10:50], expected[30:50, 60:80] = 1, 1
    predicted = np.roll(expected, 3, axis=1)
    layer = squares(tmp_path / "buildings.gpkg")
    result = scores_of(write_raster(tmp_path / "predicted.tif", predicted), layer)
    assert result["confusion"]["counts"] == metrics.confusion_matrix(expected.ravel(), predicted.ravel()).tolist()
    swapped = scores_of(layer, tmp_path / "predicted.tif")
    assert np.array_equal(np.transpose(swapped["confusion"]["counts"]), result["confusion"]["counts"])


def test_what_a_prediction_leaves_empty_is_the_background_where_there_is_one(tmp_path: Path) -> None:
    truth = np.zeros((90, 110), np.uint8)
    truth[30:50, 10:50] = 1
    predicted = np.where(np.roll(truth, 3, axis=1), 1, 255).astype(np.uint8)[:80]
    paths = write_raster(tmp_path / "p.tif", predicted, nodata=255), write_raster(tmp_path / "t.tif", truth)
    assert scores_of(*paths)["compared"] == pytest.approx(20 * 40 / truth.size)
    filled = scores_of(*paths, background=0)
    expected = np.where(predicted == 255, 0, predicted)
    assert filled["confusion"]["counts"] == metrics.confusion_matrix(truth[:80].ravel(), expected.ravel()).tolist()
    assert filled["compared"] == pytest.approx(8 / 9)
    plain = write_raster(tmp_path / "plain.tif", expected)
    assert scores_of(plain, paths[1], background=7) == scores_of(plain, paths[1])


def test_two_layers_are_compared_by_class_on_a_grid_that_is_named(tmp_path: Path) -> None:
    one, other = (
        squares(tmp_path / "a.gpkg", **{"class": [1, 2, 2]}),
        squares(tmp_path / "b.gpkg", **{"class": [1, 2, 1]}),
    )
    assert evaluate(one, other).task == "polygons"
    with pytest.raises(EvaluationError, match="give its pixel size, such as --resolution 1"):
        evaluate(one, other, task="semantic")
    result = scores_of(one, other, task="semantic", resolution=5)
    assert result["accuracy"] == pytest.approx(2 / 3, abs=0.01)
    assert result["pixels"] == pytest.approx(3 * 40 * 40, rel=0.03)


def test_memory_does_not_grow_with_the_raster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grid, "SIDE", 256)
    options = {"tiled": True, "blockxsize": 256, "blockysize": 256}
    peaks = []
    for size in (512, 2048):
        truth = np.kron(np.arange(64, dtype=np.uint8).reshape(8, 8) % 5, np.ones((size // 8, size // 8), np.uint8))
        paths = write_pair(tmp_path, truth, np.roll(truth, 2, 0), **options)
        evaluate(*paths)
        tracemalloc.start()
        evaluate(*paths)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0]


def test_a_file_of_strips_is_read_in_strips(tmp_path: Path) -> None:
    truth, predicted = maps(12)
    paths = write_pair(tmp_path, truth, predicted)  # GDAL writes strips unless told otherwise
    seen = []
    result = evaluate(*paths, progress=lambda done, total: seen.append((done, total)))
    assert result.summary()["scores"]["pixels"] == truth.size
    rows = 37 * 37 // 110
    assert seen == [(done, -(-90 // rows)) for done in range(1, -(-90 // rows) + 1)]


def test_the_confusion_is_drawn(tmp_path: Path) -> None:
    truth, predicted = maps(13)
    result = evaluate(
        *write_pair(tmp_path, truth, predicted), classes={0: "[red]", 1: "trees", 2: "a long name", 3: "d"}
    )
    result.write_confusion(tmp_path / "confusion.png")
    pixels = np.asarray(Image.open(tmp_path / "confusion.png").convert("RGB")).astype(int)
    left, top = (side - 4 * 72 - 10 for side in (pixels.shape[1], pixels.shape[0]))
    shade = np.array([[pixels[top + 72 * row + 4, left + 72 * col + 4].sum() for col in range(4)] for row in range(4)])
    counts = np.array(result.summary()["scores"]["confusion"]["counts"])
    shares = counts / counts.sum(axis=1, keepdims=True)
    assert np.array_equal(np.argsort(shade.ravel())[:4] // 4, np.argsort(-shares.ravel())[:4] // 4)
    assert (np.diff(shade.ravel()[np.argsort(-shares.ravel())]) >= 0).all()
    with pytest.raises(OutputError, match="cannot be written"):
        result.write_confusion(tmp_path / "confusion.png" / "confusion.png")


def test_real_labels_without_a_place_agree_with_scikit_learn(
    shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grid, "SIDE", 500)
    path = shared_data / "dubai" / "val" / "tile4_labels.tif"
    if not path.is_file():
        pytest.skip("needs labels that do not ship with geoseg")
    with rasterio.open(path) as source:
        truth = source.read(1)[600:1800, 400:2000]
    predicted = np.roll(truth, (4, 3), (0, 1))
    predicted[predicted == 255] = 2
    paths = write_pair(tmp_path, truth, predicted, crs=None, transform=None)
    result = scores_of(*paths, ignore=[0, 255])
    kept = (truth != 255) & (truth != 0)
    expected = metrics.confusion_matrix(truth[kept], predicted[kept])
    assert result["confusion"]["counts"] == expected.tolist()
    assert expected.shape == (5, 5)
