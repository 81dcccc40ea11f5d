"""Objects by a Mask R-CNN: what it is to find in a window, how wrong it is, and what it finds in a whole image.

It knows windows with numbered objects and detections of tiles; how the network is built is the matter of its adapter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import find_objects
from torch import Tensor, nn

from geoseg.grid import TileGrid, Window
from geoseg.instances import LOCAL, InstanceTable, TileObjects, meet, paint_core, unite
from geoseg.models import ObjectModel, wrap
from geoseg.models.maskrcnn import Finder, in_order
from geoseg.models.spec import ModelSpec
from geoseg.models.watershed import Watershed
from geoseg.planning import tiling_of
from geoseg.segmentation import detect_block
from geoseg.training.goals import Found, HeldOutEvaluation, Targets, device_of, evaluate_objects
from geoseg.training.recipe import Recipe
from geoseg.training.sampling import Batch
from geoseg.training.scenes import BACKGROUND, LabelledImage

LEAST = 12
"""Objects of which a window shows fewer pixels are not looked for in it."""


class MaskRCNNGoal:
    """Objects, by a network that finds each of them and draws its mask.

    Parameters
    ----------
    recipe : Recipe
        Nothing of it is asked: the losses are the network's own.
    spec : ModelSpec
        The model.
    """

    def __init__(self, recipe: Recipe, spec: ModelSpec) -> None:
        self._recipe, self._spec = recipe, spec

    def targets(self, batch: Batch) -> Targets:
        """See `Goal.targets`: the ``objects`` of each window as `targets_of` gives them, and what is ``known``."""
        known = (batch.labels == BACKGROUND) | _is_object(batch.labels, batch.instances, len(self._spec.classes))
        windows = zip(batch.labels, batch.instances, strict=True)
        objects = [targets_of(*window, len(self._spec.classes)) for window in windows]
        return {"objects": objects, "known": torch.from_numpy(known)}

    def loss(self, network: nn.Module, inputs: Tensor, targets: Targets) -> Tensor:
        """See `Goal.loss`: the sum of the losses of He et al. 2017, section 3, and of the proposals.

        What has no label is hidden from the network, like what lies beyond an image: otherwise an object there would
        count as wrong when it is found, and as right when it is not.
        """
        shown = inputs * targets["known"].to(inputs.device)[:, None]
        placed = [{name: item.to(inputs.device) for name, item in found.items()} for found in targets["objects"]]
        losses: dict[str, Tensor] = network(list(shown), placed)
        return torch.stack([loss.float() for loss in losses.values()]).sum()

    def evaluate(self, network: nn.Module, scenes: Sequence[LabelledImage]) -> HeldOutEvaluation:
        """See `Goal.evaluate`: tiles, painting and merging are those of a run, the score that of `evaluate_objects`."""
        model = wrap(Finder(self._spec.name, network, in_order(self._spec)), self._spec, device_of(network))

        def find(scene: LabelledImage, judged: NDArray[np.bool_]) -> Found:
            return detect_image(model, scene.pixels, scene.mask, judged)

        return evaluate_objects(self._spec, scenes, find)

    def evaluate_each(
        self, network: nn.Module, scenes: Sequence[LabelledImage], settings: Sequence[Watershed | None]
    ) -> list[HeldOutEvaluation]:
        """See `Goal.evaluate_each`."""
        return [self.evaluate(network, scenes)] * len(settings)


def targets_of(labels: NDArray[np.uint8], instances: NDArray[np.uint32], classes: int) -> dict[str, Tensor]:
    """What torchvision's detectors learn from in one window.

    Parameters
    ----------
    labels, instances : NDArray
        uint8 and uint32, shape (y, x), as in `LabelledImage`.
    classes : int
        How many there are.

    Returns
    -------
    dict of str to Tensor
        ``boxes`` float32 (object, 4): left, top, right, bottom, px, where the centre of a pixel is a whole number, as
        it is where torchvision cuts masks out of boxes; ``labels`` int64 (object,): 1 + class, of most of its pixels;
        ``masks`` uint8 (object, y, x).
    """
    shown = np.where(_is_object(labels, instances, classes), instances, 0)
    values, dense = np.unique(np.append(shown, np.uint32(0)), return_inverse=True)
    dense = dense[:-1].reshape(shown.shape)
    sizes = np.bincount(dense.ravel(), minlength=len(values))
    boxes, kinds, masks = [], [], []
    for number, place in enumerate(find_objects(dense), start=1):
        if place is None or sizes[number] < LEAST:
            continue
        mask = np.zeros(shown.shape, np.uint8)
        mask[place] = dense[place] == number
        rows, cols = place
        boxes.append([edge - 0.5 for edge in (cols.start, rows.start, cols.stop, rows.stop)])
        kinds.append(1 + int(np.bincount(labels[mask > 0]).argmax()))
        masks.append(mask)
    return {
        "boxes": torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        "labels": torch.tensor(kinds, dtype=torch.int64),
        "masks": torch.from_numpy(np.array(masks, np.uint8).reshape(-1, *shown.shape)),
    }


def _is_object(labels: NDArray[np.uint8], instances: NDArray[np.uint32], classes: int) -> NDArray[np.bool_]:
    """Pixels of a class and of an object; those of a class alone tell nothing of objects."""
    found: NDArray[np.bool_] = (labels < classes) & (instances > 0)
    return found


@dataclass(frozen=True)
class Held:
    """An image in memory, as blocks read one.

    Attributes
    ----------
    pixels : NDArray
        Shape (band, y, x).
    valid, wanted : NDArray
        bool, shape (y, x): pixels with data, and where objects are looked for.
    """

    pixels: NDArray[Any]
    valid: NDArray[np.bool_]
    wanted: NDArray[np.bool_]

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width, px."""
        return self.valid.shape[0], self.valid.shape[1]

    def read(self, window: Window) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """See `geoseg.segmentation.tiles.PixelSource`."""
        return self.pixels[:, *window.slices()], self.valid[window.slices()]

    def mask(self, window: Window) -> NDArray[np.bool_]:
        """See `geoseg.segmentation.tiles.MaskSource`."""
        return self.wanted[window.slices()]


def detect_image(
    model: ObjectModel, pixels: NDArray[Any], mask: NDArray[np.bool_], keep: NDArray[np.bool_] | None = None
) -> Found:
    """Find the objects of an image in memory, in tiles, as a run does.

    Parameters
    ----------
    model : ObjectModel
        What finds them.
    pixels : NDArray
        Shape (band, y, x), digital numbers.
    mask : NDArray
        bool, shape (y, x), True = valid.
    keep : NDArray, optional
        bool, shape (y, x): tiles without a True pixel are left out, and objects are cut to these pixels.
    """
    spec, image = model.spec, Held(pixels, mask, mask if keep is None else keep)
    grid = TileGrid(image.shape, tiling_of(spec, image.shape), (max(image.shape),) * 2)
    block = grid.block(0, 0)
    tiles = detect_block(image, model, grid, block, region=image)
    labels, instances = np.full(mask.shape, len(spec.classes), np.uint8), np.zeros(mask.shape, np.int64)
    if not tiles:
        return labels, instances, np.empty(0)

    def look(row: int, col: int) -> TileObjects | None:
        return tiles.get((row, col))

    united = unite(_table(tiles, grid), meet(grid, block, look))
    painted = paint_core(grid, block, look)
    instances[painted >= 0] = united.ids[np.searchsorted(united.keys, painted[painted >= 0])]
    values = np.array([item.value for item in spec.classes])
    kinds = np.append(len(values), np.argmax(united.classes[:, None] == values, axis=1))
    return kinds[instances].astype(np.uint8), instances, united.scores.astype(np.float64)


def _table(tiles: dict[tuple[int, int], TileObjects], grid: TileGrid) -> InstanceTable:
    """The objects of all tiles, by key."""
    places = sorted(tiles)
    keys = [(row * grid.cols.tiles + col) * LOCAL + 1 + np.arange(len(tiles[row, col])) for row, col in places]
    columns = [
        np.concatenate([getattr(tiles[place], name) for place in places]) for name in ("classes", "scores", "prompts")
    ]
    return InstanceTable(np.concatenate(keys).astype(np.int64), *columns)


def probed(spec: ModelSpec, scenes: Sequence[LabelledImage]) -> dict[str, Any]:
    """What `geoseg.models.probe.measure_edge` is to look at: in made-up pixels a detector finds nothing that differs.

    Returns
    -------
    dict
        Its ``size`` and ``pixels``: the largest image, in tiles of half its side at most; nothing when all images are
        too small.
    """
    largest = max(scenes, key=lambda scene: min(scene.mask.shape))
    size = min(spec.tile_size, min(largest.mask.shape) // 2) // (2 * spec.multiple) * 2 * spec.multiple
    return {"size": size, "pixels": largest.pixels} if size else {}
