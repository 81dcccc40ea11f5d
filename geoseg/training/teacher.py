"""Labels of another model: it looks at the whole image, and its class counts where it is sure enough.

It runs any model of the catalog over one image in memory; distillation proper (soft targets) is not done.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from geoseg.catalog import find_model
from geoseg.errors import TrainingError
from geoseg.evaluation import IGNORE
from geoseg.grid import Window
from geoseg.models import Model, load_model
from geoseg.models.semantic import choose
from geoseg.models.spec import ModelSpec
from geoseg.training.recipe import Recipe
from geoseg.training.recipe_parts import Image, TeacherLabels
from geoseg.training.scenes import read_image

TEACHER_TILE = 512
"""Side of a teacher's tile at most, px: bounds its memory."""


def teacher_labels(recipe: Recipe, layer: TeacherLabels, image: Image) -> NDArray[np.uint8]:
    """Label one image by a teacher.

    Parameters
    ----------
    recipe : Recipe
        Gives the classes: the teacher's classes count by name.
    layer : TeacherLabels
        Which model, its weights file, its least confidence and the classes it is not trusted with.
    image : str or dict
        The image; it must have the teacher's bands.

    Returns
    -------
    NDArray
        uint8, shape (y, x), class indices of the recipe, 255 = not sure or not trusted.

    Raises
    ------
    TrainingError
        If the teacher has none of the recipe's classes.
    """
    spec = replace(find_model(layer.teacher), trust_model=layer.trust_model)
    if layer.weights is not None:
        spec = spec.with_weights(recipe.find(layer.weights))
    table = _class_table(recipe, layer, spec)
    pixels, mask, _, _ = read_image(recipe, image, spec.bands, spec=spec)
    classes, confidence = predict_image(load_model(spec, recipe.device), pixels, mask)
    sure = (classes != IGNORE) & (confidence >= layer.min_confidence)
    return np.where(sure, table[classes], np.uint8(IGNORE))


def _class_table(recipe: Recipe, layer: TeacherLabels, spec: ModelSpec) -> NDArray[np.uint8]:
    """Map the teacher's class indices to the recipe's, 255 where there is none."""
    names = [item.name for item in recipe.classes]
    table = np.full(IGNORE + 1, IGNORE, np.uint8)
    for index, name in enumerate(spec.class_names):
        if name in names and name not in layer.ignore:
            table[index] = names.index(name)
    if (table == IGNORE).all():
        known = ", ".join(spec.class_names)
        raise TrainingError(f"teacher '{spec.name}' has none of the recipe's classes; name them as it does: {known}")
    return table


def tiles(height: int, width: int, size: int, halo: int, multiple: int) -> Iterator[tuple[Window, Window]]:
    """Cover an image by tiles of one size.

    Yields
    ------
    tuple of Window
        What is read, which may reach beyond the image, and what is kept of it: the kept windows are disjoint and
        cover the image.
    """
    size = max(size // multiple, 1) * multiple
    halo = min(halo, max(0, (size - multiple) // 2))
    stride = size - 2 * halo
    for y in range(0, height, stride):
        for x in range(0, width, stride):
            core = Window(y, x, min(stride, height - y), min(stride, width - x))
            yield Window(y - halo, x - halo, size, size), core


def predict_image(
    model: Model,
    pixels: NDArray[np.generic],
    mask: NDArray[np.bool_],
    keep: NDArray[np.bool_] | None = None,
    look: Callable[[Window, Tensor], None] | None = None,
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Predict an image in memory, tile by tile, the halo discarded; beyond the image it is reflected.

    Parameters
    ----------
    model : Model
        Any semantic model.
    pixels : NDArray
        Shape (band, y, x), digital numbers.
    mask : NDArray
        bool, shape (y, x), True = valid.
    keep : NDArray, optional
        bool, shape (y, x): tiles without a True pixel are left out.
    look : callable, optional
        Called with a window and its probabilities, float32 (class, y, x), one after another.

    Returns
    -------
    tuple of NDArray
        Class indices uint8 (y, x), 255 = invalid or left out, and their probabilities float32 (y, x).
    """
    classes, confidence = np.full(mask.shape, IGNORE, np.uint8), np.zeros(mask.shape, np.float32)
    wanted = mask if keep is None else mask & keep
    for core, probabilities in _predictions(model, pixels, mask, wanted):
        if look is not None:
            look(core, probabilities)
        labels, best = choose(model.spec, probabilities)
        classes[core.slices()], confidence[core.slices()] = labels.numpy(), best.numpy()
    classes[~wanted] = IGNORE
    return classes, confidence


def predict_scores(
    model: Model, pixels: NDArray[np.generic], mask: NDArray[np.bool_], keep: NDArray[np.bool_] | None = None
) -> NDArray[np.float32]:
    """Predict the probabilities of all classes of an image in memory; arguments as in `predict_image`.

    Returns
    -------
    NDArray
        float32, shape (class, y, x); 0 where left out or invalid.
    """
    found = np.zeros((model.spec.score_count, *mask.shape), np.float32)
    wanted = mask if keep is None else mask & keep
    for core, probabilities in _predictions(model, pixels, mask, wanted):
        found[:, *core.slices()] = probabilities.numpy()
    return np.where(mask, found, np.float32(0))


def _predictions(
    model: Model, pixels: NDArray[np.generic], mask: NDArray[np.bool_], wanted: NDArray[np.bool_]
) -> Iterator[tuple[Window, Tensor]]:
    """Tile by tile: what is kept of a tile, and its probabilities (class, y, x) on the CPU."""
    spec, (height, width) = model.spec, mask.shape
    for tile, core in tiles(height, width, min(spec.tile_size, TEACHER_TILE), spec.halo, spec.multiple):
        if not wanted[core.slices()].any():
            continue
        rows, columns = reflected(tile.y, tile.height, height), reflected(tile.x, tile.width, width)
        found = model.predict(pixels[:, rows[:, None], columns][None], mask[np.ix_(rows, columns)][None])[0]
        yield core, found[:, *core.relative_to(tile).slices()].cpu()


def reflected(start: int, count: int, length: int) -> NDArray[np.intp]:
    """Index of ``count`` pixels from ``start`` on an axis of ``length``, reflected at its ends.

    ``m = t mod 2 (n - 1)``, then ``m`` if ``m < n`` else ``2 (n - 1) - m``; n == 1 gives 0.
    """
    period = max(1, 2 * (length - 1))
    positions = np.arange(start, start + count) % period
    return np.where(positions < length, positions, period - positions).astype(np.intp)
