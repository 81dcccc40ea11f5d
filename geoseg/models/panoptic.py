"""A model that labels every pixel and tells objects apart.

Stuff is scored like the classes of a semantic model, so that it blends over tiles; things are detections.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from geoseg.errors import ModelError
from geoseg.models.background import scored_classes
from geoseg.models.detections import Detections
from geoseg.models.instance import check_detections
from geoseg.models.running import Runner
from geoseg.models.semantic import ScoreCheck
from geoseg.models.spec import ModelSpec


class PanopticRunner:
    """See `geoseg.models.PanopticRunner`.

    Parameters
    ----------
    runner : Runner
        Its network maps scaled pixels to scores, float32 (n, class, y, x), and the `Detections` of each tile.
    """

    def __init__(self, runner: Runner) -> None:
        self.spec, self.device, self._runner = runner.spec, runner.device, runner
        self._check = ScoreCheck(runner.spec)

    def predict(self, pixels: NDArray[Any], mask: NDArray[np.bool_]) -> tuple[torch.Tensor, list[Detections]]:
        """See `geoseg.models.PanopticRunner.predict`."""
        with torch.inference_mode():
            scaled = self._runner.scale(pixels, mask)
            answer = self._runner.run(scaled)
            if not isinstance(answer, tuple | list) or len(answer) != 2:
                raise ModelError(
                    f"model '{self.spec.name}' returned a {type(answer).__name__} where scores and detections are "
                    "expected; return both, as (scores, [Detections])."
                )
            scores, found = answer
            self._check(scores, scaled)
            return scores[:, stuff_positions(self.spec, scores.shape[1])].float(), check_detections(
                self.spec, found, scaled
            )


def stuff_positions(spec: ModelSpec, count: int) -> list[int]:
    """Positions of stuff among so many scores."""
    stuff = spec.stuff
    return [position for position, item in enumerate(scored_classes(spec, count) or ()) if item in stuff]
