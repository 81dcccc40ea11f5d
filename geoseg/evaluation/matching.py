"""How well objects are found: pairs of true and predicted objects, and precision, recall, F1 and average precision.

It knows arrays of object numbers, nothing of classes: objects of each class are matched by themselves.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoseg.errors import EvaluationError
from geoseg.evaluation.classes import check_shapes

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
    trues, own = np.unique(truth[truth > 0], return_counts=True)
    found, others = np.unique(predicted[predicted > 0], return_counts=True)
    sure = np.ones(len(found)) if scores is None else np.asarray(scores, np.float64)
    if sure.shape != found.shape:
        raise EvaluationError(f"{len(found)} objects have scores of shape {sure.shape}; give one score an object")
    pairs, shared = shared_areas(truth, predicted)
    first, second = np.searchsorted(trues, pairs[:, 0]), np.searchsorted(found, pairs[:, 1])
    iou = shared / (own[first] + others[second] - shared)
    order = np.lexsort((-iou, -sure[second]))
    chosen = _choose(first, second, order[iou[order] >= threshold])
    partners, fits = np.zeros(len(found), np.int64), np.zeros(len(found))
    partners[second[chosen]], fits[second[chosen]] = trues[first[chosen]], iou[chosen]
    return Matches(partners, fits, sure, len(trues))


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


def shared_areas(truth: NDArray[Any], predicted: NDArray[Any]) -> tuple[Integers, Integers]:
    """Pixels that each pair of segments shares.

    Parameters
    ----------
    truth, predicted : NDArray
        Integers, the same shape: numbers of segments; pixels that are 0 on either side are left out.

    Returns
    -------
    pairs, areas : NDArray
        int64, shape (pair, 2): the numbers, and shape (pair,): px.
    """
    both = (truth > 0) & (predicted > 0)
    (trues, first), (found, second) = (np.unique(side[both], return_inverse=True) for side in (truth, predicted))
    codes, areas = np.unique(first * np.int64(len(found)) + second, return_counts=True)
    rows, cols = np.divmod(codes, max(1, len(found)))
    return np.stack([trues[rows], found[cols]], axis=1).astype(np.int64), areas.astype(np.int64)
