"""How good a class map is: confusion counts and the scores derived from them.

It knows label arrays and class names only; where they came from, and which pixels may be compared, is
the caller's business (pixels of value 255 are left out).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geoseg.errors import EvaluationError

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
    if truth.shape != predicted.shape:
        raise EvaluationError(
            f"truth has shape {truth.shape} and the prediction {predicted.shape}; compare equal windows"
        )
    known = (truth != IGNORE) & (predicted != IGNORE)
    pairs = np.stack([truth[known], predicted[known]]).astype(np.int64)
    if pairs.size and pairs.max() >= classes:
        raise EvaluationError(f"label {pairs.max()} is not one of {classes} classes; map values to class indices first")
    return np.bincount(pairs[0] * classes + pairs[1], minlength=classes * classes).reshape(classes, classes)


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
        return _ratio(both, self.counts.sum(axis=0) + self.counts.sum(axis=1) - both)

    @property
    def f1(self) -> NDArray[np.float64]:
        """Per class ``2 both / (true + predicted)``; NaN for a class that is on neither side (Dice 1945)."""
        return _ratio(2 * np.diag(self.counts), self.counts.sum(axis=0) + self.counts.sum(axis=1))

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


def _ratio(top: NDArray[np.int64], bottom: NDArray[np.int64]) -> NDArray[np.float64]:
    """Divide, with NaN where the divisor is 0."""
    ratio = np.full(top.shape, np.nan)
    np.divide(top, bottom, out=ratio, where=bottom > 0)
    return ratio
