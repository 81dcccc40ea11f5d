"""Adapter for torchvision's Mask R-CNN on three trunks: objects, each with its own mask.

It knows the library's builders, its background class and its list of categories. Pixels come scaled by the spec, so
the library is kept from scaling and resampling them once more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torchvision.models import detection
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import mobilenet_backbone
from torchvision.models.detection.roi_heads import expand_boxes, expand_masks, paste_mask_in_image
from torchvision.models.detection.transform import GeneralizedRCNNTransform

from geoseg.errors import ModelError, WeightsError, nearest
from geoseg.models import fitting
from geoseg.models.detections import Detections, Integers, Mask
from geoseg.models.prompts import Prompts
from geoseg.models.running import Network, settle
from geoseg.models.spec import HUB, ModelSpec
from geoseg.models.torchvision_hub import read_torchvision_state, take_bands

TASKS = ("instance-segmentation",)
"""What these networks can do."""

SETTINGS = (
    "box_detections_per_img",
    "box_nms_thresh",
    "rpn_nms_thresh",
    "rpn_score_thresh",
    "rpn_pre_nms_top_n_test",
    "rpn_post_nms_top_n_test",
)
"""Hyperparameters that choose among what the network finds, named as `torchvision.models.detection.MaskRCNN` does."""

MOST = 300
"""Objects kept of one tile unless ``box_detections_per_img`` says otherwise."""

COUNTER = "num_batches_tracked"
"""How the tensors end that layers of batch normalisation have, and frozen ones do not."""

UNWANTED = -1
"""The position of background, and of categories that the spec leaves out."""

SCORED = "roi_heads.box_predictor.cls_score.weight"
"""The tensor that has a row for each category."""


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
    return detection.MaskRCNN(trunk, num_classes, rpn_anchor_generator=anchors, **settings)


ARCHITECTURES: dict[str, Callable[..., nn.Module]] = {
    "maskrcnn_resnet50_fpn": detection.maskrcnn_resnet50_fpn,
    "maskrcnn_resnet50_fpn_v2": detection.maskrcnn_resnet50_fpn_v2,
    "maskrcnn_mobilenet_v3_large_fpn": build_mobilenet,
}
"""What may be built, by the name after ``torchvision.``"""

PUBLISHED: dict[str, Any] = {
    "maskrcnn_resnet50_fpn": detection.MaskRCNN_ResNet50_FPN_Weights,
    "maskrcnn_resnet50_fpn_v2": detection.MaskRCNN_ResNet50_FPN_V2_Weights,
}
"""Weights that the library has for them."""


class AsGiven(GeneralizedRCNNTransform):  # type: ignore[misc] # the library has no types
    """What stands before and after the network, without scaling, resampling and pasting.

    Pasting all masks at once would take as many maps of the tile as there are objects.
    """

    def __init__(self) -> None:
        super().__init__(0, 0, [], [])

    def normalize(self, image: torch.Tensor) -> torch.Tensor:
        """Leave pixels (band, y, x) as they are."""
        return image

    def resize(self, image: torch.Tensor, target: Any = None) -> tuple[torch.Tensor, Any]:
        """Leave their number as it is."""
        return image, target

    def postprocess(self, result: list[dict[str, torch.Tensor]], *_: Any) -> list[dict[str, torch.Tensor]]:
        """Leave boxes as they are, and masks as small as the network gives them."""
        return result


class Finder(nn.Module):
    """Mask R-CNN with detections as geoseg knows them.

    Parameters
    ----------
    name : str
        The model's, for its errors.
    network : torch.nn.Module
        One of the library's, with `AsGiven` as its transform.
    positions : int64 array
        Shape (category,): the position in the spec's classes of each of its categories, or `UNWANTED`.
    """

    def __init__(self, name: str, network: nn.Module, positions: Integers) -> None:
        super().__init__()
        self.network = network
        self._name, self._positions = name, positions

    def forward(self, pixels: torch.Tensor, prompts: Sequence[Prompts] = ()) -> list[Detections]:
        """Find the objects of scaled pixels, float32 (n, band, y, x).

        Raises
        ------
        ModelError
            Prompts ask for something, and this family finds everything.
        """
        if any(item.objects or item.text for item in prompts):
            raise ModelError(
                f"model '{self._name}' finds every object of its classes and takes no prompts; leave them out, or "
                "choose a model of the SAM family."
            )
        height, width = pixels.shape[2:]
        return [self._detections(found, (height, width)) for found in self.network(list(pixels))]

    def _detections(self, found: Mapping[str, torch.Tensor], shape: tuple[int, int]) -> Detections:
        """What the library found in one tile of that shape (px), without what the spec leaves out."""
        classes = self._positions[found["labels"].cpu().numpy()]
        wanted = np.flatnonzero(classes != UNWANTED)
        boxes, masks, scores = (found[key].float().cpu()[wanted] for key in ("boxes", "masks", "scores"))
        return Detections.of(_paste(masks, boxes, shape), classes[wanted], scores.numpy())


def _paste(masks: torch.Tensor, boxes: torch.Tensor, shape: tuple[int, int]) -> Iterator[Mask]:
    """Masks as pixels of the tile, one after the other: where a probability is above a half.

    The library's own way of resampling (He et al. 2017, section 3.1), but within each box, because most are small.

    Parameters
    ----------
    masks : torch.Tensor
        Probabilities, float32 (object, 1, 28, 28).
    boxes : torch.Tensor
        Left, top, right, bottom, px, float32 (object, 4).
    shape : (int, int)
        Of the tile: y, x, px.
    """
    padded, scale = expand_masks(masks, padding=1)
    for mask, box in zip(padded, expand_boxes(boxes, scale).long(), strict=True):
        left, top = (max(int(start), 0) for start in box[:2])
        right, bottom = (min(int(end) + 1, most) for end, most in zip(box[2:], shape[::-1], strict=True))
        within = box - torch.tensor([left, top, left, top])
        pasted = np.zeros(shape, np.bool_)
        pasted[top:bottom, left:right] = paste_mask_in_image(mask[0], within, bottom - top, right - left) > 0.5
        yield pasted


def build(spec: ModelSpec, categories: int | None = None) -> nn.Module:
    """Build the network of a spec with random weights, to load weights into.

    Parameters
    ----------
    spec : ModelSpec
        Its hyperparameters may hold `SETTINGS`; its ``min_score`` is what objects must score to be kept.
    categories : int, optional
        What the network tells apart, background among it; the spec's classes and background by default.

    Raises
    ------
    ModelError
        The architecture or a hyperparameter does not exist, or they do not fit together.
    """
    builder = fitting.find_architecture(spec, ARCHITECTURES)
    fitting.check_hyperparameters(spec, detection.MaskRCNN, ("box_", "rpn_", "mask_"))
    chosen = {name: value for name, value in spec.hyperparameters if name in SETTINGS}
    decided = {
        "weights_backbone": None,
        "num_classes": categories or len(spec.classes) + 1,
        "box_score_thresh": spec.min_score,
        "box_detections_per_img": MOST,
    }
    network = fitting.build(spec, builder, **decided | chosen)
    network.register_module("transform", AsGiven())
    take_bands(network, len(spec.bands))
    return network


def open_network(spec: ModelSpec, device: torch.device) -> Network:
    """Build the network, load its weights strictly, and put it on its device.

    Of weights that tell apart what the library's own do, the spec's classes are chosen by name, so an entry lists only
    those that it wants; classes of other weights are told by their order. Weights of frozen batch normalisation may
    need the hyperparameter ``norm_eps``; see `_frozen_eps`.

    Raises
    ------
    ModelError
        When the network cannot be built, or the weights do not know a class.
    WeightsError
        When the weights are missing, damaged, unsafe, or do not fit the network.
    """
    fitting.find_architecture(spec, ARCHITECTURES)
    state = dict(_read(spec))
    positions = _positions(spec, state)
    network = build(spec, len(positions))
    if not any(name.endswith(COUNTER) for name in state):
        _thaw(network, state, dict(spec.hyperparameters).get("norm_eps", _frozen_eps(spec)))
    fitting.fit(network, state, spec, Path(str(spec.weights)))
    return settle(Finder(spec.name, network, positions), device)


def _read(spec: ModelSpec) -> Mapping[str, torch.Tensor]:
    """The weights of a spec, from a file or by the library's name."""
    builder = spec.architecture.partition(".")[2]
    if builder not in PUBLISHED and str(spec.weights).startswith(HUB):
        raise WeightsError(
            f"weights '{spec.weights}' of model '{spec.name}' do not exist: torchvision has none for {builder}; give a "
            f"file with --weights FILE, or use {' or '.join(PUBLISHED)}."
        )
    return read_torchvision_state(spec, builder)


def _positions(spec: ModelSpec, state: Mapping[str, torch.Tensor]) -> Integers:
    """The position in the spec's classes of each category of weights; see `Finder`."""
    published = PUBLISHED.get(spec.architecture.partition(".")[2])
    categories: list[str] = published.DEFAULT.meta["categories"] if published else []
    found, ours = len(state.get(SCORED, ())), len(spec.classes) + 1
    if not str(spec.weights).startswith(HUB) and (found == ours or found != len(categories)):
        return np.arange(ours, dtype=np.int64) - 1
    named = [name for name in categories if name not in ("__background__", "N/A")]
    for name in spec.class_names:
        if name not in named:
            raise ModelError(
                f"model '{spec.name}' has the class '{name}', which its weights do not know; {nearest(name, named)}."
            )
    names = spec.class_names
    return np.array([names.index(name) if name in names else UNWANTED for name in categories], np.int64)


def _thaw(network: nn.Module, state: dict[str, torch.Tensor], eps: float) -> None:
    """Let the weights of frozen batch normalisation fit layers that are not: they predict the same."""
    state |= {name: tensor for name, tensor in network.state_dict().items() if name.endswith(COUNTER)}
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.eps = eps


def _frozen_eps(spec: ModelSpec) -> float:
    """What is added to the variances of frozen layers: nothing in torchvision's first weights and what began as them.

    torchvision sets it so where it loads ``MaskRCNN_ResNet50_FPN_Weights.COCO_V1``; its other frozen layers add 1e-5.
    """
    return 0.0 if spec.architecture == "torchvision.maskrcnn_resnet50_fpn" else 1e-5
