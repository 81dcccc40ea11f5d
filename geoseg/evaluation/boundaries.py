"""How well boundaries are placed: precision, recall and F1 of boundary pixels within a tolerance.

The measure is that of Csurka, Larlus and Perronnin (2013, "What is a good evaluation measure for semantic
segmentation?", section 2.2). It knows label arrays and class names only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from geoseg.evaluation.classes import IGNORE, known_pixels, ratio
from geoseg.grid import Window

Labels = NDArray[np.uint8]
Mask = NDArray[np.bool_]


def count_boundaries(
    truth: Labels, predicted: Labels, classes: int, tolerance: float, core: Window | None = None
) -> NDArray[np.int64]:
    """Count boundary pixels, and those that have one of the other side nearby.

    A boundary pixel of a class has that class, and another class above, below, left or right of it. What is 255 on
    either side, and the array's edge, make no boundary.

    Parameters
    ----------
    truth, predicted : NDArray
        uint8, the same shape (y, x), class indices below ``classes``, 255 = no class: left out on either side.
    classes : int
        Number of classes.
    tolerance : float
        Largest distance between centres of pixels, px.
    core : Window, optional
        The pixels that count; the others are context. Cores that fill an image add up to the counts of the whole when
        each is given a context of ``tolerance + 1`` px, as far as there is an image.

    Returns
    -------
    NDArray
        int64, shape (class, 4), pixels: predicted ones near a true one, predicted ones, true ones near a predicted one,
        true ones; sums of such arrays add up.

    Raises
    ------
    EvaluationError
        As `confusion` does.
    """
    known = known_pixels(truth, predicted, classes)
    sides = [np.where(known, labels, np.uint8(IGNORE)) for labels in (predicted, truth)]
    edges = [_edges(labels) for labels in sides]
    place = (slice(None), slice(None)) if core is None else core.slices()
    counts = np.zeros((classes, 4), np.int64)
    for number in range(classes):
        first, second = (edge & (labels == number) for edge, labels in zip(edges, sides, strict=True))
        for column, (own, other) in enumerate([(first, second), (second, first)]):
            near = own & _within(other, tolerance)
            counts[number, 2 * column : 2 * column + 2] = near[place].sum(), own[place].sum()
    return counts


def _edges(labels: Labels) -> Mask:
    """Pixels with another class beside them."""
    edges = np.zeros(labels.shape, np.bool_)
    for here, there in (((slice(1, None),), (slice(None, -1),)), ((..., slice(1, None)), (..., slice(None, -1)))):
        differ = (labels[here] != labels[there]) & (labels[here] != IGNORE) & (labels[there] != IGNORE)
        edges[here] |= differ
        edges[there] |= differ
    return edges


def _within(mask: Mask, distance: float) -> Mask:
    """Pixels that are at most so far from one of a mask, px."""
    if not mask.any():
        return mask
    near: Mask = distance_transform_edt(~mask) <= distance
    return near


@dataclass(frozen=True)
class BoundaryScores:
    """Scores of boundary counts.

    Attributes
    ----------
    counts : NDArray
        int64, shape (class, 4), as `count_boundaries` counts.
    names : tuple of str
        Class names, in the order of ``counts``.
    """

    counts: NDArray[np.int64]
    names: tuple[str, ...]

    @property
    def precision(self) -> NDArray[np.float64]:
        """Per class the share of predicted boundary pixels near a true one; NaN where none is predicted."""
        return ratio(self.counts[:, 0], self.counts[:, 1])

    @property
    def recall(self) -> NDArray[np.float64]:
        """Per class the share of true boundary pixels near a predicted one; NaN where there is none."""
        return ratio(self.counts[:, 2], self.counts[:, 3])

    @property
    def f1(self) -> NDArray[np.float64]:
        """Per class ``2 p r / (p + r)``; 0 where a boundary is on one side only, NaN where it is on neither."""
        precision, recall = (np.nan_to_num(share) for share in (self.precision, self.recall))
        either = self.counts[:, [1, 3]].sum(axis=1) > 0
        harmonic: NDArray[Any] = np.nan_to_num(ratio(2 * precision * recall, precision + recall))
        return np.where(either, harmonic, np.nan)

    @property
    def mean_f1(self) -> float:
        """Mean F1 of the classes that truly have a boundary; NaN when none has."""
        occurs = self.counts[:, 3] > 0
        return float(self.f1[occurs].mean()) if occurs.any() else float("nan")
