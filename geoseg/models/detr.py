"""Adapter for RF-DETR's segmentation networks in transformers, which answer queries with classes and masks.

Each query scores every class for itself (sigmoid) and has one mask. Of all pairs of query and class the most probable
ones count, as many as there are queries; each is an object where its mask's logit is above 0, bilinearly resampled to
the tile. The library's image processor does the same.

The network cuts a tile into windows of whole patches. What remains of a patch at the right and the bottom it leaves out
without a word, and stretches its masks over it; and of images that are not square it mixes up the windows. So tiles are
padded to a square of whole windows, as the library's image processor pads images of several sizes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import transformers
from torch import nn

from geoseg.errors import ModelError
from geoseg.models.detections import Detections
from geoseg.models.prompts import Prompts, refuse_prompts
from geoseg.models.running import Network, settle
from geoseg.models.spec import ModelSpec
from geoseg.models.transformers import open_pretrained
from geoseg.models.universal import outline

TASKS = ("instance-segmentation",)
"""What these networks can do."""

ARCHITECTURES = {"RfDetrForInstanceSegmentation": "rf_detr"}
"""What may be opened, by the name after ``transformers.``, and the type that the library's configurations give it."""


class Detector(nn.Module):
    """A network of the library with detections as geoseg knows them.

    Parameters
    ----------
    network : torch.nn.Module
        Its output has ``logits``, float (n, query, class), and ``pred_masks``, float logits (n, query, y, x).
    spec : ModelSpec
        Objects that score lower than its ``min_score`` are left out.
    """

    def __init__(self, network: Any, spec: ModelSpec) -> None:
        super().__init__()
        self.network, self._spec = network, spec
        self._multiple = network.config.backbone_config.patch_size * network.config.backbone_config.num_windows

    def forward(self, pixels: torch.Tensor, prompts: Sequence[Prompts] = ()) -> list[Detections]:
        """Find the objects of scaled pixels, float32 (n, band, y, x).

        Raises
        ------
        ModelError
            Prompts ask for something.
        """
        refuse_prompts(self._spec.name, prompts)
        height, width = pixels.shape[2:]
        side = -(-max(height, width) // self._multiple) * self._multiple
        rest = (0, side - width, 0, side - height)
        valid = nn.functional.pad(pixels.new_ones(len(pixels), height, width, dtype=torch.long), rest)
        output = self.network(pixel_values=nn.functional.pad(pixels, rest), pixel_mask=valid)
        with torch.autocast(pixels.device.type, enabled=False):
            tiles = zip(output.logits.float(), output.pred_masks.float(), strict=True)
            return [self._find(*tile, side, (height, width)) for tile in tiles]

    def _find(self, logits: torch.Tensor, masks: torch.Tensor, side: int, size: tuple[int, int]) -> Detections:
        """The objects of one tile of a size (y, x), px, that was padded to a square."""
        queries, classes = logits.shape
        scores, places = logits.sigmoid().flatten().topk(queries)
        keep = ~(scores < self._spec.min_score)  # what is no number has to be noticed
        shapes, _ = outline(masks[places[keep] // classes], (side, side))
        positions = (places[keep] % classes).cpu().numpy()
        return Detections.of((shape[: size[0], : size[1]] for shape in shapes), positions, scores[keep].cpu().numpy())


def open_network(spec: ModelSpec, device: torch.device) -> Network:
    """Open the network of a spec and put it on its device.

    Raises
    ------
    ModelError
        When the network cannot be built, or the installed transformers does not have it.
    WeightsError
        When the weights are missing, out of reach, damaged, unsafe, or do not fit the spec.
    """
    name = spec.architecture.partition(".")[2]
    if name in ARCHITECTURES and not hasattr(transformers, name):
        raise ModelError(
            f"model '{spec.name}' needs {name}, which transformers {transformers.__version__} does not have; install a "
            "newer one: pip install --upgrade transformers."
        )
    return settle(Detector(open_pretrained(spec, ARCHITECTURES), spec), device)
