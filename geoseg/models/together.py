"""Two models together: one scores stuff, the other finds things, and the map is panoptic.

Each sees its own bands with its own scaling. It knows two opened models, and the spec that describes both.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from geoseg.models.combining import find_band
from geoseg.models.detections import Detections
from geoseg.models.panoptic import stuff_positions
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
        self.spec, self._scoring, self._finding = spec, scoring, finding
        names = spec.class_names
        found = ([find_band(band, spec.bands) for band in part.bands] for part in spec.parts)
        self._bands = [np.array(places, np.int64) for places in found]
        self._stuff = stuff_positions(spec)
        self._things = np.array([names.index(name) for name in spec.parts[1].class_names], np.int64)

    def predict(self, pixels: NDArray[Any], mask: NDArray[np.bool_]) -> tuple[torch.Tensor, list[Detections]]:
        """See `geoseg.models.PanopticModel.predict`."""
        scores = self._scoring.score(pixels[:, self._bands[0]], mask)[:, self._stuff]
        found = self._finding.predict(pixels[:, self._bands[1]], mask)
        return scores, [replace(item, classes=self._things[item.classes]) for item in found]
