"""Adapter for transformers' networks that answer a set of queries: MaskFormer, Mask2Former, OneFormer and EoMT.

Each query gives a class, or none, and a mask. The networks know nothing of tasks but for OneFormer, which is told; the
task of the spec decides what is made of the queries here:

- semantic: the probability of a class at a pixel is the sum over queries of the class's probability and the mask's
  there (Cheng et al. 2021, arXiv:2107.06278, section 3.4), divided by its sum over the classes;
- instance: each query whose most probable class is not "none" is an object, the pixels where its mask's logit is above
  0, with the class's probability times the mask's mean one inside as its score (Cheng et al. 2022, arXiv:2112.01527,
  section 4.1);
- panoptic: both, with objects of the spec's things only.

The library's own image processors do the same but for this: Mask2Former's resamples masks to 384 px whatever the input,
and here it is to the input's size; MaskFormer's gives objects the blocky edges of its small masks; all may make several
objects of one query, of which at most one scores above a half; and panoptic ones cut away where objects overlap, which
is left to the merge of tiles.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from transformers import CLIPTokenizer

from geoseg.errors import ModelError, WeightsError
from geoseg.models.detections import Detections
from geoseg.models.prompts import Prompts, refuse_prompts
from geoseg.models.running import Network, settle
from geoseg.models.spec import Activation, ModelSpec
from geoseg.models.transformers import ANY, open_pretrained, resample
from geoseg.models.weights import is_folder, resolve_folder, resolve_weights

TASKS = ("semantic-segmentation", "instance-segmentation", "panoptic-segmentation")
"""What these networks can do."""

ARCHITECTURES = {
    "MaskFormerForInstanceSegmentation": "maskformer",
    "Mask2FormerForUniversalSegmentation": "mask2former",
    "OneFormerForUniversalSegmentation": "oneformer",
    "EomtForUniversalSegmentation": "eomt",
    "EomtDinov3ForUniversalSegmentation": "eomt_dinov3",
    "AutoModelForUniversalSegmentation": ANY,
}
"""What may be opened, by the name after ``transformers.``, and the type that the library's configurations give it."""

SUMMED_SMALL = ("maskformer", "oneformer")
"""Types whose classes are summed at the masks' size and resampled then, as their image processors do."""

FIXED = ("eomt", "eomt_dinov3")
"""Types that take tiles of one size."""

TOLD = ("oneformer",)
"""Types that are told their task in words."""

TOGETHER = 16
"""Queries whose masks are resampled at once; more would only take more memory."""

SCORES: dict[Activation, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "none": lambda summed, total: summed / total,
    "softmax": lambda summed, total: summed.log() - total.log(),
}
"""Scores of which the activation makes shares in a total."""

LEAST = 1e-37
"""The smallest sum over queries, so that its logarithm is a number."""


class Queries(nn.Module):
    """A network of the library whose queries are made into what its spec's task needs.

    Parameters
    ----------
    network : torch.nn.Module
        Its output has ``class_queries_logits``, float (n, query, class + 1), and ``masks_queries_logits``, float (n,
        query, y, x).
    spec : ModelSpec
        Its task decides what `forward` returns.
    words : int64 tensor, optional
        Shape (1, token): the task, for networks that are told.
    """

    def __init__(self, network: Any, spec: ModelSpec, words: torch.Tensor | None = None) -> None:
        super().__init__()
        self.network, self._spec = network, spec
        self.register_buffer("words", words, persistent=False)
        kind = network.config.model_type
        self._summed_small = kind in SUMMED_SMALL
        self._size = network.config.image_size if kind in FIXED else None
        things = set(spec.things)
        self._things = [position for position, item in enumerate(spec.classes) if item in things]

    def forward(self, pixels: torch.Tensor, prompts: Sequence[Prompts] = ()) -> Any:
        """Run on scaled pixels, float32 (n, band, y, x).

        Returns
        -------
        tensor, list of Detections, or both
            For semantic, instance and panoptic: see `geoseg.models`.

        Raises
        ------
        ModelError
            The pixels are of a size that the network does not take, or prompts ask for something.
        """
        self._check(pixels, prompts)
        output = self.network(pixels) if self.words is None else self.network(pixels, self._told(len(pixels)))
        with torch.autocast(pixels.device.type, enabled=False):
            classes, masks = output.class_queries_logits.float(), output.masks_queries_logits.float()
            return self._answer(classes, masks, (pixels.shape[2], pixels.shape[3]))

    def _told(self, count: int) -> torch.Tensor:
        words: Any = self.words
        told: torch.Tensor = words.expand(count, -1)
        return told

    def _answer(self, classes: torch.Tensor, masks: torch.Tensor, size: tuple[int, int]) -> Any:
        """What the spec's task makes of the queries of a batch."""
        if self._spec.task == "semantic-segmentation":
            return self._score(classes, masks, size)
        found = [self._find(*tile, size) for tile in zip(classes, masks, strict=True)]
        return found if self._spec.task == "instance-segmentation" else (self._score(classes, masks, size), found)

    def _score(self, classes: torch.Tensor, masks: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
        summed = sum_small(classes, masks, size) if self._summed_small else sum_large(classes, masks, size)
        summed = summed.clamp_min(LEAST)  # where no query says anything every class is as likely
        return SCORES[self._spec.activation](summed, summed.sum(1, keepdim=True))

    def _find(self, classes: torch.Tensor, masks: torch.Tensor, size: tuple[int, int]) -> Detections:
        """The things of one tile; an object cannot score higher than its class."""
        chances, positions = classes.softmax(-1).max(-1)
        things = torch.tensor(self._things, dtype=positions.dtype, device=positions.device)
        keep = torch.isin(positions, things) & ~(chances < self._spec.min_score) | chances.isnan()  # to be noticed
        shapes, scores = outline(masks[keep], size)
        return Detections.of(shapes, positions[keep].cpu().numpy(), scores * chances[keep].cpu().numpy())

    def _check(self, pixels: torch.Tensor, prompts: Sequence[Prompts]) -> None:
        height, width = pixels.shape[2:]
        if self._size is not None and (height, width) != (self._size, self._size):
            raise ModelError(
                f"model '{self._spec.name}' takes tiles of {self._size} x {self._size} px only, not of {height} x "
                f"{width} px; set tile_size to {self._size} and geoseg:fixed_size to true in its entry."
            )
        refuse_prompts(self._spec.name, prompts)


def sum_large(classes: torch.Tensor, masks: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Sum over queries the probabilities of classes and masks, masks resampled to the input's size first.

    Parameters
    ----------
    classes : float32 tensor
        Logits, shape (n, query, class + 1); the last is "none".
    masks : float32 tensor
        Logits, shape (n, query, y, x).
    size : tuple of int
        Rows and columns of the input, px.

    Returns
    -------
    float32 tensor
        Shape (n, class, y, x) of the input's size, 0 or more.
    """
    weights = classes.softmax(-1)[..., :-1]
    summed = weights.new_zeros(len(weights), weights.shape[2], *size)
    for some, shapes in zip(weights.split(TOGETHER, 1), masks.split(TOGETHER, 1), strict=True):
        summed += torch.einsum("nqc,nqyx->ncyx", some, resample(shapes, size).sigmoid())
    return summed


def sum_small(classes: torch.Tensor, masks: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Sum as `sum_large` does, at the masks' size; the sums are resampled to the input's."""
    weights = classes.softmax(-1)[..., :-1]
    return resample(torch.einsum("nqc,nqyx->ncyx", weights, masks.sigmoid()), size)


def outline(masks: torch.Tensor, size: tuple[int, int]) -> tuple[list[NDArray[np.bool_]], NDArray[np.float32]]:
    """Give the pixels of masks at the input's size, and how sure each mask is of them.

    Parameters
    ----------
    masks : float32 tensor
        Logits, shape (query, y, x).
    size : tuple of int
        Rows and columns of the input, px.

    Returns
    -------
    shapes : list of bool array
        Shape (y, x) of the input's size, True = the logit is above 0; may be empty.
    means : float32 array
        Shape (query,): mean probability of the mask inside, 0 where it is empty.
    """
    shapes: list[NDArray[np.bool_]] = []
    means = [np.empty(0, np.float32)]
    for some in masks.split(TOGETHER) if len(masks) else ():
        logits = resample(some[None], size)[0]
        inside = logits > 0
        sums = (logits.sigmoid() * inside).sum((1, 2))
        means.append((sums / inside.sum((1, 2)).clamp_min(1)).cpu().numpy())
        shapes.extend(inside.cpu().numpy())
    return shapes, np.concatenate(means)


def open_network(spec: ModelSpec, device: torch.device) -> Network:
    """Open the network of a spec and put it on its device.

    Raises
    ------
    ModelError
        When the network cannot be built.
    WeightsError
        When the weights are missing, out of reach, damaged, unsafe, or do not fit the spec.
    """
    _check_activation(spec)
    network = open_pretrained(spec, ARCHITECTURES)
    words = _words(spec, network.config.task_seq_len) if network.config.model_type in TOLD else None
    return settle(Queries(network, spec, words), device)


def _check_activation(spec: ModelSpec) -> None:
    if spec.activation not in SCORES and spec.task != "instance-segmentation":
        raise ModelError(
            f"model '{spec.name}' has the activation '{spec.activation}', but {spec.architecture} gives each pixel one "
            "class; set geoseg:activation in its entry to none."
        )
    if spec.task == "semantic-segmentation" and spec.score_count == 1:
        raise ModelError(
            f"model '{spec.name}' has one class, and {spec.architecture} gives each pixel one of its classes; describe "
            "two classes, or set mlm:tasks in its entry to instance-segmentation."
        )


def _words(spec: ModelSpec, length: int) -> torch.Tensor:
    """What tells OneFormer its task, int64 (1, token), in the words of the tokenizer beside its weights.

    The sentence is that of Jain et al. 2022, arXiv:2211.06220, section 3.1; tokens after its end are 0.
    """
    home = resolve_folder(spec) if is_folder(spec) else resolve_weights(spec).parent
    _need_words(home, spec)
    tokenizer = CLIPTokenizer.from_pretrained(home, local_files_only=True)
    sentence = f"the task is {spec.task.partition('-')[0]}"
    tokens = tokenizer([sentence], padding="max_length", max_length=length, truncation=True, return_tensors="pt")
    told: torch.Tensor = tokens["input_ids"] * tokens["attention_mask"]
    return told


def _need_words(home: Path, spec: ModelSpec) -> None:
    """Refuse a folder without the files of a tokenizer; the library would make up an empty one."""
    whole, halves = home / "tokenizer.json", (home / "vocab.json", home / "merges.txt")
    if not whole.is_file() and not all(path.is_file() for path in halves):
        raise WeightsError(
            f"weights folder '{home}' of model '{spec.name}' lacks the tokenizer that tells OneFormer its task; put "
            "tokenizer.json, or vocab.json and merges.txt, of the same model beside the weights."
        )
