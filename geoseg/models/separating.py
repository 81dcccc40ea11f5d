"""A network that scores objects and boundaries, as one that finds objects: seeds grow until they meet.

It knows scores and numbers, nothing of which network gave them. What it finds depends on the whole tile, so objects of
neighbouring tiles are joined by what they share, like any model's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import find_objects, label
from skimage.segmentation import watershed

from geoseg.errors import ModelError
from geoseg.grid import Window
from geoseg.models.background import ADDED
from geoseg.models.detections import Detections
from geoseg.models.late_compiler import disable
from geoseg.models.prompts import Prompts
from geoseg.models.running import Network, Opener
from geoseg.models.semantic import not_finite
from geoseg.models.spec import ClassSpec, ModelSpec
from geoseg.models.watershed import Watershed

BOUNDARY = "boundary"
"""Name of the score that follows those of the classes."""

Floats = NDArray[np.float32]
Numbers = NDArray[np.int32]


def scoring_spec(spec: ModelSpec) -> ModelSpec:
    """The network beneath, as a semantic model: the classes, the boundary, and background, which has no score."""
    taken = {item.value for item in spec.classes}
    free, other = islice((value for value in range(255) if value not in taken), 2)
    classes = (*spec.classes, ClassSpec(free, BOUNDARY), replace(ADDED, value=other))
    return replace(spec, task="semantic-segmentation", classes=classes, activation="sigmoid", watershed=None)


def separator(opener: Opener) -> Opener:
    """Make an adapter's opener of networks that score one that opens networks that find objects."""

    def open_network(spec: ModelSpec, device: torch.device) -> Network:
        return Separator(opener(scoring_spec(spec), device), spec)

    return open_network


class Separator(torch.nn.Module):
    """Scaled pixels to the `Detections` of each tile.

    Parameters
    ----------
    network : callable
        Scaled pixels to scores (logits), float32 (n, class + 1, y, x), the last of them of the boundary.
    spec : ModelSpec
        With its ``watershed``.
    """

    def __init__(self, network: Callable[[torch.Tensor], torch.Tensor], spec: ModelSpec) -> None:
        super().__init__()
        self.network, self._spec = network, spec

    def forward(self, scaled: torch.Tensor, _prompts: Sequence[Prompts] | None = None) -> list[Detections]:
        """Find objects."""
        scores = self.network(scaled)
        expected = (len(scaled), len(self._spec.classes) + 1, *scaled.shape[2:])
        if not isinstance(scores, torch.Tensor) or tuple(scores.shape) != expected:
            found = tuple(scores.shape) if isinstance(scores, torch.Tensor) else type(scores).__name__
            raise ModelError(
                f"model '{self._spec.name}' returned {found} where scores of shape {expected} are expected, the last "
                "of them of boundaries; correct its classes, or leave geoseg:watershed out."
            )
        detections: list[Detections] = self._separate(scores)
        return detections

    @disable
    def _separate(self, scores: torch.Tensor) -> list[Detections]:
        if not torch.isfinite(scores.sum()) and not torch.isfinite(scores).all():
            raise not_finite(self._spec)
        probabilities = scores.float().sigmoid().cpu().numpy()
        settings = self._spec.watershed or Watershed()
        return [detect(item[:-1], item[-1], settings) for item in probabilities]


def detect(objects: Floats, boundary: Floats, settings: Watershed) -> Detections:
    """Find the objects of one tile.

    Parameters
    ----------
    objects : NDArray
        float32, shape (class, y, x): probabilities of lying in an object of a class.
    boundary : NDArray
        float32, shape (y, x): probability of lying at the boundary of an object.
    settings : Watershed
        Thresholds.

    Returns
    -------
    Detections
        A score is the mean probability of the object's pixels.
    """
    found = [
        _of_class(number, probability, separate(probability, boundary, settings))
        for number, probability in enumerate(objects)
    ]
    return Detections(
        tuple(window for windows, _, _, _ in found for window in windows),
        tuple(mask for _, masks, _, _ in found for mask in masks),
        np.array([number for windows, _, _, number in found for _ in windows], np.int64),
        np.array([score for _, _, scores, _ in found for score in scores], np.float32),
        np.full(sum(len(windows) for windows, _, _, _ in found), -1, np.int64),
    )


def separate(objects: Floats, boundary: Floats, settings: Watershed) -> Numbers:
    """Number the objects of one class.

    Parameters
    ----------
    objects, boundary : NDArray
        float32, shape (y, x): probabilities.
    settings : Watershed
        Thresholds.

    Returns
    -------
    NDArray
        int32, shape (y, x), 0 = none; numbers have gaps where small objects were left out.
    """
    inside = objects * (1 - boundary)
    mask = objects >= settings.threshold
    seeds, _ = label(mask & (inside >= settings.seed))
    seeds = _without_small(seeds, settings.seed_pixels)
    if not seeds.any():
        return np.zeros(mask.shape, np.int32)
    # In whole steps, so that the order in which pixels are flooded does not hang on the last bit of a float.
    depth = np.rint((1 - inside) * 255).astype(np.uint8)
    grown: Numbers = watershed(depth, seeds, mask=mask).astype(np.int32)
    return _without_small(grown, settings.min_pixels)


def _without_small(numbers: Numbers, least: int) -> Numbers:
    """Leave out what has too few pixels."""
    small = np.bincount(numbers.ravel()) < least
    small[0] = False
    return np.where(small[numbers], 0, numbers).astype(np.int32)


def _of_class(
    number: int, probability: Floats, numbers: Numbers
) -> tuple[list[Window], list[NDArray[np.bool_]], list[float], int]:
    """Window, mask and score of each object of a class."""
    windows, masks, scores = list[Window](), list[NDArray[np.bool_]](), list[float]()
    for place, slices in enumerate(find_objects(numbers), start=1):
        if slices is None:
            continue
        rows, cols = slices
        mask = numbers[slices] == place
        windows.append(Window(rows.start, cols.start, rows.stop - rows.start, cols.stop - cols.start))
        masks.append(mask)
        scores.append(float(probability[slices][mask].mean(dtype=np.float64)))
    return windows, masks, scores, number
