"""How far confidence can be believed: the share of right pixels by the confidence that they have.

It knows confidence and whether pixels are right, nothing of networks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geoseg.evaluation.classes import IGNORE, ratio
from geoseg.evaluation.grid import EvaluationGrid, bring_onto
from geoseg.evaluation.inputs import EvaluationInput
from geoseg.grid import Window
from geoseg.probabilities import LEVELS, SCALE
from geoseg.raster import Raster

BINS = 15
"""Of equal width, from 0 to 1, as in Guo et al. 2017."""


def confidence_of(prediction: EvaluationInput, grid: EvaluationGrid, truth: str) -> Confidence | None:
    """The confidence of a prediction on the grid of an evaluation; None where it has none."""
    if prediction.confidence is None:
        return None
    return Confidence(bring_onto(prediction.confidence, grid.geobox, (prediction.name, truth)))


@dataclass(frozen=True, eq=False)
class Confidence:
    """How probable labels are, as `confidence.tif` or `probabilities.tif` of a run has it, on the grid."""

    raster: Raster

    def count(self, window: Window, true: NDArray[np.uint8], found: NDArray[np.uint8]) -> Reliability:
        """Count the pixels of a window that have a class on both sides, uint8 (y, x)."""
        stored, mask = self.raster.read(window)
        known = mask & (true != IGNORE) & (found != IGNORE)
        whole = LEVELS if stored.dtype == np.uint8 else SCALE
        return Reliability.of(stored[:, known].max(0) / np.float64(whole), true[known] == found[known])


@dataclass(frozen=True, eq=False)
class Reliability:
    """Pixels by their confidence; those of several windows add up.

    Attributes
    ----------
    pixels : NDArray
        int64, shape (bin,).
    right : NDArray
        int64, shape (bin,): pixels whose class is right.
    confidence : NDArray
        float64, shape (bin,): sum of the confidences, 0 to 1 each.
    """

    pixels: NDArray[np.int64]
    right: NDArray[np.int64]
    confidence: NDArray[np.float64]

    @classmethod
    def empty(cls) -> Reliability:
        """Of no pixel."""
        return cls(np.zeros(BINS, np.int64), np.zeros(BINS, np.int64), np.zeros(BINS))

    @classmethod
    def of(cls, confidence: NDArray[np.floating], right: NDArray[np.bool_]) -> Reliability:
        """Count pixels.

        Parameters
        ----------
        confidence : NDArray
            Floats, 0 to 1; a bin holds its upper end.
        right : NDArray
            bool, the same shape.
        """
        flat, hits = confidence.ravel().astype(np.float64), right.ravel()
        places = (np.ceil(flat * BINS - 1e-9).astype(np.int64) - 1).clip(0, BINS - 1)
        pixels, sure = np.bincount(places, minlength=BINS), np.bincount(places, flat, BINS)
        return cls(pixels, np.bincount(places[hits], minlength=BINS), sure.astype(np.float64))

    def __add__(self, other: Reliability) -> Reliability:
        """Both, as those of one."""
        return Reliability(self.pixels + other.pixels, self.right + other.right, self.confidence + other.confidence)

    @property
    def error(self) -> float:
        """Expected calibration error: mean distance of accuracy and confidence over bins, by pixels; NaN of no pixel.

        Source: Naeini, Cooper and Hauskrecht 2015; Guo et al. 2017, equation 3.
        """
        total = int(self.pixels.sum())
        return float(np.abs(self.right - self.confidence).sum() / total) if total else float("nan")

    @property
    def rows(self) -> list[tuple[float, float, int]]:
        """Mean confidence, accuracy and pixels of each bin that has some: the reliability diagram."""
        confidence, accuracy = ratio(self.confidence, self.pixels), ratio(self.right, self.pixels)
        used = np.flatnonzero(self.pixels)
        return [(float(confidence[place]), float(accuracy[place]), int(self.pixels[place])) for place in used]
