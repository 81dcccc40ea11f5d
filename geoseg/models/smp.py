"""Adapter for segmentation-models-pytorch: ``"smp.Unet"`` and its siblings, with weights from a file.

Weights come from the catalog's file only: the library is never asked to download any.
"""

from __future__ import annotations

import segmentation_models_pytorch as smp
import torch

from geoseg.models import fitting
from geoseg.models.running import Network, settle
from geoseg.models.spec import ModelSpec

ARCHITECTURES: dict[str, type[torch.nn.Module]] = {
    item.__name__: item
    for item in (
        smp.Unet,
        smp.UnetPlusPlus,
        smp.MAnet,
        smp.Linknet,
        smp.FPN,
        smp.PSPNet,
        smp.PAN,
        smp.DeepLabV3,
        smp.DeepLabV3Plus,
        smp.UPerNet,
        smp.Segformer,
        smp.DPT,
    )
}
"""What may be built, by the name after ``smp.``"""

OURS = ("encoder_weights", "in_channels", "classes", "activation", "aux_params")
"""Arguments that the spec's bands, classes, weights and activation decide."""


def build(spec: ModelSpec) -> torch.nn.Module:
    """Build the network of a spec with random weights, for training or to load weights into.

    Raises
    ------
    ModelError
        When the architecture or a hyperparameter does not exist, or they do not fit together.
    """
    architecture = fitting.find_architecture(spec, ARCHITECTURES)
    fitting.check_hyperparameters(spec, architecture, ("encoder_", "decoder_"), OURS)
    decided = {"encoder_weights": None, "in_channels": len(spec.bands), "classes": len(spec.classes)}
    return fitting.build(spec, architecture, **decided, activation=None, aux_params=None)


def open_network(spec: ModelSpec, device: torch.device) -> Network:
    """Build the network, load its weights strictly, and put it on its device.

    Raises
    ------
    ModelError
        When the network cannot be built.
    WeightsError
        When the weights are missing, damaged, unsafe, or do not fit the network.
    """
    network = build(spec)
    fitting.load_weights(network, spec)
    return settle(network, device)
