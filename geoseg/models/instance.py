"""A model that finds objects, and one look at what it found.

It knows detections and a spec, not where they come from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from geoseg.errors import ModelError
from geoseg.models.detections import Detections
from geoseg.models.prompts import Prompts, refuse_prompts
from geoseg.models.running import Runner
from geoseg.models.spec import ModelSpec


class InstanceModel:
    """See `geoseg.models.ObjectModel`.

    Parameters
    ----------
    runner : Runner
        Its network maps scaled pixels and the prompts of each tile to the `Detections` of each tile. One that takes
        pixels alone finds everything.
    """

    def __init__(self, runner: Runner) -> None:
        self.spec, self.device, self._runner = runner.spec, runner.device, runner

    def predict(
        self, pixels: NDArray[Any], mask: NDArray[np.bool_], prompts: Sequence[Prompts] | None = None
    ) -> list[Detections]:
        """See `geoseg.models.ObjectModel.predict`."""
        with torch.inference_mode():
            scaled = self._runner.scale(pixels, mask)
            if self._runner.takes_prompts:
                found = self._runner.run(scaled, prompts or [Prompts()] * len(scaled))
            else:
                refuse_prompts(self.spec.name, prompts or ())
                found = self._runner.run(scaled)
        return check_detections(self.spec, found, scaled)


def check_detections(spec: ModelSpec, found: Any, scaled: torch.Tensor) -> list[Detections]:
    """Keep what scores high enough, and say in one sentence why a network's output is not what its spec promises."""
    if not isinstance(found, list) or not all(isinstance(item, Detections) for item in found):
        raise ModelError(
            f"model '{spec.name}' returned a {type(found).__name__} where a list of Detections is expected; make them "
            "with geoseg.models.Detections.of(masks, classes, scores)."
        )
    height, width = scaled.shape[2:]
    for item in found:
        if len(item) and not (0 <= item.classes.min() and item.classes.max() < len(spec.classes)):
            raise ModelError(
                f"model '{spec.name}' found objects of class {int(item.classes.max())} and its entry has "
                f"{len(spec.classes)} classes; describe all of them in its entry."
            )
        if not np.isfinite(item.scores).all():
            raise ModelError(f"model '{spec.name}' gave objects a score that is not a number; check its weights.")
        certain = np.unique(item.classes[item.scores >= spec.min_score])
        if stuff := {spec.classes[number] for number in certain}.difference(spec.things):
            raise ModelError(
                f"model '{spec.name}' found objects of class '{min(kind.name for kind in stuff)}', which is stuff; "
                "give positions among all classes of its entry, or set isthing of that class."
            )
        is_larger = any(window.bottom > height or window.right > width for window in item.windows)
        if is_larger or item.shape not in (None, (height, width)):
            had = "larger than" if item.shape is None else f"of {item.shape[0]} x {item.shape[1]} px for"
            raise ModelError(
                f"model '{spec.name}' returned masks {had} its input of {height} x {width} px; resample them to the "
                "size of the input."
            )
    if len(found) != len(scaled):
        raise ModelError(f"model '{spec.name}' returned detections of {len(found)} tiles for {len(scaled)} tiles.")
    return [_chosen(item, item.scores >= spec.min_score) for item in found]


def _chosen(found: Detections, keep: NDArray[np.bool_]) -> Detections:
    """The objects that are kept, in their order."""
    numbers = np.flatnonzero(keep)
    return replace(
        found,
        windows=tuple(found.windows[number] for number in numbers),
        masks=tuple(found.masks[number] for number in numbers),
        classes=found.classes[numbers],
        scores=found.scores[numbers],
        prompts=found.prompts[numbers],
    )
