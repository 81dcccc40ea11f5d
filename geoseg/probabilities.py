"""Probabilities as they are stored, and the labels that they mean: another threshold needs no network.

A probability is an integer of scale 32,767, of a pixel's best class or of every class. Labels and confidence are made
of these when they are read. It knows arrays; torch stays out, because whoever reads a finished run needs none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from math import ceil
from typing import Any, Self

import numpy as np
from numba import njit
from numpy.typing import NDArray

SCALE = 32_767
"""A probability of 1.0 as an integer; ``SCALE * 256 * 256`` is the largest that fits int32."""

LEVELS = 255
"""A confidence of 1.0."""

NODATA = 255
"""The label of pixels that hold no data; never a class."""

NO_INTEGER = 65_535
"""What is stored of pixels that hold no data."""

POWER = 1 << 22
"""A power of 1.0 as an integer; those of 254 classes add up within int32."""

Labels = NDArray[np.uint8]
Stored = NDArray[np.uint16]
"""Integers, 0 to `SCALE`, or `NO_INTEGER`."""


@cache
def powers_of(temperature: float | None) -> NDArray[np.int32]:
    """Powers by which integers are tempered: ``round(2^22 (n / 32,767)^(1 / temperature))`` of each n, 0 to 32,767.

    Softmax of scores ``s / T`` is ``p_i^(1/T) / sum p_j^(1/T)`` of the probabilities p without it (Guo et al. 2017,
    section 4.2), so whatever has integers needs no scores, and the same integers give the same bits everywhere.

    Returns
    -------
    NDArray
        int32, shape (32,768,); of shape (0,) for no temperature and for 1, which leave integers as they are.
    """
    if temperature is None or temperature == 1:
        return np.empty(0, np.int32)
    shares = np.arange(SCALE + 1, dtype=np.float64) / SCALE
    return np.rint(POWER * shares ** (1 / temperature)).astype(np.int32)


def tempered(integers: Stored, temperature: float | None) -> Stored:
    """Temper the integers of classes that exclude each other.

    Parameters
    ----------
    integers : NDArray
        uint16, shape (class, ...), 0 to 32,767, the first axis adding up to about 32,767.
    temperature : float, optional
        Of the model; integers stay as they are unless given.

    Returns
    -------
    NDArray
        uint16, the same shape: ``round(32,767 w_i / sum w_j)`` with the `powers_of` integers for w; where all of them
        are 0 integers stay.
    """
    powers = powers_of(temperature)
    if not len(powers):
        return integers
    shares = powers[integers].astype(np.int64)
    total = shares.sum(axis=0)
    found: Stored = np.where(total > 0, (SCALE * shares + total // 2) // np.maximum(total, 1), integers)
    return found.astype(np.uint16)


def as_floats(stored: Stored) -> NDArray[np.float32]:
    """Probabilities of stored integers, float32 of the same shape, NaN where there is no data."""
    probabilities = stored.astype(np.float32) * np.float32(1 / SCALE)
    probabilities[stored == NO_INTEGER] = np.nan
    return probabilities


@dataclass(frozen=True)
class Background:
    """What a pixel is when no probability is above a threshold.

    Attributes
    ----------
    value : int
        Its label.
    threshold : float
        0 to 1.
    """

    value: int
    threshold: float

    @property
    def level(self) -> int:
        """The threshold as an integer, rounded up: a probability that equals it is never above it."""
        return ceil(self.threshold * SCALE)


@dataclass(frozen=True)
class Unknown:
    """What a pixel is whose class is not sure enough, of a model whose classes exclude each other.

    Attributes
    ----------
    value : int
        Its label.
    min_confidence : float
        0 to 1; a pixel of a lower confidence is unknown.
    """

    value: int
    min_confidence: float

    @property
    def level(self) -> int:
        """The least confidence that is sure, of 255, in which confidences are stored."""
        return ceil(self.min_confidence * LEVELS)


@dataclass(frozen=True)
class Labelling:
    """How labels are read of what is stored: what a run may change without its network.

    Attributes
    ----------
    background : Background or None
        What a pixel is below a threshold; None where the best class always counts.
    unknown : Unknown or None
        What a pixel is of a low confidence; None where each keeps its class.
    groups : tuple of (int, int)
        Labels of the model that are others in the results, and what they are there.
    """

    background: Background | None = None
    unknown: Unknown | None = None
    groups: tuple[tuple[int, int], ...] = ()

    @classmethod
    def of(cls, content: Mapping[str, Any] | None) -> Self:
        """Make it of what `dataclasses.asdict` says, as JSON values; nothing is as it is stored."""
        content = content or {}
        background, unknown = content.get("background"), content.get("unknown")
        groups = ((int(model), int(result)) for model, result in content.get("groups") or ())
        return cls(
            Background(**background) if background else None, Unknown(**unknown) if unknown else None, tuple(groups)
        )

    def results(self, labels: Labels, confidence: Labels | None = None) -> Labels:
        """Labels as the results have them, of the model's labels and their confidence, 0 = no data."""
        if self.unknown is not None and confidence is not None:
            is_unknown = (confidence > 0) & (confidence < self.unknown.level)
            labels = np.where(is_unknown, np.uint8(self.unknown.value), labels)
        return self._table[labels] if self.groups else labels

    @cached_property
    def _table(self) -> Labels:
        """The label in the results of each label of the model."""
        table = np.arange(256, dtype=np.uint8)
        for model, result in self.groups:
            table[model] = result
        return table


@dataclass(frozen=True)
class Pixels:
    """What is known of the pixels of a block, before any threshold.

    Attributes
    ----------
    labels : uint8 array
        Shape (y, x): the class of the largest integer, the first of equal ones; 255 = no data.
    best : uint16 array
        Shape (y, x): that integer; 65,535 = no data.
    probabilities : uint16 array
        Shape (class, y, x): the integers of all classes, 65,535 = no data; no class where they are not kept.
    """

    labels: Labels
    best: Stored
    probabilities: Stored

    @classmethod
    def empty(cls, shape: tuple[int, int], classes: int = 0) -> Self:
        """Pixels without data; the probabilities of so many classes are kept."""
        return cls(
            np.full(shape, NODATA, np.uint8),
            np.full(shape, NO_INTEGER, np.uint16),
            np.full((classes, *shape), NO_INTEGER, np.uint16),
        )

    def copy(self) -> Self:
        """The same in arrays of their own."""
        return type(self)(self.labels.copy(), self.best.copy(), self.probabilities.copy())


def apply_threshold(labels: Labels, best: Stored, background: Background | None = None) -> tuple[Labels, Labels]:
    """Give the labels and the confidence of pixels whose best class is known.

    Parameters
    ----------
    labels, best : uint8 and uint16 arrays
        Shape (y, x), as of `Pixels`.
    background : Background, optional
        The label of pixels whose integer is not above the threshold; the best class always counts unless given.

    Returns
    -------
    labels, confidence : uint8 arrays
        Shape (y, x). Confidence is the probability of the label times 255, at least 1, that of background what the best
        class leaves of 1; 0 where there is no data.
    """
    chosen, confidence = np.empty(labels.shape, np.uint8), np.empty(labels.shape, np.uint8)
    least, below = (-1, np.uint8(0)) if background is None else (background.level, np.uint8(background.value))
    flat, integers = np.ascontiguousarray(labels).reshape(-1), np.ascontiguousarray(best).reshape(-1)
    _apply(flat, integers, least, below, chosen.reshape(-1), confidence.reshape(-1))
    return chosen, confidence


@njit(cache=True, nogil=True, error_model="numpy")
def _apply(labels: Labels, best: Stored, least: int, below: np.uint8, chosen: Labels, confidence: Labels) -> None:
    """Label pixels one by one; what has no data is above any threshold."""
    for x in range(len(labels)):
        integer = int(best[x])
        is_above = integer > least
        integer = integer if is_above else SCALE - integer
        level = (integer * 2 * LEVELS + SCALE) // (2 * SCALE)
        chosen[x] = labels[x] if is_above else below
        confidence[x] = np.uint8(max(level, 1)) if best[x] <= SCALE else np.uint8(0)
