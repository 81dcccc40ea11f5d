"""Two models together: one scores stuff, the other finds things, and the map is panoptic.

Each sees its own bands with its own scaling. A model of stuff that was made for coarser pixels sees averages of them,
and its scores are interpolated. It knows two opened models, and the spec that describes both.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from geoseg.models.background import scored_classes
from geoseg.models.combining import coarseness, find_band
from geoseg.models.detections import Detections
from geoseg.models.spec import ModelSpec


class Together:
    """See `geoseg.models.PanopticModel`.

    Parameters
    ----------
    spec : ModelSpec
        From `geoseg.models.combining.combine`.
    scoring, finding : Model, ObjectModel
        Its parts, opened.
    """

    def __init__(self, spec: ModelSpec, scoring: Any, finding: Any) -> None:
        self.spec, self.device, self._scoring, self._finding = spec, scoring.device, scoring, finding
        names = spec.class_names
        found = ([find_band(band, spec.bands) for band in part.bands] for part in spec.parts)
        self._bands = [np.array(places, np.int64) for places in found]
        self._things = np.array([names.index(name) for name in spec.parts[1].class_names], np.int64)
        self._factor = coarseness(*spec.parts)

    def predict(self, pixels: NDArray[Any], mask: NDArray[np.bool_]) -> tuple[torch.Tensor, list[Detections]]:
        """See `geoseg.models.PanopticModel.predict`."""
        scores = self._score(pixels[:, self._bands[0]], mask)
        scores = scores[:, self._stuff(scores.shape[1])]
        found = self._finding.predict(pixels[:, self._bands[1]], mask)
        return scores, [replace(item, classes=self._things[item.classes]) for item in found]

    def _stuff(self, count: int) -> list[int]:
        """Positions of what stays stuff among the scores of the first part."""
        stuff = {item.name for item in self.spec.stuff}
        scored = scored_classes(self.spec.parts[0], count) or ()
        return [position for position, item in enumerate(scored) if item.name in stuff]

    def _score(self, pixels: NDArray[Any], mask: NDArray[np.bool_]) -> torch.Tensor:
        """Scores of stuff, at the resolution of things."""
        if self._factor == 1:
            found: torch.Tensor = self._scoring.score(pixels, mask)
            return found
        coarse = self._scoring.score(*averaged(pixels, mask, self._factor))
        return functional.interpolate(coarse, scale_factor=self._factor, mode="bilinear", align_corners=False)


def averaged(pixels: NDArray[Any], mask: NDArray[np.bool_], factor: int) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Means of squares of valid pixels.

    Parameters
    ----------
    pixels : NDArray
        Shape (n, band, y, x); integers are rounded to integers.
    mask : NDArray
        bool, shape (n, y, x), True = valid.
    factor : int
        Px of a square's side; divides height and width.

    Returns
    -------
    tuple of NDArray
        Pixels of the same type, and the mask: True where at least half of the square is valid.
    """
    count, bands, height, width = pixels.shape
    squares = (height // factor, factor, width // factor, factor)
    valid = mask.reshape(count, *squares).sum((2, 4))
    values = np.where(mask[:, None], pixels, 0).reshape(count, bands, *squares).sum((3, 5), dtype=np.float64)
    means = values / np.maximum(valid, 1)[:, None]
    means = np.rint(means) if pixels.dtype.kind in "iu" else means
    return means.astype(pixels.dtype), 2 * valid >= factor**2
