"""Mask R-CNNs small enough to ship: torchvision's own class on trunks that its own builders do not put it on.

It knows how many channels each part has and at which strides objects are looked for; nothing of specs or of weights.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import torch
from segmentation_models_pytorch.encoders import get_encoder
from torch import nn
from torchvision.models.detection import MaskRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import mobilenet_backbone
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.ops import FeaturePyramidNetwork, MultiScaleRoIAlign

FIRST = 2
"""The first of an encoder's features that objects are looked for in: that of stride 4 px."""

BOX_CELLS, MASK_CELLS = 7, 14
"""Cells on each side of an object's features, for its box and for its mask (He et al. 2017, figure 4)."""


class Pyramid(nn.Module):
    """An encoder beneath a feature pyramid (Lin et al. 2017, arXiv:1612.03144).

    Parameters
    ----------
    encoder : torch.nn.Module
        Gives features at strides of 1, 2, 4, ... px, with as many channels as its ``out_channels`` say.
    channels : int
        Of every level of the pyramid; they begin at a stride of 4 px.
    """

    def __init__(self, encoder: nn.Module, channels: int) -> None:
        super().__init__()
        self.encoder, self.out_channels = encoder, channels
        below: Any = encoder.out_channels
        self.fpn = FeaturePyramidNetwork(list(below[FIRST:]), channels, norm_layer=nn.BatchNorm2d)

    def forward(self, pixels: torch.Tensor) -> OrderedDict[str, torch.Tensor]:
        """Turn scaled pixels, float32 (n, band, y, x), into features of each level, by its number."""
        features = self.encoder(pixels)[FIRST:]
        levels: OrderedDict[str, torch.Tensor] = self.fpn(
            OrderedDict((str(number), item) for number, item in enumerate(features))
        )
        return levels


def build_compact(
    *,
    num_classes: int,
    in_channels: int,
    encoder_name: str,
    encoder_depth: int = 5,
    fpn_channels: int = 64,
    anchor_sizes: Sequence[int] = (16, 32, 64, 128),
    aspect_ratios: Sequence[float] = (0.5, 1.0, 2.0),
    box_channels: int = 256,
    mask_channels: int = 64,
    **settings: Any,
) -> MaskRCNN:
    """Build a Mask R-CNN (He et al. 2017, arXiv:1703.06870) with random weights.

    Parameters
    ----------
    num_classes : int
        Background among them.
    in_channels : int
        Bands.
    encoder_name, encoder_depth
        As segmentation-models-pytorch has them; depth d gives levels at strides of 4 to ``2 ** d`` px.
    fpn_channels, box_channels, mask_channels : int
        Of the pyramid, of the two layers that judge a box, and of the five that draw a mask.
    anchor_sizes : sequence of int
        Square roots of the area of the boxes that each level begins with, px.
    aspect_ratios : sequence of float
        Of these boxes, height by width.
    **settings
        Other arguments of `torchvision.models.detection.MaskRCNN`.

    Raises
    ------
    ValueError
        A number of channels is none, or there is not one size a level.
    """
    for name, value in (("fpn", fpn_channels), ("box", box_channels), ("mask", mask_channels)):
        if not isinstance(value, int) or value < 1:
            raise ValueError(f"{name}_channels is {value!r}, give a whole number of at least 1")
    encoder = get_encoder(encoder_name, in_channels=in_channels, depth=encoder_depth, weights=None)
    backbone = Pyramid(encoder, fpn_channels)
    levels = [str(number) for number in range(len(encoder.out_channels) - FIRST)]
    if len(anchor_sizes) != len(levels):
        strides = ", ".join(str(2 ** (FIRST + number)) for number in range(len(levels)))
        raise ValueError(f"anchor_sizes are {list(anchor_sizes)}, give one size for each stride of {strides} px")
    return MaskRCNN(
        backbone,
        rpn_anchor_generator=AnchorGenerator(
            tuple((size,) for size in anchor_sizes), (tuple(aspect_ratios),) * len(levels)
        ),
        box_roi_pool=MultiScaleRoIAlign(levels, BOX_CELLS, sampling_ratio=2),
        box_head=TwoMLPHead(fpn_channels * BOX_CELLS**2, box_channels),
        box_predictor=FastRCNNPredictor(box_channels, num_classes),
        mask_roi_pool=MultiScaleRoIAlign(levels, MASK_CELLS, sampling_ratio=2),
        mask_head=MaskRCNNHeads(fpn_channels, (mask_channels,) * 4, 1),
        mask_predictor=MaskRCNNPredictor(mask_channels, mask_channels, num_classes),
        **settings,
    )


def build_mobilenet(*, num_classes: int, weights_backbone: Any = None, **settings: Any) -> Any:
    """Put Mask R-CNN's heads on the trunk and anchors of torchvision's ``fasterrcnn_mobilenet_v3_large_fpn``.

    The trunk is that of Howard et al. 2019 (arXiv:1905.02244), the heads are those of He et al. 2017
    (arXiv:1703.06870).
    """
    trunk = mobilenet_backbone(
        backbone_name="mobilenet_v3_large",
        fpn=True,
        weights=weights_backbone,
        norm_layer=nn.BatchNorm2d,
        trainable_layers=6,
    )
    anchors = AnchorGenerator(((32, 64, 128, 256, 512),) * 3, ((0.5, 1.0, 2.0),) * 3)
    return MaskRCNN(trunk, num_classes, rpn_anchor_generator=anchors, **settings)
