"""Adapter for the first two DeepLabs, which no library keeps: ``"geoseg.DeepLabV1"`` and ``"geoseg.DeepLabV2"``.

The trunks are torchvision's, with names of tensors as it has them, so that its ImageNet weights can start a training.
Both papers follow the network with a dense CRF, which is not here: that is the spec's ``refine``.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import TypeVar

import torch
from torch import nn
from torch.nn import functional
from torchvision.models import resnet, vgg

from geoseg.errors import nearest
from geoseg.models import fitting
from geoseg.models.running import Network, settle
from geoseg.models.spec import ModelSpec
from geoseg.models.torchvision_hub import take_bands

Item = TypeVar("Item")

VGGS = {"vgg11": "A", "vgg13": "B", "vgg16": "D", "vgg19": "E"}
"""Configurations of torchvision, which are the columns of table 1 of Simonyan and Zisserman 2015."""

RESNETS = {"resnet50": resnet.resnet50, "resnet101": resnet.resnet101}
"""Builders of torchvision; smaller ones have blocks that cannot be dilated."""

TOP = 2048
"""Channels of the last stage of a residual trunk."""


class DeepLabV1(nn.Module):
    """DeepLab-LargeFOV of Chen et al. 2015, "Semantic Image Segmentation with Deep Convolutional Nets and Fully
    Connected CRFs" (arXiv:1412.7062), section 3.1 and table 2.

    Parameters
    ----------
    bands, classes : int
        Channels of the pixels and of the scores.
    backbone : str
        ``"vgg16"`` as in the paper, ``"vgg11"``, ``"vgg13"`` or ``"vgg19"``.
    rate : int
        Dilation of the first fully connected layer, in features of 8 px.
    width : int
        Channels of both fully connected layers.

    Raises
    ------
    ValueError
        The backbone does not exist.
    """  # noqa: D205 - the title of a paper

    def __init__(self, bands: int, classes: int, backbone: str = "vgg16", rate: int = 12, width: int = 1024) -> None:
        super().__init__()
        self.features = _dilated_vgg(backbone)
        take_bands(self.features, bands)
        self.classifier = nn.Sequential(
            nn.Conv2d(512, width, 3, padding=rate, dilation=rate),  # fc6, 3 x 3 of its 7 x 7 kept
            nn.ReLU(),
            nn.Dropout(),
            nn.Conv2d(width, width, 1),  # fc7
            nn.ReLU(),
            nn.Dropout(),
            nn.Conv2d(width, classes, 1),
        )
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):  # rectified layers without normalisation need it: He et al. 2015
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Turn scaled pixels, float32 (n, band, y, x), into scores, float32 (n, class, y, x)."""
        return _resample(self.classifier(self.features(pixels)), pixels)


class DeepLabV2(nn.Module):
    """DeepLab with atrous spatial pyramid pooling of Chen et al. 2018, "DeepLab: Semantic Image Segmentation with Deep
    Convolutional Nets, Atrous Convolution, and Fully Connected CRFs" (arXiv:1606.00915), sections 3.1, 3.2 and 4.1.2.

    Parameters
    ----------
    bands, classes : int
        Channels of the pixels and of the scores.
    backbone : str
        ``"resnet101"`` as in the paper, or ``"resnet50"``.
    rates : sequence of int
        Dilations of the pyramid, in features of 8 px; the paper's ASPP-L unless given.

    Raises
    ------
    ValueError
        The backbone does not exist, or there are no rates.
    """  # noqa: D205 - the title of a paper

    def __init__(
        self, bands: int, classes: int, backbone: str = "resnet101", rates: Sequence[int] = (6, 12, 18, 24)
    ) -> None:
        super().__init__()
        if not rates:
            raise ValueError("rates are empty and the pyramid needs one at least")
        self.backbone = _dilated_resnet(backbone)
        take_bands(self.backbone, bands)
        layers = [nn.Conv2d(TOP, classes, 3, padding=rate, dilation=rate) for rate in rates]
        for layer in layers:
            nn.init.normal_(layer.weight, std=0.01)
        self.pyramid = nn.ModuleList(layers)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Turn scaled pixels, float32 (n, band, y, x), into scores, float32 (n, class, y, x)."""
        features = self.backbone(pixels)
        scores = torch.stack([layer(features) for layer in self.pyramid]).sum(0)  # section 3.2: fused by their sum
        return _resample(scores, pixels)


def _dilated_vgg(backbone: str) -> nn.Sequential:
    """The convolutions of a VGG, one feature for 8 px: no step in the last two poolings, dilation 2 after the first."""
    layers: nn.Sequential = vgg.make_layers(vgg.cfgs[_known(backbone, VGGS)])
    poolings = 0
    for number, layer in enumerate(layers):
        if isinstance(layer, nn.MaxPool2d):
            poolings += 1
            if poolings > 3:
                layers[number] = nn.MaxPool2d(3, stride=1, padding=1)
        elif isinstance(layer, nn.Conv2d) and poolings > 3:
            layer.dilation = layer.padding = (2, 2)
    return layers


def _dilated_resnet(backbone: str) -> nn.Sequential:
    """The convolutions of a residual network, one feature for 8 px: dilation 2 and 4 instead of the last two steps."""
    dilated = [False, True, True]  # the first block of a dilated stage keeps the dilation of the stage before
    whole = _known(backbone, RESNETS)(weights=None, replace_stride_with_dilation=dilated)
    return nn.Sequential(OrderedDict(item for item in whole.named_children() if item[0] not in ("avgpool", "fc")))


def _known(backbone: str, table: Mapping[str, Item]) -> Item:
    if backbone not in table:
        raise ValueError(f"there is no backbone '{backbone}' ({nearest(backbone, list(table))})")
    return table[backbone]


def _resample(scores: torch.Tensor, pixels: torch.Tensor) -> torch.Tensor:
    """Scores at the size of the pixels, bilinearly: section 3.1 of the first paper, 3.1 of the second."""
    return functional.interpolate(scores, size=pixels.shape[2:], mode="bilinear", align_corners=False)


ARCHITECTURES: dict[str, type[nn.Module]] = {item.__name__: item for item in (DeepLabV1, DeepLabV2)}
"""What may be built, by the name after ``geoseg.``"""


def build(spec: ModelSpec) -> nn.Module:
    """Build the network of a spec with random weights, for training or to load weights into.

    Raises
    ------
    ModelError
        The architecture or a hyperparameter does not exist, or they do not fit together.
    """
    architecture = fitting.find_architecture(spec, ARCHITECTURES)
    fitting.check_hyperparameters(spec, architecture, ("backbone", "rate", "width"))
    return fitting.build(spec, architecture, bands=len(spec.bands), classes=spec.score_count)


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
