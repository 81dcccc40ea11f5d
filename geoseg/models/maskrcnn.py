"""Adapter for torchvision's Mask R-CNN, on its own trunks or on any encoder: objects, each with its own mask.

It knows the library's builders, its background class and its list of categories. Pixels come scaled by the spec, so
the library is kept from scaling and resampling them once more.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torchvision.models import detection
from torchvision.models.detection.transform import GeneralizedRCNNTransform

from geoseg.errors import ModelError, WeightsError, nearest
from geoseg.models import fitting
from geoseg.models.detections import Detections, Integers, Mask
from geoseg.models.maskrcnn_compact import build_compact, build_mobilenet
from geoseg.models.prompts import Prompts, refuse_prompts
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
    "rpn_pre_nms_top_n_train",
    "rpn_post_nms_top_n_train",
    "rpn_fg_iou_thresh",
    "rpn_bg_iou_thresh",
    "rpn_batch_size_per_image",
    "rpn_positive_fraction",
    "box_fg_iou_thresh",
    "box_bg_iou_thresh",
    "box_batch_size_per_image",
    "box_positive_fraction",
)
"""Hyperparameters that choose among what the network finds, and, the later ten, among what it learns from; named as
`torchvision.models.detection.MaskRCNN` does."""

PREFIXES = ("box_", "rpn_", "mask_")
"""How hyperparameters begin that can only be meant for the library's class."""

MOST = 300
"""Objects kept of one tile unless ``box_detections_per_img`` says otherwise."""

COUNTER = "num_batches_tracked"
"""How the tensors end that layers of batch normalisation have, and frozen ones do not."""

UNWANTED = -1
"""The position of background, and of categories that the spec leaves out."""

SCORED = "roi_heads.box_predictor.cls_score.weight"
"""The tensor that has a row for each category."""


ARCHITECTURES: dict[str, Callable[..., nn.Module]] = {
    "maskrcnn_resnet50_fpn": detection.maskrcnn_resnet50_fpn,
    "maskrcnn_resnet50_fpn_v2": detection.maskrcnn_resnet50_fpn_v2,
    "maskrcnn_mobilenet_v3_large_fpn": build_mobilenet,
    "MaskRCNN": build_compact,
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
        Shape (category,): the position in the spec's classes of each of its categories, or `UNWANTED`; see `in_order`.
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
        refuse_prompts(self._name, prompts)
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

    Pixel i of an axis of m cells between box edges a and b reads the mask at ``m (i - a) / (b - a) - 1 / 2``,
    bilinearly, 0 beyond. That undoes exactly how the library cuts the masks that a network learns, where the centre of
    pixel i is the whole number i (``project_masks_on_boxes``). Its own way back shifts and widens them: roofs of 30 px
    become 5 % larger.

    Parameters
    ----------
    masks : torch.Tensor
        Probabilities, float32 (object, 1, 28, 28).
    boxes : torch.Tensor
        Left, top, right, bottom, px, float32 (object, 4).
    shape : (int, int)
        Of the tile: y, x, px.
    """
    for mask, box in zip(masks, boxes.tolist(), strict=True):
        rows, cols = (_within(box[axis], box[axis + 2], shape[1 - axis]) for axis in (1, 0))
        places = [
            2 * (torch.arange(start, stop) - box[axis]) / (box[axis + 2] - box[axis]) - 1
            for axis, (start, stop) in ((1, rows), (0, cols))
        ]
        down, right = torch.meshgrid(*places, indexing="ij")
        sampled = functional.grid_sample(mask[None], torch.stack([right, down], -1)[None], align_corners=False)
        pasted = np.zeros(shape, np.bool_)
        pasted[slice(*rows), slice(*cols)] = sampled[0, 0] > 0.5
        yield pasted


def _within(low: float, high: float, length: int) -> tuple[int, int]:
    """The first pixel from an edge of a box on, and the one after the last up to the other, of so many; may be none."""
    start = min(max(0, math.ceil(low)), length)
    return start, max(start, min(math.floor(high) + 1, length))


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
    chosen = {name: value for name, value in spec.hyperparameters if name in SETTINGS}
    decided: dict[str, Any] = {"num_classes": categories or len(spec.classes) + 1, "box_score_thresh": spec.min_score}
    if builder is build_compact:
        fitting.check_hyperparameters(spec, builder, (*PREFIXES, "encoder_", "fpn_", "anchor_"), SETTINGS)
        decided["in_channels"] = len(spec.bands)
    else:
        fitting.check_hyperparameters(spec, detection.MaskRCNN, PREFIXES)
        decided["weights_backbone"] = None
    network: Any = fitting.build(spec, builder, **{"box_detections_per_img": MOST} | decided | chosen)
    network.register_module("transform", AsGiven())
    for part in (network.backbone, network.rpn.head, network.roi_heads.box_predictor):
        part.register_forward_hook(_in_full)
    take_bands(network, len(spec.bands))
    built: nn.Module = network
    return built


def _in_full(part: nn.Module, inputs: Any, output: Any) -> Any:
    """Give what boxes are computed from as float32: the 8 bits of bfloat16 would set them on a grid of 4 px."""
    kind: Any = type(output)
    if isinstance(output, torch.Tensor):
        return output.float()
    if isinstance(output, Mapping):
        return kind((name, item.float()) for name, item in output.items())
    return kind(_in_full(part, inputs, item) for item in output)


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
        return in_order(spec)
    named = [name for name in categories if name not in ("__background__", "N/A")]
    for name in spec.class_names:
        if name not in named:
            raise ModelError(
                f"model '{spec.name}' has the class '{name}', which its weights do not know; {nearest(name, named)}."
            )
    names = spec.class_names
    return np.array([names.index(name) if name in names else UNWANTED for name in categories], np.int64)


def in_order(spec: ModelSpec) -> Integers:
    """Positions for `Finder` of categories that are background and then the spec's classes."""
    return np.arange(len(spec.classes) + 1, dtype=np.int64) + UNWANTED


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
