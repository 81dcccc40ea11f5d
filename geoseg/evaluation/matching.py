"""How well objects are found: pairs of true and predicted objects, and precision, recall, F1 and average precision.

It knows numbers of objects and what they share, nothing of classes: objects of each class are matched by themselves.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoseg.errors import EvaluationError
from geoseg.evaluation.classes import check_shapes
from geoseg.evaluation.overlaps import Overlaps, overlaps_of

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Matches:
    """Predicted objects with their partners; those of several images add up.

    Attributes
    ----------
    partners : NDArray
        int64, shape (predicted object,): number of the true object, 0 = none.
    iou : NDArray
        float64, shape (predicted object,): intersection over union with the partner, 0 = none.
    scores : NDArray
        float64, shape (predicted object,): how sure the prediction is.
    truths : int
        Number of true objects.
    """

    partners: Integers
    iou: Floats
    scores: Floats
    truths: int

    def __add__(self, other: Matches) -> Matches:
        """Both, as those of one."""
        return Matches(
            np.concatenate([self.partners, other.partners]),
            np.concatenate([self.iou, other.iou]),
            np.concatenate([self.scores, other.scores]),
            self.truths + other.truths,
        )

    @property
    def hits(self) -> int:
        """Number of pairs."""
        return int(np.count_nonzero(self.partners))

    @property
    def precision(self) -> float:
        """Share of predicted objects that have a partner; NaN when there are none."""
        return self.hits / len(self.partners) if len(self.partners) else float("nan")

    @property
    def recall(self) -> float:
        """Share of true objects that have a partner; NaN when there are none."""
        return self.hits / self.truths if self.truths else float("nan")

    @property
    def f1(self) -> float:
        """``2 pairs / (true + predicted)``; NaN when there are no objects."""
        objects = self.truths + len(self.partners)
        return 2 * self.hits / objects if objects else float("nan")

    @property
    def average_precision(self) -> float:
        """Area under precision over recall as the lowest accepted score falls; NaN when there are no true objects.

        The precision at a recall is the highest at this or any higher recall (Everingham et al. 2015, "The PASCAL
        visual object classes challenge: a retrospective", section 2.2.2). It tells nothing of scores that are alike.
        """
        if not self.truths:
            return float("nan")
        hit = self.partners[np.argsort(-self.scores, kind="stable")] > 0
        precision = np.cumsum(hit) / np.arange(1, len(hit) + 1)
        highest = np.maximum.accumulate(precision[::-1])[::-1]
        return float(highest[hit].sum() / self.truths)


def match_instances(
    truth: NDArray[Any], predicted: NDArray[Any], threshold: float = 0.5, scores: NDArray[Any] | None = None
) -> Matches:
    """Pair objects, each with at most one: surer objects choose first, and choose the highest IoU.

    Parameters
    ----------
    truth, predicted : NDArray
        Unsigned integers, the same shape (y, x): numbers of objects, 0 = none.
    threshold : float
        Least IoU of a pair, above 0.
    scores : NDArray, optional
        Shape (predicted object,): how sure each is, in ascending order of their numbers; all the same unless given.

    Returns
    -------
    Matches
        Its arrays are in ascending order of the predicted objects' numbers. Add those of windows that cut no object.

    Raises
    ------
    EvaluationError
        If the shapes differ, or there is not one score an object.
    """
    check_shapes(truth, predicted)
    return match_overlaps(overlaps_of(truth, predicted), threshold, scores)


def match_overlaps(overlaps: Overlaps, threshold: float = 0.5, scores: NDArray[Any] | None = None) -> Matches:
    """Pair segments whose overlaps are known, as `match_instances` does.

    A predicted one without a partner that lies by more than half where the truth is not known is left out.

    Raises
    ------
    EvaluationError
        There is not one score an object.
    """
    sure = np.ones(len(overlaps.found)) if scores is None else np.asarray(scores, np.float64)
    first, second, iou = pair_overlaps(overlaps, threshold, sure)
    partners, fits = np.zeros(len(sure), np.int64), np.zeros(len(sure))
    partners[second], fits[second] = overlaps.trues[first], iou
    judged = (partners > 0) | ~overlaps.unjudged
    return Matches(partners[judged], fits[judged], sure[judged], len(overlaps.trues))


def pair_overlaps(overlaps: Overlaps, threshold: float, scores: Floats) -> tuple[Integers, Integers, Floats]:
    """Pair segments whose overlaps are known, as `match_instances` does.

    Returns
    -------
    first, second, iou : NDArray
        Shape (pair,): positions in ``overlaps.trues`` and ``overlaps.found``, and intersection over union.

    Raises
    ------
    EvaluationError
        There is not one score an object.
    """
    if scores.shape != overlaps.found.shape:
        raise EvaluationError(
            f"{len(overlaps.found)} objects have scores of shape {scores.shape}; give one score an object"
        )
    first, second, iou = overlaps.first, overlaps.second, overlaps.iou
    order = np.lexsort((-iou, -scores[second]))
    chosen = _choose(first, second, order[iou[order] >= threshold])
    return first[chosen], second[chosen], iou[chosen]


def _choose(first: Integers, second: Integers, order: Integers) -> list[int]:
    """Take pairs in an order, unless one of the two is taken."""
    chosen: list[int] = []
    taken: tuple[set[int], set[int]] = (set(), set())
    for pair in order.tolist():
        if first[pair] not in taken[0] and second[pair] not in taken[1]:
            chosen.append(pair)
            taken[0].add(first[pair])
            taken[1].add(second[pair])
    return chosen
