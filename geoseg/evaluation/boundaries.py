"""How well boundaries are placed: precision, recall and F1 of boundary pixels within a tolerance.

The measure is that of Csurka, Larlus and Perronnin (2013, "What is a good evaluation measure for semantic
segmentation?", section 2.2). Boundary pixels are few, so around each of them a compiled loop looks for one of the
other side, the nearest places first. It knows label arrays and class names only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from geoseg.evaluation.classes import IGNORE, known_pixels, ratio
from geoseg.grid import Window

Labels = NDArray[np.uint8]


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
    first, second = (_edges(np.where(known, labels, np.uint8(IGNORE))) for labels in (predicted, truth))
    whole = Window(0, 0, *truth.shape)
    rows, cols = (whole if core is None else core).slices()
    counts = np.zeros((classes, 4), np.int64)
    for column, (own, other) in enumerate([(first, second), (second, first)]):
        here = own[rows, cols]
        counts[:, 2 * column + 1] = np.bincount(here[here != IGNORE], minlength=classes)
        _count_near(
            own, other, _offsets(tolerance), (rows.start, rows.stop, cols.start, cols.stop), counts[:, 2 * column]
        )
    return counts


def _edges(labels: Labels) -> Labels:
    """Labels of pixels with another class beside them, 255 elsewhere."""
    edges = np.zeros(labels.shape, np.bool_)
    for here, there in (((slice(1, None),), (slice(None, -1),)), ((..., slice(1, None)), (..., slice(None, -1)))):
        differ = (labels[here] != labels[there]) & (labels[here] != IGNORE) & (labels[there] != IGNORE)
        edges[here] |= differ
        edges[there] |= differ
    return np.where(edges, labels, np.uint8(IGNORE))


def _offsets(tolerance: float) -> NDArray[np.int64]:
    """Steps (y, x) that are at most so long, the shortest first."""
    reach = int(tolerance)
    steps = np.moveaxis(np.mgrid[-reach : reach + 1, -reach : reach + 1], 0, -1).reshape(-1, 2)
    lengths = np.sqrt((steps**2).sum(axis=1))
    order = np.argsort(lengths, kind="stable")
    return np.ascontiguousarray(steps[order][lengths[order] <= tolerance])


@njit(cache=True, nogil=True)
def _count_near(
    own: Labels, other: Labels, offsets: NDArray[np.int64], place: tuple[int, int, int, int], near: NDArray[np.int64]
) -> None:
    """Add to each class the pixels of one side in a place that have one of the other side at one of the offsets."""
    height, width = own.shape
    top, bottom, left, right = place
    for y in range(top, bottom):
        for x in range(left, right):
            label = own[y, x]
            if label == IGNORE:
                continue
            for step in range(len(offsets)):
                row, col = y + offsets[step, 0], x + offsets[step, 1]
                if 0 <= row < height and 0 <= col < width and other[row, col] == label:
                    near[label] += 1
                    break


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
