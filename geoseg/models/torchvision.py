"""Adapter for torchvision's semantic networks: FCN, DeepLabV3 and LR-ASPP, built by the library's own functions.

It knows their names and their dict of outputs; weights come from a file or from the library by name.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn
from torchvision.models import segmentation

from geoseg.models import fitting
from geoseg.models.running import Network, settle
from geoseg.models.spec import ModelSpec
from geoseg.models.state_dicts import network_state
from geoseg.models.torchvision_hub import read_torchvision_state, take_bands

ARCHITECTURES: dict[str, Callable[..., nn.Module]] = {
    "fcn_resnet50": segmentation.fcn_resnet50,
    "fcn_resnet101": segmentation.fcn_resnet101,
    "deeplabv3_resnet50": segmentation.deeplabv3_resnet50,
    "deeplabv3_resnet101": segmentation.deeplabv3_resnet101,
    "deeplabv3_mobilenet_v3_large": segmentation.deeplabv3_mobilenet_v3_large,
    "lraspp_mobilenet_v3_large": segmentation.lraspp_mobilenet_v3_large,
}
"""What may be built, by the name after ``torchvision.``"""


class ScoreNetwork(nn.Module):
    """One of torchvision's semantic networks, without the dict around its scores.

    Parameters
    ----------
    network : torch.nn.Module
        Returns a dict of tensors whose ``"out"``, float32 (n, class, y, x), are the scores.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Turn scaled pixels, float32 (n, band, y, x), into scores, float32 (n, class, y, x)."""
        scores: torch.Tensor = self.network(pixels)["out"]
        return scores


def build(spec: ModelSpec, *, auxiliary: bool = False) -> nn.Module:
    """Build torchvision's network of a spec with random weights, to load weights into.

    Parameters
    ----------
    spec : ModelSpec
        Its hyperparameter ``aux_loss`` says whether the network has the head that only training looks at.
    auxiliary : bool
        Whether it has when the spec does not say.

    Raises
    ------
    ModelError
        The architecture or a hyperparameter does not exist, or they do not fit together.
    """
    builder = fitting.find_architecture(spec, ARCHITECTURES)
    fitting.check_hyperparameters(spec, builder, ("aux",), ("aux_loss",))
    network = fitting.build(
        spec,
        builder,
        weights=None,
        weights_backbone=None,
        num_classes=spec.score_count,
        aux_loss=dict(spec.hyperparameters).get("aux_loss", auxiliary),
    )
    take_bands(network, len(spec.bands))
    return network


def open_network(spec: ModelSpec, device: torch.device) -> Network:
    """Build the network, load its weights strictly, and put it on its device.

    The auxiliary head takes part in loading, so that nothing of the weights is overlooked, and not in predicting.

    Raises
    ------
    ModelError
        When the network cannot be built.
    WeightsError
        When the weights are missing, damaged, unsafe, or do not fit the network.
    """
    fitting.find_architecture(spec, ARCHITECTURES)
    state = read_torchvision_state(spec, spec.architecture.partition(".")[2])
    network, path = build(spec, auxiliary=any("aux_classifier." in name for name in state)), Path(str(spec.weights))
    fitting.fit(network, network_state(state, network.state_dict().keys(), path), spec, path)
    if "aux_classifier" in dict(network.named_children()):
        network.register_module("aux_classifier", None)
    return settle(ScoreNetwork(network), device)
