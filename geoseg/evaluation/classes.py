"""How well pixels are classified: confusion counts and the scores derived from them.

It knows label arrays and class names, nothing of where they came from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoseg.errors import EvaluationError
from geoseg.evaluation.overlaps import runs_of

IGNORE = 255
"""Label of a pixel that has no class."""


def confusion(truth: NDArray[np.uint8], predicted: NDArray[np.uint8], classes: int) -> NDArray[np.int64]:
    """Count the pixels of each true class that were given each class.

    Parameters
    ----------
    truth, predicted : NDArray
        uint8, the same shape, class indices below ``classes``, 255 = no class: left out on either side.
    classes : int
        Number of classes.

    Returns
    -------
    NDArray
        int64, shape (true class, predicted class), pixels; sums of such arrays add up over windows.

    Raises
    ------
    EvaluationError
        If the shapes differ or a label is neither a class index nor 255.
    """
    check_shapes(truth, predicted)
    (trues, found), lengths = runs_of(truth, predicted)
    known = (trues != IGNORE) & (found != IGNORE)
    trues, found, lengths = trues[known], found[known], lengths[known]
    _check_labels(int(max(trues.max(initial=0), found.max(initial=0))), classes)
    counts = np.bincount(trues * classes + found, lengths, classes * classes)  # floats, and whole up to 2 ** 53
    return counts.astype(np.int64).reshape(classes, classes)


def known_pixels(truth: NDArray[np.uint8], predicted: NDArray[np.uint8], classes: int) -> NDArray[np.bool_]:
    """Which pixels have a class on either side; refuses what `confusion` refuses."""
    check_shapes(truth, predicted)
    known: NDArray[np.bool_] = (truth != IGNORE) & (predicted != IGNORE)
    _check_labels(int(max(truth.max(where=known, initial=0), predicted.max(where=known, initial=0))), classes)
    return known


def _check_labels(highest: int, classes: int) -> None:
    if highest >= classes:
        raise EvaluationError(f"label {highest} is not one of {classes} classes; map values to class indices first")


def check_shapes(truth: NDArray[Any], *others: NDArray[Any]) -> None:
    """Refuse arrays that do not lie over each other."""
    for other in others:
        if truth.shape != other.shape:
            raise EvaluationError(
                f"truth has shape {truth.shape} and the prediction {other.shape}; compare equal windows"
            )


@dataclass(frozen=True)
class Scores:
    """The usual scores of a confusion array.

    Attributes
    ----------
    counts : NDArray
        int64, shape (true class, predicted class), pixels.
    names : tuple of str
        Class names, in the order of ``counts``.
    """

    counts: NDArray[np.int64]
    names: tuple[str, ...]

    @property
    def pixels(self) -> int:
        """Number of compared pixels."""
        return int(self.counts.sum())

    @property
    def accuracy(self) -> float:
        """Share of compared pixels with the same class; NaN when there are none."""
        return float(np.trace(self.counts) / self.pixels) if self.pixels else float("nan")

    @property
    def iou(self) -> NDArray[np.float64]:
        """Per class ``both / (true + predicted - both)``; NaN for a class that is on neither side (Jaccard 1912)."""
        both = np.diag(self.counts)
        return ratio(both, self.counts.sum(axis=0) + self.counts.sum(axis=1) - both)

    @property
    def f1(self) -> NDArray[np.float64]:
        """Per class ``2 both / (true + predicted)``; NaN for a class that is on neither side (Dice 1945)."""
        return ratio(2 * np.diag(self.counts), self.counts.sum(axis=0) + self.counts.sum(axis=1))

    @property
    def precision(self) -> NDArray[np.float64]:
        """Per class the share of its predicted pixels that truly have it; NaN where none is predicted."""
        return ratio(np.diag(self.counts), self.counts.sum(axis=0))

    @property
    def recall(self) -> NDArray[np.float64]:
        """Per class the share of its true pixels that are predicted; NaN where there is none."""
        return ratio(np.diag(self.counts), self.counts.sum(axis=1))

    @property
    def mean_iou(self) -> float:
        """Mean IoU of the classes that truly occur; NaN when none does."""
        occurs = self.counts.sum(axis=1) > 0
        return float(self.iou[occurs].mean()) if occurs.any() else float("nan")

    def per_class(self) -> dict[str, float]:
        """IoU by class name, for the classes that truly occur."""
        occurs = self.counts.sum(axis=1) > 0
        return {name: float(iou) for name, iou, here in zip(self.names, self.iou, occurs, strict=True) if here}


def score(truth: NDArray[np.uint8], predicted: NDArray[np.uint8], names: Sequence[str]) -> Scores:
    """Compare two label arrays: ``Scores(confusion(truth, predicted, len(names)), names)``."""
    return Scores(confusion(truth, predicted, len(names)), tuple(names))


def ratio(top: NDArray[Any], bottom: NDArray[Any]) -> NDArray[np.float64]:
    """Divide, with NaN where the divisor is 0."""
    quotient = np.full(top.shape, np.nan)
    np.divide(top, bottom, out=quotient, where=bottom > 0)
    return quotient
