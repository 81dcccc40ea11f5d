"""Adapter for torchgeo's own network, ``"torchgeo.FCN"``: five convolutions that see 5 px far; its others are smp's.

Names of tensors are those of the library, which is not needed.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from geoseg.models import fitting
from geoseg.models.running import Network, settle
from geoseg.models.smp_networks import LibraryNetwork, build_shapes
from geoseg.models.spec import ModelSpec
from geoseg.models.state_dicts import COMPILED, TRAINING, Shapes

LAYERS = 5
FIRST, LAST = "backbone.0.weight", "last.weight"
"""Convolutions that see the pixels, and that give the scores."""


class FCN(nn.Module):
    """The simple fully convolutional network of torchgeo's SemanticSegmentationTask.

    Parameters
    ----------
    bands, classes, num_filters : int
        Channels of the pixels, of the scores, and between them.
    """

    def __init__(self, bands: int, classes: int, num_filters: int = 64) -> None:
        super().__init__()
        widths = [bands, *[num_filters] * (LAYERS - 1)]
        pairs = [(nn.Conv2d(width, num_filters, 3, padding=1), nn.LeakyReLU()) for width in widths]
        self.backbone = nn.Sequential(*(layer for pair in pairs for layer in pair))
        self.last = nn.Conv2d(num_filters, classes, 1)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Scores of each class, shape (n, class, y, x)."""
        scores: torch.Tensor = self.last(self.backbone(pixels))
        return scores


def open_network(spec: ModelSpec, device: torch.device) -> Network:
    """Build the network, load its weights strictly, and put it on its device.

    Raises
    ------
    ModelError
        When the network cannot be built.
    WeightsError
        When the weights are missing, damaged, unsafe, or do not fit the network.
    """
    architecture = fitting.find_architecture(spec, {"FCN": FCN})
    network = fitting.build(spec, architecture, bands=len(spec.bands), classes=spec.score_count)
    fitting.load_weights(network, spec)
    return settle(network, device)


def find_fcn(shapes: Mapping[str, tuple[int, ...]]) -> list[LibraryNetwork]:
    """List the network that has tensors of these names and shapes, which something such as ``model.`` may precede."""
    named = {name.replace(COMPILED, ""): shape for name, shape in shapes.items()}
    prefix = next((name.removesuffix(FIRST) for name in named if name.endswith(FIRST)), "")
    own: Shapes = {name.removeprefix(prefix): shape for name, shape in named.items() if name.startswith(prefix)}
    own = {name: shape for name, shape in own.items() if TRAINING.match(name) is None}
    if FIRST not in own or LAST not in own:
        return []
    (filters, bands, *_), (scores, *_) = own[FIRST], own[LAST]
    if build_shapes(FCN, bands=bands, classes=scores, num_filters=filters) != own:
        return []
    return [LibraryNetwork("FCN", bands, scores, {"num_filters": filters}, (), library="torchgeo")]
