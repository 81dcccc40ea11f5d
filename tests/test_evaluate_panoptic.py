"""Panoptic maps from files: panoptic quality as torchmetrics has it, in windows that cut segments."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from geoseg.errors import EvaluationError
from geoseg.evaluation import IGNORE, evaluate, grid
from tests.rasters import write_raster
from tests.test_evaluation import quality_of, scene

THINGS = [1, 2]


@pytest.fixture(autouse=True)
def _small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows of 13 px, which cut all segments."""
    monkeypatch.setattr(grid, "SIDE", 13)


def write_side(folder: Path, labels: np.ndarray, objects: np.ndarray, nodata: int | None = 255) -> Path:
    """A folder as a run leaves it."""
    folder.mkdir()
    write_raster(folder / "labels.tif", labels, nodata=nodata)
    write_raster(folder / "instances.tif", objects, nodata=0)
    return folder


def write_sides(folder: Path, seed: int) -> tuple[Path, Path]:
    truth, objects, guess, found = scene(seed)
    return write_side(folder / "predicted", guess, found), write_side(folder / "truth", truth, objects)


def summary_of(*paths: Path, **settings: Any) -> dict[str, Any]:
    return evaluate(*paths, **settings).summary()["scores"]  # type: ignore[no-any-return]


@pytest.mark.parametrize("seed", range(4))
def test_panoptic_quality_is_that_of_torchmetrics(seed: int, tmp_path: Path) -> None:
    prediction, truth = write_sides(tmp_path, seed)
    expected = quality_of(scene(seed))
    result = evaluate(prediction, truth, thing_classes=THINGS)
    assert result.task == "panoptic"
    mine = result.summary()["scores"]
    measures = ("pq", "sq", "rq")
    for number, item in enumerate(mine["classes"].values()):
        assert [item[name] for name in measures] == pytest.approx(expected[:, number].tolist(), abs=1e-6)
    for name, chosen in (("all", slice(None)), ("things", [1, 2]), ("stuff", [0, 3])):
        means = expected[:, chosen].mean(axis=1).tolist()
        assert [mine[name][key] for key in measures] == pytest.approx(means, abs=1e-6)


def test_classes_most_of_whose_true_pixels_belong_to_objects_are_things(tmp_path: Path) -> None:
    labels, objects, guess, found = scene(1)
    objects[~np.isin(labels, THINGS)] = 0  # where stuff has numbers, none is counted
    prediction, truth = write_side(tmp_path / "p", guess, found), write_side(tmp_path / "t", labels, objects)
    mine = summary_of(prediction, truth)
    assert [item["isthing"] for item in mine["classes"].values()] == [False, True, True, False]
    assert mine == summary_of(prediction, truth, thing_classes=THINGS)
    assert mine != summary_of(prediction, truth, thing_classes=[1])


@pytest.mark.parametrize(("share", "isthing"), [(0.4, False), (0.6, True)])
def test_a_class_is_a_thing_when_more_than_half_of_it_belongs_to_objects(
    share: float, isthing: bool, tmp_path: Path
) -> None:
    labels, objects = np.ones((2, 10, 10), np.uint8)
    objects[int(10 * share) :] = 0
    truth = write_side(tmp_path / "truth", labels, objects)
    assert summary_of(truth, truth)["classes"]["1"]["isthing"] is isthing


def test_where_nothing_is_predicted_what_is_true_is_missed(tmp_path: Path) -> None:
    labels, objects = np.zeros((2, 20, 30), np.uint8)
    labels[5:15, 5:15], objects[5:15, 5:15] = 1, 4
    guess = labels.copy()
    guess[5:11, 5:15] = IGNORE  # 60 of 100 px
    truth = write_side(tmp_path / "truth", labels, objects)
    mine = summary_of(write_side(tmp_path / "guess", guess, objects * (guess == 1)), truth)
    assert (mine["classes"]["1"]["missed"], mine["classes"]["1"]["spurious"]) == (1, 1)
    assert (mine["classes"]["0"]["pq"], mine["compared"]) == (1, 1)


def test_ignored_truth_is_void(tmp_path: Path) -> None:
    labels, objects = np.zeros((2, 20, 30), np.uint8)
    labels[5:15, 5:15], objects[5:15, 5:15] = 1, 4
    guess, found = labels.copy(), objects.copy()
    labels[:, 20:] = 9
    guess[2:8, 21:28], found[2:8, 21:28] = 1, 5
    sides = write_side(tmp_path / "guess", guess, found), write_side(tmp_path / "truth", labels, objects)
    assert summary_of(*sides)["classes"]["1"]["spurious"] == 1
    mine = summary_of(*sides, ignore=[9])
    assert mine["classes"]["1"] == {
        "isthing": True, "pq": 1, "sq": 1, "rq": 1, "pairs": 1, "spurious": 0, "missed": 0,
    }  # fmt: skip
    assert mine["pixels"] == 20 * 20


def test_instances_may_be_files_of_their_own(tmp_path: Path) -> None:
    prediction, truth = write_sides(tmp_path, 2)
    mine = summary_of(
        prediction / "labels.tif",
        truth / "labels.tif",
        instances=prediction / "instances.tif",
        truth_instances=truth / "instances.tif",
    )
    assert mine == summary_of(prediction, truth)


def test_a_side_without_instances_is_an_error(tmp_path: Path) -> None:
    prediction, truth = write_sides(tmp_path, 3)
    with pytest.raises(EvaluationError, match=r"the truth .* lacks labels or instances.*--truth-instances"):
        evaluate(prediction, truth / "labels.tif", task="panoptic")
    with pytest.raises(EvaluationError, match="panoptic quality covers all classes"):
        evaluate(prediction, truth, classes=[1])
    names = {0: "ground", 1: "houses", 2: "cars", 3: "water"}
    assert list(summary_of(prediction, truth, classes=names)["classes"]) == list(names.values())
