"""How good a panoptic map is: panoptic quality, the product of how well segments fit and how many are recognised.

The measure is that of Kirillov et al. (2019, "Panoptic segmentation", section 4). It knows arrays of labels and object
numbers, and which classes are things.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoseg.evaluation.classes import check_shapes, known_pixels, ratio
from geoseg.evaluation.overlaps import NOTHING, VOID, Overlaps, overlaps_of

Labels = NDArray[np.uint8]
Segments = NDArray[np.int64]
Counts = NDArray[np.float64]

BITS = 32
"""A segment's number is its class plus 1, and its object's number in so many bits."""


def count_panoptic(
    truth: tuple[Labels, NDArray[Any]], predicted: tuple[Labels, NDArray[Any]], isthing: Sequence[bool]
) -> Counts:
    """Match segments of the same class, and count.

    A segment is all pixels of a class of stuff, or those of one object of a class of things. A thing without an object
    has no segment; where that is so in the truth, or its label is 255, the truth is void: such pixels are no part of a
    predicted segment's union, and an unmatched predicted segment that lies there by more than half is left out.

    Parameters
    ----------
    truth, predicted : (NDArray, NDArray)
        Labels, uint8, shape (y, x), class indices, 255 = no class; and numbers of objects, unsigned integers, the same
        shape, 0 = none.
    isthing : sequence of bool
        For each class.

    Returns
    -------
    NDArray
        float64, shape (class, 4): sum of the IoU of pairs, number of pairs, of predicted segments without a partner,
        and of true ones without; sums of such arrays add up over images, not over windows that cut segments.

    Raises
    ------
    EvaluationError
        If the shapes differ or a label is neither a class index nor 255.
    """
    check_shapes(truth[0], truth[1], *predicted)
    sides = [_segments(labels, objects, isthing) for labels, objects in (truth, predicted)]
    return count_segments(overlaps_of(np.where(sides[0] > NOTHING, sides[0], VOID), sides[1]), len(isthing))


def count_segments(overlaps: Overlaps, classes: int) -> Counts:
    """Match segments whose overlaps are known, as `count_panoptic` does.

    Parameters
    ----------
    overlaps : Overlaps
        Of segments whose numbers are ``(class index + 1 << 32) + object``; void is not known.
    classes : int
        Number of classes.
    """
    trues, found, first, second = overlaps.trues, overlaps.found, overlaps.first, overlaps.second
    alike = _classes(trues[first]) == _classes(found[second])
    good = (overlaps.iou > 0.5) & alike  # more than half: no segment has two partners
    missed = np.delete(trues, first[good])
    spurious = np.delete(found, np.union1d(second[good], np.flatnonzero(overlaps.unjudged)))
    columns = [np.bincount(_classes(trues[first[good]]), overlaps.iou[good], classes)]
    columns += [np.bincount(_classes(numbers), None, classes) for numbers in (trues[first[good]], spurious, missed)]
    return np.stack(columns, axis=1).astype(np.float64)


def _segments(labels: Labels, objects: NDArray[Any], isthing: Sequence[bool]) -> Segments:
    """Number of each pixel's segment, 0 = none."""
    known = known_pixels(labels, labels, len(isthing))
    things = np.isin(labels, np.flatnonzero(isthing))
    segments = (labels.astype(np.int64) + 1 << BITS) + np.where(things, dense(objects), 0)
    return np.where(known & ~(things & (objects == 0)), segments, 0)


def dense(objects: NDArray[Any]) -> Segments:
    """Numbers that fit `BITS`, in the order of the numbers of objects, int64; 0 stays."""
    _, places = np.unique(np.append(objects.ravel(), np.zeros(1, objects.dtype)), return_inverse=True)
    result: Segments = places[:-1].reshape(objects.shape).astype(np.int64)
    return result


def _classes(segments: Segments) -> Segments:
    """Class of each segment's number."""
    return (segments >> BITS) - 1


@dataclass(frozen=True)
class PanopticScores:
    """Panoptic quality of counts.

    Attributes
    ----------
    counts : NDArray
        float64, shape (class, 4), as `count_panoptic` counts.
    names : tuple of str
        Class names, in the order of ``counts``.
    isthing : tuple of bool
        For each class.
    """

    counts: Counts
    names: tuple[str, ...]
    isthing: tuple[bool, ...]

    @property
    def sq(self) -> Counts:
        """Segmentation quality per class: mean IoU of pairs; 0 without a pair, NaN for a class that is nowhere."""
        iou, pairs = self.counts[:, 0], self.counts[:, 1]
        return np.where(self.occurs, np.nan_to_num(ratio(iou, pairs)), np.nan)

    @property
    def rq(self) -> Counts:
        """Recognition quality per class, the F1 of segments: ``pairs / (pairs + (spurious + missed) / 2)``."""
        _, pairs, spurious, missed = self.counts.T
        return ratio(pairs, pairs + (spurious + missed) / 2)

    @property
    def pq(self) -> Counts:
        """Panoptic quality per class, ``sq * rq``."""
        return self.sq * self.rq

    @property
    def occurs(self) -> NDArray[np.bool_]:
        """Which classes have a segment on either side."""
        occurs: NDArray[np.bool_] = self.counts[:, 1:].sum(axis=1) > 0
        return occurs

    def mean(self, values: Counts, *, isthing: bool | None = None) -> float:
        """Mean of a value per class over the classes that occur, all or one kind; NaN when none does."""
        here = self.occurs & (True if isthing is None else np.array(self.isthing, np.bool_) == isthing)
        return float(values[here].mean()) if here.any() else float("nan")
