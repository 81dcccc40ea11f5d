"""SAM 3's own way with words: every object that a phrase means, without any other model (Carion et al. 2025).

It knows the library's class for this, which takes no points; those are `Sam3TrackerModel`'s, in `asking`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from geoseg.errors import ModelError
from geoseg.models.detections import Detections
from geoseg.models.prompts import Prompts
from geoseg.models.sam.asking import detections
from geoseg.models.spec import ModelSpec


class Concepts:
    """Finds every object of each tile that words mean.

    Parameters
    ----------
    spec : ModelSpec
        Its ``min_score`` says how sure the network must be.
    network : Any
        The library's, on its device.
    processor : Any
        The library's, which takes tiles as they are scaled, and words.
    """

    def __init__(self, spec: ModelSpec, network: Any, processor: Any) -> None:
        self._spec, self._network, self._processor = spec, network, processor

    def __call__(self, pixels: torch.Tensor, prompts: Sequence[Prompts]) -> list[Detections]:
        """Find objects in scaled pixels, float32 (n, 3, y, x).

        Raises
        ------
        ModelError
            Something else than words is asked.
        """
        return [self._find(tile, asked) for tile, asked in zip(pixels, prompts, strict=True)]

    def _find(self, pixels: torch.Tensor, asked: Prompts) -> Detections:
        if asked.text is None or asked.objects:
            raise ModelError(
                f"model '{self._spec.name}' segments only what a text describes; give a text, or use "
                "transformers.Sam3TrackerModel for points, boxes, masks or everything."
            )
        options = {"return_tensors": "pt", "input_data_format": "channels_first"}
        inputs = self._processor(images=pixels, text=asked.text, **options).to(pixels.device)
        size = tuple(inputs.pop("original_sizes")[0].tolist())
        found = self._processor.post_process_instance_segmentation(
            self._network(**inputs), threshold=self._spec.min_score, target_sizes=[size]
        )[0]
        return detections(found["masks"].bool().cpu().numpy(), found["scores"])
