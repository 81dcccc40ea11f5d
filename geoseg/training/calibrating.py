"""Temperature scaling: one number that makes a network's confidence mean what it says, and the diagram that shows it.

The labels stay: the largest score is the largest at any temperature. It is fitted on the integers that a run makes of
probabilities, and on pixels that the network has not learnt from.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp
from torch import Tensor

from geoseg.evaluation.reliability import Reliability
from geoseg.grid import Window
from geoseg.probabilities import SCALE, Stored, tempered

PIXELS = 250_000
"""Of an image, at most, that a temperature is fitted on; regularly spaced."""

LOWEST, HIGHEST = 0.2, 8.0
"""Between which temperatures lie."""

LEAST = 0.5
"""Stands for an integer of 0, whose logarithm there is none of."""


@dataclass(frozen=True, eq=False)
class HeldOutPixels:
    """Predictions of pixels that were held out.

    Attributes
    ----------
    integers : NDArray
        uint16, shape (class, pixel): probabilities, of scale 32,767.
    truth : NDArray
        uint8, shape (pixel,): class indices.
    """

    integers: Stored
    truth: NDArray[np.uint8]

    def reliability(self, temperature: float | None = None) -> Reliability:
        """How far the confidence of the best class can be believed at a temperature."""
        best = self.integers.argmax(0)
        confidence = tempered(self.integers, temperature).max(0) / np.float64(SCALE)
        return Reliability.of(confidence, best == self.truth)


class HeldOutSample:
    """Keeps the predictions of regularly spaced pixels of one image.

    Parameters
    ----------
    labels : NDArray
        uint8, shape (y, x), class indices.
    judged : NDArray
        bool, shape (y, x): held-out pixels with a label.
    """

    def __init__(self, labels: NDArray[np.uint8], judged: NDArray[np.bool_]) -> None:
        every = math.ceil(math.sqrt(np.count_nonzero(judged) / PIXELS))
        self._labels, self._kept = labels, np.zeros_like(judged)
        self._kept[::every, ::every] = judged[::every, ::every]
        self._parts: list[HeldOutPixels] = []

    def look(self, window: Window, probabilities: Tensor) -> None:
        """Keep what is wanted of a window's probabilities, float32 (class, y, x)."""
        kept = self._kept[window.slices()]
        integers = np.rint(probabilities.numpy()[:, kept] * np.float32(SCALE)).astype(np.uint16)
        self._parts.append(HeldOutPixels(integers, self._labels[window.slices()][kept]))

    def pixels(self) -> HeldOutPixels:
        """What was kept."""
        return joined(self._parts)


@dataclass(frozen=True, eq=False)
class Calibration:
    """A temperature, and what it does to confidence.

    Attributes
    ----------
    temperature : float
        Above 1 confidence falls, below 1 it rises.
    before, after : Reliability
        On held-out pixels; of a cross-validation each fold's temperature is that of the others.
    """

    temperature: float
    before: Reliability
    after: Reliability


def fit_temperature(pixels: HeldOutPixels) -> float:
    """Fit the temperature with the smallest negative log likelihood (Guo et al. 2017, section 4.2)."""
    logs = np.log(np.maximum(pixels.integers, LEAST) / SCALE)
    true = logs[pixels.truth, np.arange(len(pixels.truth))]

    def loss(exponent: float) -> float:
        shared = logs / np.exp(exponent)
        return float(np.mean(logsumexp(shared, axis=0) - true / np.exp(exponent)))

    found = minimize_scalar(loss, bounds=(np.log(LOWEST), np.log(HIGHEST)), method="bounded")
    return float(np.exp(found.x))


def calibrate(parts: Sequence[HeldOutPixels | None]) -> Calibration | None:
    """Fit a temperature on all parts, and evaluate that of the others on each; None without pixels.

    Parameters
    ----------
    parts : sequence of HeldOutPixels
        One a fold; one alone is evaluated by what was fitted on it.
    """
    known = [part for part in parts if part is not None and len(part.truth)]
    if not known:
        return None
    before, after = Reliability.empty(), Reliability.empty()
    for place, part in enumerate(known):
        others = [*known[:place], *known[place + 1 :]] or [part]
        before += part.reliability()
        after += part.reliability(fit_temperature(joined(others)))
    return Calibration(round(fit_temperature(joined(known)), 3), before, after)


def joined(parts: Sequence[HeldOutPixels]) -> HeldOutPixels:
    """All pixels of parts."""
    integers = np.concatenate([part.integers for part in parts], axis=1)
    return HeldOutPixels(integers, np.concatenate([part.truth for part in parts]))
