"""Average precision and recall as COCO defines them: over ten thresholds of IoU, by class and by size.

The measure is that of pycocotools' ``COCOeval`` (https://cocodataset.org/#detection-eval), number for number:
detections choose in the order of their scores, each the free true object it fits best; precision is made monotone and
read at 101 recalls. Two things differ, because one raster is one image: there is no limit of 100 detections, and what
is small and what large, and in which unit, is a parameter. It knows overlaps, scores and areas.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from geoseg.evaluation.overlaps import Overlaps
from geoseg.options import LIMITS

THRESHOLDS = np.linspace(0.5, 0.95, 10)
"""Least IoU of a pair."""

RECALLS = np.linspace(0.0, 1.0, 101)
"""Where precision is read."""

SIZES = ("all", "small", "medium", "large")

_EPSILON = np.spacing(1)
_ALMOST = 1 - 1e-10  # the least IoU that counts as a full one

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class ObjectAttributes:
    """What is known of the objects of one side besides where they lie.

    Attributes
    ----------
    sizes : NDArray
        float64, shape (object,): area, in the unit of the limits.
    classes : NDArray
        int64, shape (object,): class indices; all 0 where there are none.
    """

    sizes: Floats
    classes: Integers


@dataclass(frozen=True, eq=False)
class CocoScores:
    """Precision and recall, NaN where no true object is.

    Attributes
    ----------
    precision : NDArray
        float64, shape (threshold, recall, class, size).
    recall : NDArray
        float64, shape (threshold, class, size): the highest.
    """

    precision: Floats
    recall: Floats

    def average_precision(self, size: int = 0, threshold: int | None = None, number: int | None = None) -> float:
        """Mean precision over recalls; over all thresholds and classes unless one is given; NaN without true objects.

        Parameters
        ----------
        size, threshold, number : int
            Indices of `SIZES`, of `THRESHOLDS` and of the class.
        """
        return _mean(self.precision[_index(threshold), :, _index(number), size])

    def average_recall(self, size: int = 0, number: int | None = None) -> float:
        """Mean of the highest recalls over thresholds and classes; NaN without true objects."""
        return _mean(self.recall[:, _index(number), size])


def coco_scores(
    overlaps: Overlaps,
    scores: Floats,
    truth: ObjectAttributes,
    predicted: ObjectAttributes,
    classes: int = 1,
    limits: tuple[float, float] = LIMITS,
) -> CocoScores:
    """Score detections.

    Parameters
    ----------
    overlaps : Overlaps
        Of all objects.
    scores : NDArray
        float64, shape (predicted,): how sure each is; of equal ones the first in ``overlaps.found`` chooses first.
    truth, predicted : ObjectAttributes
        In the order of ``overlaps.trues`` and ``overlaps.found``.
    classes : int
        Number of classes; objects are paired within their class.
    limits : (float, float)
        Sizes from which objects are medium, and large; one that has just that size is of both.
    """
    order = np.argsort(-scores, kind="stable")
    ranges = [(0.0, np.inf), (0.0, limits[0]), (limits[0], limits[1]), (limits[1], np.inf)]
    precision = np.full((len(THRESHOLDS), len(RECALLS), classes, len(SIZES)), np.nan)
    recall = np.full((len(THRESHOLDS), classes, len(SIZES)), np.nan)
    for number in range(classes):
        mine = order[predicted.classes[order] == number]
        pairs = _pairs_of(overlaps, truth, predicted, number)
        for size, (low, high) in enumerate(ranges):
            counted = (truth.classes == number) & (low <= truth.sizes) & (truth.sizes <= high)
            outside = (predicted.sizes < low) | (high < predicted.sizes) | overlaps.unjudged
            if not counted.any():
                continue
            for place, threshold in enumerate(THRESHOLDS):
                partners = _choose(mine, *pairs, counted, min(threshold, _ALMOST))[mine]
                curve = _curve(partners, counted, outside[mine])
                precision[place, :, number, size], recall[place, number, size] = curve
    return CocoScores(precision, recall)


def _pairs_of(
    overlaps: Overlaps, truth: ObjectAttributes, predicted: ObjectAttributes, number: int
) -> tuple[Integers, Integers, Floats]:
    """Pairs of one class that may match, by detection: where those of each begin, their true objects, their IoU."""
    iou = overlaps.iou
    alike = (truth.classes[overlaps.first] == number) & (predicted.classes[overlaps.second] == number)
    pairs = np.flatnonzero(alike & (iou >= THRESHOLDS[0]))
    pairs = pairs[np.lexsort((overlaps.first[pairs], overlaps.second[pairs]))]
    starts = np.searchsorted(overlaps.second[pairs], np.arange(len(overlaps.found) + 1))
    return starts.astype(np.int64), overlaps.first[pairs], iou[pairs]


@njit(cache=True, nogil=True)
def _choose(
    order: Integers, starts: Integers, trues: Integers, iou: Floats, counted: Bools, threshold: float
) -> Integers:
    """Give each detection, in an order, the free true object that it fits best, -1 where there is none.

    Objects that count go before those that do not; of equal ones the last is taken, as ``COCOeval`` does.
    """
    partners = np.full(len(starts) - 1, -1, np.int64)
    taken = np.zeros(len(counted), np.bool_)
    for detection in order:
        best, fit = -1, threshold
        for pair in range(starts[detection], starts[detection + 1]):
            true = trues[pair]
            if taken[true] or iou[pair] < threshold:
                continue
            if best >= 0 and counted[best] != counted[true]:
                if counted[best]:
                    continue
            elif iou[pair] < fit:
                continue
            best, fit = true, iou[pair]
        if best >= 0:
            taken[best], partners[detection] = True, best
    return partners


def _curve(partners: Integers, counted: Bools, outside: Bools) -> tuple[Floats, float]:
    """Precision at each recall, and the highest recall, of detections in the order of their scores."""
    hit, ignored = partners >= 0, outside.copy()
    ignored[hit] = ~counted[partners[hit]]
    true, false = np.cumsum(hit & ~ignored), np.cumsum(~hit & ~ignored)
    recalls = true / np.count_nonzero(counted)
    precisions = np.maximum.accumulate((true / (true + false + _EPSILON))[::-1])[::-1]
    places = np.searchsorted(recalls, RECALLS, side="left")
    known = places < len(recalls)
    result = np.zeros(len(RECALLS))
    result[known] = precisions[places[known]]
    return result, float(recalls[-1]) if len(recalls) else 0.0


def _index(chosen: int | None) -> Any:
    return slice(None) if chosen is None else chosen


def _mean(values: Any) -> float:
    known = np.asarray(values)[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")
