"""The picture of a card: what the model makes of a held-out image.

It shows the imagery beside the map, or the map alone where the imagery may not be shown.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from geoseg.files import write_file
from geoseg.models import load_model
from geoseg.models.separating import scoring_spec
from geoseg.models.spec import ModelSpec
from geoseg.training.detection import detect_image
from geoseg.training.goals import Found, paint_objects
from geoseg.training.recipe import Recipe
from geoseg.training.scenes import LabelledImage
from geoseg.training.teacher import predict_image, predict_scores

PICTURE = "map.jpg"

CAPTIONS = {
    "imagery": "Left: held-out imagery. Right: the map of this model.",
    "map": "The map of this model on held-out imagery.",
}

SIDE = 720
"""Px of the scene that are shown, at most, down and across."""

PAPER = np.array([245, 243, 238], np.uint8)
"""Colour of pixels without a class."""


def write_picture(recipe: Recipe, scenes: tuple[LabelledImage, ...], spec: ModelSpec, path: Path) -> None:
    """Draw the first image that has a held-out part, or else the first, cut to `SIDE` px in its middle.

    Parameters
    ----------
    recipe : Recipe
        Says whether imagery may be shown.
    scenes : tuple of LabelledImage
        All images.
    spec : ModelSpec
        The trained model, with its weights.
    path : Path
        The JPEG file.
    """
    scene = next((scene for scene in scenes if scene.held_out.any()), scenes[0])
    shown = scene.held_out if scene.held_out.any() else scene.mask
    rows, cols = (np.flatnonzero(shown.any(axis)) for axis in (1, 0))
    place = tuple(_middle(int(found[0]), int(found[-1]) + 1) for found in (rows, cols))
    pixels, mask = scene.pixels[:, *place], scene.mask[place]
    drawn = _objects(recipe, spec, pixels, mask) if recipe.finds_objects else _classes(recipe, spec, pixels, mask)
    if recipe.picture == "imagery":
        drawn = np.concatenate([_shown(pixels, mask, spec), drawn], axis=1)
    write_file(path, lambda unfinished: Image.fromarray(drawn).save(unfinished, "JPEG", quality=88))


def _middle(start: int, stop: int) -> slice:
    spare = max(0, stop - start - SIDE)
    return slice(start + spare // 2, start + spare // 2 + min(SIDE, stop - start))


def _classes(recipe: Recipe, spec: ModelSpec, pixels: NDArray[Any], mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """The classes in their colours."""
    classes, _ = predict_image(load_model(spec, recipe.device), pixels, mask)
    colors = np.full((256, 3), PAPER)
    colors[: len(spec.classes)] = [_rgb(item.color) for item in spec.classes]
    found: NDArray[np.uint8] = colors[classes]
    return found


def _objects(recipe: Recipe, spec: ModelSpec, pixels: NDArray[Any], mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """The objects in shades of their class's colour, with their edges."""
    labels, instances, _ = _found(recipe, spec, pixels, mask)
    colors = np.array([*(_rgb(item.color) for item in spec.classes), PAPER], np.float64)
    shades = np.random.default_rng(0).uniform(0.55, 1.25, instances.max(initial=0) + 1)
    shades[0] = 1.0
    drawn: NDArray[np.uint8] = (colors[labels] * shades[instances][..., None]).clip(0, 255).astype(np.uint8)
    edges = np.zeros(labels.shape, np.bool_)
    edges[1:] |= instances[1:] != instances[:-1]
    edges[:, 1:] |= instances[:, 1:] != instances[:, :-1]
    drawn[edges] = 30
    return drawn


def _found(recipe: Recipe, spec: ModelSpec, pixels: NDArray[Any], mask: NDArray[np.bool_]) -> Found:
    """The objects, by watershed of scores or as the model itself finds them."""
    if spec.watershed is None:
        return detect_image(load_model(spec, recipe.device), pixels, mask)
    model = load_model(scoring_spec(spec), recipe.device)
    return paint_objects(predict_scores(model, pixels, mask), spec.watershed)


def _shown(pixels: NDArray[Any], mask: NDArray[np.bool_], spec: ModelSpec) -> NDArray[np.uint8]:
    """Red, green and blue stretched to what the eye sees; the first three bands, or one, where they are not named."""
    names = [band.common_name for band in spec.bands]
    bands = [names.index(name) for name in ("red", "green", "blue")] if {"red", "green", "blue"} <= set(names) else [0]
    bands = bands if len(bands) == 3 or len(pixels) < 3 else [0, 1, 2]
    chosen = pixels[bands * (3 // len(bands))].astype(np.float64)
    low, high = np.percentile(chosen[:, mask], [1, 99]) if mask.any() else (0.0, 1.0)
    scaled = ((chosen - low) / max(high - low, 1e-9) * 255).clip(0, 255).astype(np.uint8)
    return np.ascontiguousarray(np.where(mask, scaled, 0).transpose(1, 2, 0))


def _rgb(color: str) -> tuple[int, ...]:
    return tuple(int(color[start : start + 2], 16) for start in (1, 3, 5))
