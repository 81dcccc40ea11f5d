"""Average precision and recall are those of pycocotools, number for number."""

from __future__ import annotations

import contextlib
import io
from typing import Any

import numpy as np
import pytest

from geoseg.evaluation.coco import CocoScores, ObjectAttributes, coco_scores
from geoseg.evaluation.overlaps import Overlaps, Tally, overlaps_of, runs_of
from geoseg.options import LIMITS

Sides = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]

masks = pytest.importorskip("pycocotools.mask")
coco = pytest.importorskip("pycocotools.coco")
cocoeval = pytest.importorskip("pycocotools.cocoeval")


def scene(seed: int, side: int = 260, count: int = 60) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """True objects, found ones (moved, lost, invented, split), and scores that are often alike."""
    rng = np.random.default_rng(seed)
    truth, found = np.zeros((2, side, side), np.uint32)
    for number in range(1, count + 1):
        height, width = rng.integers(3, 90, 2) if rng.random() < 0.2 else rng.integers(2, 30, 2)
        y, x = rng.integers(0, side - 2, 2)
        truth[y : y + height, x : x + width] = number
        draw = rng.random()
        if draw < 0.75:
            dy, dx = rng.integers(-2, 3, 2)
            found[max(0, y + dy) : y + dy + height, max(0, x + dx) : x + dx + width] = number + 7
        elif draw < 0.85:
            y, x = rng.integers(0, side - 2, 2)
            found[y : y + height, x : x + width] = number + 7
    return truth, found, rng.integers(1, 25, len(np.unique(found)) - 1) / 25


def segments(numbers: np.ndarray, classes: np.ndarray, scores: np.ndarray | None = None) -> list[dict[str, Any]]:
    """Annotations of an array of numbers, in ascending order of them."""
    result: list[dict[str, Any]] = []
    for place, number in enumerate(np.unique(numbers[numbers > 0])):
        mask = masks.encode(np.asfortranarray((numbers == number).astype(np.uint8)))
        item = {"image_id": 1, "category_id": int(classes[place]) + 1, "segmentation": mask}
        item |= {"id": place + 1, "area": float(masks.area(mask)), "iscrowd": 0}
        result.append(item if scores is None else item | {"score": float(scores[place])})
    return result


def official(truth: list[dict[str, Any]], found: list[dict[str, Any]], classes: int) -> CocoScores:
    """What COCOeval says, with NaN for its -1, without its limit of 100 detections an image."""
    with contextlib.redirect_stdout(io.StringIO()):
        data = coco.COCO()
        names = [{"id": number + 1, "name": str(number)} for number in range(classes)]
        height, width = truth[0]["segmentation"]["size"]
        images = [{"id": 1, "height": height, "width": width}]
        data.dataset = {"info": {}, "images": images, "annotations": truth, "categories": names}
        data.createIndex()
        evaluated = cocoeval.COCOeval(data, data.loadRes(found), "segm")
        evaluated.params.maxDets = [1_000_000]
        evaluated.evaluate()
        evaluated.accumulate()
    precision, recall = (evaluated.eval[name][..., 0] for name in ("precision", "recall"))
    return CocoScores(np.where(precision < 0, np.nan, precision), np.where(recall < 0, np.nan, recall))


def areas(overlaps: Overlaps, classes: tuple[np.ndarray, np.ndarray]) -> tuple[ObjectAttributes, ObjectAttributes]:
    return ObjectAttributes(overlaps.true_areas, classes[0]), ObjectAttributes(overlaps.found_areas, classes[1])


def assert_same(mine: CocoScores, theirs: CocoScores) -> None:
    np.testing.assert_array_equal(mine.precision, theirs.precision)
    np.testing.assert_array_equal(mine.recall, theirs.recall)


@pytest.mark.parametrize("seed", range(8))
def test_precision_and_recall_are_those_of_pycocotools_for_every_threshold_class_and_size(seed: int) -> None:
    truth, found, scores = scene(seed)
    rng, classes = np.random.default_rng(seed), 1 + seed % 3
    overlaps = overlaps_of(truth, found)
    kinds = rng.integers(0, classes, len(overlaps.trues)), rng.integers(0, classes, len(overlaps.found))
    mine = coco_scores(overlaps, scores, *areas(overlaps, kinds), classes)
    theirs = official(segments(truth, kinds[0]), segments(found, kinds[1], scores), classes)
    assert_same(mine, theirs)
    assert 0.005 < mine.average_precision() < 0.95
    assert mine.average_precision() == pytest.approx(np.nanmean(theirs.precision[..., 0]))
    assert mine.average_precision(threshold=0) == pytest.approx(np.nanmean(theirs.precision[0, :, :, 0]))
    assert mine.average_recall() == pytest.approx(np.nanmean(theirs.recall[..., 0]))
    assert [np.isnan(mine.average_precision(size)) for size in (1, 2)] == [False, False]


@pytest.mark.parametrize("seed", range(4))
def test_detections_that_lie_over_each_other_are_scored_as_pycocotools_does(seed: int) -> None:
    """Masks of vector features may overlap, so several may fit one true object, and one several."""
    rng = np.random.default_rng(seed)
    shape, count = (70, 70), 40
    boxes = np.zeros((count, *shape), np.uint32)
    for place, (y, x, height, width) in enumerate(zip(*rng.integers(4, 40, (4, count)), strict=True)):
        boxes[place, y : y + height, x : x + width] = 1
    truth, found = boxes[: count // 2], boxes[rng.integers(0, count, 50)]
    pairs, trues, others = Tally(2), Tally(1), Tally(1)
    for one, first in enumerate(truth, 1):
        trues.add(*runs_of(first * one))
        for other, second in enumerate(found, 1):
            pairs.add(*runs_of(first * one, second * other))
    for other, second in enumerate(found, 1):
        others.add(*runs_of(second * other))
    overlaps = Overlaps.of_tallies(pairs, trues, others)
    scores = rng.integers(1, 9, len(found)) / 9
    kinds = np.zeros(len(truth), np.int64), np.zeros(len(found), np.int64)

    def listed(layers: np.ndarray, given: np.ndarray | None = None) -> list[dict[str, Any]]:
        parts = [segments(layer, kinds[0], None if given is None else given[i:])[0] for i, layer in enumerate(layers)]
        return [item | {"id": number} for number, item in enumerate(parts, 1)]

    mine = coco_scores(overlaps, scores, *areas(overlaps, kinds))
    assert_same(mine, official(listed(truth), listed(found, scores), 1))


def test_a_detection_that_lies_mostly_where_the_truth_is_not_known_is_no_fault() -> None:
    truth, found = np.zeros((2, 4, 20), np.int64)
    truth[:, :4], truth[:, 10:] = 1, -1
    found[:, :4], found[:, 8:13] = 1, 2
    kinds = np.zeros(1, np.int64), np.zeros(2, np.int64)
    overlaps = overlaps_of(truth, found)
    assert coco_scores(overlaps, np.array([0.5, 0.9]), *areas(overlaps, kinds)).average_precision() == pytest.approx(1)
    found[:, 6:8] = 2  # now half of it is not enough
    found[:, 12:13] = 0
    overlaps = overlaps_of(truth, found)
    assert coco_scores(overlaps, np.array([0.5, 0.9]), *areas(overlaps, kinds)).average_precision() == pytest.approx(
        0.5
    )


def test_nothing_to_find_gives_nan_and_nothing_found_gives_zero() -> None:
    truth = np.array([[1, 1, 0]])
    for first, second, expected in ((truth * 0, truth, np.nan), (truth, truth * 0, 0.0)):
        overlaps = overlaps_of(first, second)
        kinds = np.zeros(len(overlaps.trues), np.int64), np.zeros(len(overlaps.found), np.int64)
        result = coco_scores(overlaps, np.ones(len(overlaps.found)), *areas(overlaps, kinds), limits=LIMITS)
        assert result.average_precision() == pytest.approx(expected, nan_ok=True)
        assert result.average_recall() == pytest.approx(expected, nan_ok=True)
