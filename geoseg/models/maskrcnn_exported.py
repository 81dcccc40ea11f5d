"""Adapter for Mask R-CNNs of torchvision as ONNX files, which give the objects of one image and their whole masks.

A file has four outputs: boxes (object, 4), labels (object,), counted from 1, scores (object,) and probabilities of
masks (object, 1, y, x). What scales pixels to the sizes that training saw, and masks back, is in the file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import onnxruntime
import torch

from geoseg.errors import ModelError
from geoseg.models.detections import Detections
from geoseg.models.onnx import open_session
from geoseg.models.prompts import Prompts, refuse_prompts
from geoseg.models.running import Network
from geoseg.models.signature import IMAGE
from geoseg.models.spec import ModelSpec

TASKS = ("instance-segmentation",)
"""What these files can do."""

LABELS, SCORES, MASKS = ("tensor(int64)", 1), ("tensor(float)", 1), ("tensor(float)", IMAGE)
"""Type and number of axes of the outputs that are read; boxes are those of the masks."""


def open_network(spec: ModelSpec, device: torch.device) -> Network:
    """Open a session and return what finds objects with it.

    Raises
    ------
    ModelError
        When the file has other outputs or takes something else than one image, or onnxruntime cannot use the device.
    WeightsError
        When the file is missing or is not ONNX.
    """
    session, signature = open_session(spec, device)
    names, given = _outputs(session, spec), session.get_inputs()[0].name
    is_alone = len(signature.shape) == IMAGE - 1

    def find(pixels: torch.Tensor) -> list[Detections]:
        image = (pixels[0] if is_alone else pixels).cpu().numpy()
        labels, scores, masks = (torch.from_numpy(item) for item in session.run(names, {given: image}))
        return [_detections(spec, labels, scores, masks)]

    one = (1, *(signature.shape if is_alone else signature.shape[1:]))  # whose objects these are, a file does not tell
    run = replace(signature, shape=one).fit(find, spec)

    def network(pixels: torch.Tensor, prompts: Sequence[Prompts] = ()) -> Any:
        refuse_prompts(spec.name, prompts)
        return run(pixels)

    return network


def _outputs(session: onnxruntime.InferenceSession, spec: ModelSpec) -> list[str]:
    """The names of labels, scores and masks."""
    found = {(item.type, len(item.shape)): item.name for item in session.get_outputs()}
    if not {LABELS, SCORES, MASKS} <= found.keys():
        listed = ", ".join(f"{item.name} {item.shape}" for item in session.get_outputs())
        raise ModelError(
            f"model '{spec.name}' gives {listed} where labels, scores and masks (object, 1, y, x) are expected; export "
            "a Mask R-CNN of torchvision, or correct mlm:architecture in its entry."
        )
    return [found[kind] for kind in (LABELS, SCORES, MASKS)]


def _detections(spec: ModelSpec, labels: torch.Tensor, scores: torch.Tensor, masks: torch.Tensor) -> Detections:
    """The objects of one tile; a pixel belongs to one where its probability is above a half."""
    keep = torch.nonzero(~(scores < spec.min_score))[:, 0]  # what is no number has to be noticed
    classes = labels[keep] - 1
    if len(keep) and not 0 <= int(classes.min()) <= int(classes.max()) < len(spec.classes):
        raise ModelError(
            f"model '{spec.name}' found an object of the class {int(labels[keep].max())} and its entry has "
            f"{len(spec.classes)}; correct its classes."
        )
    return Detections.of((mask[0].numpy() > 0.5 for mask in masks[keep]), classes.numpy(), scores[keep].numpy())
