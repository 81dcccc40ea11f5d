"""Scores of objects, whatever they were drawn as: pairs, average precision, and the same by class and by size.

It knows overlaps, classes and areas; where they come from is the matter of the tasks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from geoseg.evaluation.coco import SIZES, CocoScores, ObjectAttributes, coco_scores
from geoseg.evaluation.matching import pair_overlaps
from geoseg.evaluation.overlaps import Floats, Integers, Overlaps
from geoseg.evaluation.report import Cell, Table

IOU = 0.5
"""Least IoU of the pairs of which precision, recall and F1 speak."""


@dataclass(frozen=True, eq=False)
class ComparedObjects:
    """Objects of both sides that are compared.

    Attributes
    ----------
    overlaps : Overlaps
        What they share.
    truth, predicted : ObjectAttributes
        Their sizes and classes, in the order of the overlaps.
    scores : NDArray or None
        float64, shape (predicted,): how sure each is.
    names : tuple of str
        Names of the classes; one where there are none.
    """

    overlaps: Overlaps
    truth: ObjectAttributes
    predicted: ObjectAttributes
    scores: Floats | None
    names: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class ObjectScores:
    """Scores of objects.

    Attributes
    ----------
    counts : NDArray
        int64, shape (class, size, 3): true objects, predicted ones, and pairs at an IoU of 0.5; a pair has the size of
        its true object. The first size is all.
    iou : NDArray
        float64, shape (pair,): intersection over union of each pair.
    first, second : NDArray
        int64, shape (pair,): positions of the two in the overlaps.
    coco : CocoScores or None
        Average precision and recall; None where no prediction has a score.
    area_iou : float
        Intersection over union of what all objects of either side cover.
    names : tuple of str
        Class names.
    limits : (float, float)
        Areas from which objects are medium, and large.
    unit : str
        ``"m2"`` or ``"px"``.
    """

    counts: Integers
    iou: Floats
    first: Integers
    second: Integers
    coco: CocoScores | None
    area_iou: float
    names: tuple[str, ...]
    limits: tuple[float, float]
    unit: str

    @property
    def mean_iou(self) -> float:
        """Mean IoU of pairs; NaN without one."""
        return float(self.iou.mean()) if len(self.iou) else math.nan

    def measures(self, number: int | None = None) -> dict[str, Any]:
        """Numbers of all classes, or of one."""
        chosen = slice(None) if number is None else slice(number, number + 1)
        truths, found, pairs = self.counts[chosen, 0].sum(axis=0).tolist()
        return {
            "true_objects": truths,
            "predicted_objects": found,
            "pairs": pairs,
            "precision": pairs / found if found else math.nan,
            "recall": pairs / truths if truths else math.nan,
            "f1": 2 * pairs / (truths + found) if truths + found else math.nan,
        } | self._average(0, number)

    def _average(self, size: int, number: int | None = None) -> dict[str, float]:
        """What COCO's measure says, NaN where there are no scores."""
        if self.coco is None:
            return dict.fromkeys(("ap50", "ap75", "ap", "ar"), math.nan)
        return {
            "ap50": self.coco.average_precision(size, 0, number),
            "ap75": self.coco.average_precision(size, 5, number),
            "ap": self.coco.average_precision(size, None, number),
            "ar": self.coco.average_recall(size, number),
        }

    def _has(self, size: int) -> bool:
        """Whether there are objects of a size, which is not all."""
        return size > 0 and bool(self.counts[:, size].any())

    def _size(self, size: int) -> dict[str, Any]:
        truths, found, pairs = self.counts[:, size].sum(axis=0).tolist()
        counts = {"true_objects": truths, "predicted_objects": found, "pairs": pairs}
        return counts | {"recall": pairs / truths if truths else math.nan} | self._average(size)

    def summary(self) -> dict[str, Any]:
        """Every number by name."""
        result = self.measures() | {"mean_iou": self.mean_iou, "area_iou": self.area_iou}
        result |= {"iou_threshold": IOU, "size_unit": self.unit, "size_limits": self.limits}
        result["sizes"] = {name: self._size(size) for size, name in enumerate(SIZES) if size}
        if len(self.names) > 1:
            result["classes"] = {name: self.measures(number) for number, name in enumerate(self.names)}
        return result

    def tables(self) -> list[Table]:
        """All objects, then by size, then by class."""
        every = self.measures()
        rows: list[tuple[Cell, ...]] = [(LABELS[key], value) for key, value in every.items()]
        rows += [("mean IoU of pairs", self.mean_iou), ("IoU of all they cover", self.area_iou)]
        small, large = (f"{limit:,g} {self.unit}" for limit in self.limits)
        spans = ("", f"small, < {small}", "medium", f"large, > {large}")
        tables = [Table("objects", ("", ""), tuple(rows))]
        sizes = [(span, self._size(size)) for size, span in enumerate(spans) if self._has(size)]
        if len(sizes) > 1:
            tables.append(self._table("size", ("true_objects", "predicted_objects", "recall"), sizes))
        if len(self.names) > 1:
            kinds = [(name, self.measures(number)) for number, name in enumerate(self.names)]
            columns = ("true_objects", "predicted_objects", "precision", "recall", "f1")
            tables.append(self._table("class", columns, kinds))
        return tables

    def _table(self, kind: str, columns: tuple[str, ...], rows: list[tuple[str, dict[str, Any]]]) -> Table:
        """Some measures of each kind, with average precision where there is any."""
        columns = columns if self.coco is None else (*columns, "ap50", "ap")
        cells = tuple((name, *(measures[key] for key in columns)) for name, measures in rows)
        return Table(f"by {kind}", (kind, *(LABELS[key] for key in columns)), cells)


LABELS = {
    "true_objects": "true",
    "predicted_objects": "predicted",
    "pairs": "pairs",
    "precision": "precision",
    "recall": "recall",
    "f1": "F1",
    "ap50": "AP50",
    "ap75": "AP75",
    "ap": "AP50:95",
    "ar": "AR50:95",
}
"""What measures are called in tables."""


def score_objects(judged: ComparedObjects, area_iou: float, limits: tuple[float, float], unit: str) -> ObjectScores:
    """Score objects; those of different classes are never a pair."""
    overlaps, truth, predicted = judged.overlaps, judged.truth, judged.predicted
    alike = overlaps.alike(truth.classes, predicted.classes)
    scores = np.ones(len(overlaps.found)) if judged.scores is None else judged.scores
    first, second, iou = pair_overlaps(alike, IOU, scores)
    counted = ~overlaps.unjudged
    counted[second] = True
    counts = np.stack(
        [
            _by_class_and_size(truth.classes, truth.sizes, len(judged.names), limits),
            _by_class_and_size(predicted.classes[counted], predicted.sizes[counted], len(judged.names), limits),
            _by_class_and_size(truth.classes[first], truth.sizes[first], len(judged.names), limits),
        ],
        axis=-1,
    )
    coco = None
    if judged.scores is not None:
        coco = coco_scores(overlaps, judged.scores, truth, predicted, len(judged.names), limits)
    return ObjectScores(counts, iou, first, second, coco, area_iou, judged.names, limits, unit)


def _by_class_and_size(classes: Integers, sizes: Floats, count: int, limits: tuple[float, float]) -> Integers:
    """Number of objects, shape (class, size); those of just a limit are of the size above it."""
    size = np.searchsorted(limits, sizes, side="right")
    counts = np.bincount(classes * 3 + size, minlength=3 * count).reshape(count, 3)
    return np.concatenate([counts.sum(axis=1, keepdims=True), counts], axis=1)
