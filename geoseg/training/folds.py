"""Folds: every pixel of the scenes belongs to one, so that what evaluates a network was never trained on.

It knows scenes, grids and polygons, nothing of networks. What must not be parted is a group: an image, the ground
around the polygons of one value of a column, or a square of ground. Groups are dealt to folds, the largest first, each
to the fold with the fewest labelled pixels so far.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from geoseg.errors import GeosegWarning, TrainingError
from geoseg.evaluation import IGNORE
from geoseg.training.labels import polygon_groups
from geoseg.training.recipe import Recipe
from geoseg.training.scenes import LabelledImage

MOST_IMAGES = 10
"""Folds unless their number is given, where each could be one image."""

USUAL = 5
"""Folds of blocks and of values, unless their number is given."""

BLOCKS = 8
"""Squares of ground a fold, about."""

SHARED = 0.01
"""Part of the smaller of two images that others may show too."""

COLUMNS = 1 << 21
"""More squares than lie side by side."""

Numbers = NDArray[np.int32]


@dataclass(frozen=True)
class Folds:
    """Which fold each pixel belongs to.

    Attributes
    ----------
    by : str
        What stays together: ``"image"``, ``"block"``, or a column.
    names : tuple of str
        Of the folds.
    places : tuple of NDArray
        For each scene uint8, shape (y, x): number of the fold, from 0 on.
    """

    by: str
    names: tuple[str, ...]
    places: tuple[NDArray[np.uint8], ...]

    def hold_out(self, scenes: Sequence[LabelledImage], number: int) -> tuple[LabelledImage, ...]:
        """Return the scenes with one fold held out."""
        pairs = zip(scenes, self.places, strict=True)
        return tuple(replace(scene, held_out=place == number) for scene, place in pairs)


@dataclass(frozen=True)
class _Groups:
    """Groups of pixels: their names, and for each scene int32 (y, x), the number of the pixel's group."""

    names: list[str]
    places: list[Numbers]


def split_folds(recipe: Recipe, scenes: Sequence[LabelledImage]) -> Folds:
    """Deal the pixels of scenes to the folds of a recipe.

    Parameters
    ----------
    recipe : Recipe
        Gives ``folds``, ``fold_by``, ``window`` and ``seed``.
    scenes : sequence of LabelledImage
        All images, those for validation last.

    Raises
    ------
    TrainingError
        There are fewer groups with labels than folds.
    WorkflowError, VectorError
        No layer has polygons with the column.

    Warns
    -----
    GeosegWarning
        Images of different folds show the same ground.
    """
    labelled = [int(np.count_nonzero(scene.labels != IGNORE)) for scene in scenes]
    by = recipe.fold_by or ("image" if np.count_nonzero(labelled) > 1 else "block")
    if by == "image":
        groups = _by_image(recipe, scenes)
    elif by == "block":
        groups = _by_block(recipe, scenes, sum(labelled) / (BLOCKS * (recipe.folds or USUAL)))
    else:
        groups = _by_column(recipe, scenes, by)
    counts = np.zeros(len(groups.names), np.int64)
    for scene, place in zip(scenes, groups.places, strict=True):
        counts += np.bincount(place[scene.labels != IGNORE], minlength=len(counts))
    usual = MOST_IMAGES if by == "image" else USUAL
    found = int(np.count_nonzero(counts))
    number = recipe.folds or max(2, min(usual, found))
    if found < number:
        raise TrainingError(_too_few(by, found, number))
    folds = _deal(counts, number, None if by == "image" else np.random.default_rng(recipe.seed))
    names = tuple(
        _name(by, groups.names, np.flatnonzero((folds == fold) & (counts > 0)), fold) for fold in range(number)
    )
    split = Folds(by, names, tuple(folds[place] for place in groups.places))
    if by == "image":
        _warn_of_same_ground(scenes, [int(place.flat[0]) for place in split.places])
    return split


def _too_few(by: str, found: int, wanted: int) -> str:
    what = {"image": "images", "block": "squares of ground"}.get(by, f"values of column '{by}'")
    remedy = f"give --folds {found}" if found > 1 else "label more"
    if by == "image":
        remedy += ", or --fold-by block"
    elif by == "block":
        remedy += ", or a smaller window"
    return f"labels lie in {found} {what}, too few for {wanted} folds; {remedy}"


def _deal(counts: NDArray[np.int64], number: int, rng: np.random.Generator | None) -> NDArray[np.uint8]:
    """The fold of each group, uint8 (group,); equal ones go by chance, or in their order without a generator."""
    order = np.arange(len(counts)) if rng is None else rng.permutation(len(counts))
    order = order[np.argsort(-counts[order], kind="stable")]
    folds, filled = np.zeros(len(counts), np.uint8), np.zeros(number, np.int64)
    for group in order:
        folds[group] = np.argmin(filled)
        filled[folds[group]] += counts[group]
    first = [int(np.flatnonzero((folds == fold) & (counts > 0))[0]) for fold in range(number)]
    return np.argsort(np.argsort(first)).astype(np.uint8)[folds]  # folds in the order of their first groups


def _name(by: str, names: Sequence[str], groups: NDArray[np.intp], fold: int) -> str:
    """What a fold is called: its images or values, the first few of them."""
    if by == "block":
        return f"blocks {fold + 1}"
    shown = [names[group] for group in groups[:3]]
    more = f" and {len(groups) - 3} more" if len(groups) > 3 else ""
    return f"{', '.join(shown)}{more}"


def _by_image(recipe: Recipe, scenes: Sequence[LabelledImage]) -> _Groups:
    """One group a file, also where it stands in the recipe twice."""
    images = [*recipe.images, *recipe.validation_images]
    kinds = [images.index(image) for image in images]
    places = [np.full(scene.labels.shape, kind, np.int32) for scene, kind in zip(scenes, kinds, strict=True)]
    return _Groups([scene.name for scene in scenes], places)


def _by_column(recipe: Recipe, scenes: Sequence[LabelledImage], column: str) -> _Groups:
    """A pixel goes with the nearest polygon of its image, an image without polygons by itself."""
    names, places = list[str](), list[Numbers]()

    def number(name: str) -> int:
        if name not in names:
            names.append(name)
        return names.index(name)

    for scene in scenes:
        burnt, values = polygon_groups(recipe, column, scene.geobox)
        if not burnt.any():
            places.append(np.full(burnt.shape, number(scene.name), np.int32))
            continue
        rows, cols = distance_transform_edt(burnt == 0, return_distances=False, return_indices=True)
        table = np.array([-1, *(number(value) for value in values)], np.int32)
        places.append(table[burnt[rows, cols]])
    return _Groups(names, places)


def _by_block(recipe: Recipe, scenes: Sequence[LabelledImage], area: float) -> _Groups:
    """Squares of about an area, px, no smaller than a window.

    They are of the ground where all scenes have one CRS, else of each image by itself.
    """
    side = max(recipe.window, math.ceil(math.sqrt(area)))
    if scenes[0].geobox.crs is not None and len({scene.geobox.crs for scene in scenes}) == 1:
        bounds = [scene.geobox.boundingbox for scene in scenes]
        corner = min(item.left for item in bounds), max(item.top for item in bounds)
        keys = [_squares(scene, corner, side * abs(scenes[0].geobox.resolution.x)) for scene in scenes]
    else:
        keys = [_cells(scene.labels.shape, side) + (place << 42) for place, scene in enumerate(scenes)]
    known = np.unique(np.concatenate([np.unique(key) for key in keys]))
    return _Groups([str(key) for key in known], [np.searchsorted(known, key).astype(np.int32) for key in keys])


def _squares(scene: LabelledImage, corner: tuple[float, float], side: float) -> NDArray[np.int64]:
    """The square of ground of each pixel's centre, int64 (y, x), from a corner (left, top) on; side in CRS units."""
    height, width = scene.labels.shape
    rows, cols = np.arange(height)[:, None] + 0.5, np.arange(width) + 0.5
    a, b, c, d, e, f = scene.geobox.transform[:6]
    across = ((a * cols + b * rows + c - corner[0]) // side).astype(np.int64)
    down = ((corner[1] - (d * cols + e * rows + f)) // side).astype(np.int64)
    keys: NDArray[np.int64] = down * COLUMNS + across
    return keys


def _cells(shape: tuple[int, ...], side: int) -> NDArray[np.int64]:
    """The square of each pixel of one image, int64 (y, x); side in px."""
    return np.arange(shape[0])[:, None] // side * COLUMNS + np.arange(shape[1]) // side


def _warn_of_same_ground(scenes: Sequence[LabelledImage], folds: Sequence[int]) -> None:
    """Name two images of different folds that lie over each other: the one shows what evaluates the other."""
    grounds = [(scene, scene.geobox.extent, fold) for scene, fold in zip(scenes, folds, strict=True)]
    placed: list[tuple[LabelledImage, Any, int]] = [item for item in grounds if item[1].crs is not None]
    for (one, ground, fold), (other, beside, its) in combinations(placed, 2):
        if fold == its:
            continue
        beside = beside.to_crs(ground.crs)
        if ground.intersection(beside).area > SHARED * min(ground.area, beside.area):
            warnings.warn(
                f"{one.name} and {other.name} show the same ground and lie in different folds, so scores are too good; "
                "give --fold-by block",
                GeosegWarning,
                stacklevel=4,
            )
            return
