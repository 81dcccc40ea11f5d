"""How windows are varied: geometry, light, and what a sensor does to them.

It knows arrays and chance; a variation that is off draws no number, so that recipes which do not name it stay the same.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from geoseg.evaluation import IGNORE
from geoseg.training.recipe_parts import Augmentation
from geoseg.training.scenes import LabelledImage

Floats = NDArray[np.float32]
Sample = tuple[Floats, NDArray[np.bool_], NDArray[np.uint8], NDArray[np.uint32]]
"""Pixels float32 (band, y, x), mask bool (y, x), labels uint8 (y, x), instances uint32 (y, x) of one window."""

LEAST_BLUR = 1.05
"""Detail that is lost by a smaller factor is not lost at all."""


@dataclass(frozen=True)
class WindowView:
    """Where a window looks.

    Attributes
    ----------
    y, x : float
        Its centre, px of the scene; (0, 0) is the corner of the first pixel.
    step : float
        Scene px per window px.
    angle : float
        How far the window is turned, radians.
    """

    y: float
    x: float
    step: float
    angle: float


def look(scene: LabelledImage, view: WindowView, size: int) -> Sample:
    """Sample a window of a scene: pixels bilinearly, after averaging whole pixels where it shrinks, labels nearest.

    Parameters
    ----------
    scene : LabelledImage
        What is looked at; held-out pixels and what lies beyond it are invalid and have no label.
    view : WindowView
        Where.
    size : int
        Side of the window, px.

    """
    right = (np.arange(size) + 0.5 - size / 2) * view.step
    down = right[:, None]
    cosine, sine = math.cos(view.angle), math.sin(view.angle)
    ys, xs = (view.y + cosine * down) + sine * right, (view.x - sine * down) + cosine * right
    height, width = scene.labels.shape
    rows, cols = np.floor(ys).astype(np.int64), np.floor(xs).astype(np.int64)
    inside = (rows >= 0) & (rows < height) & (cols >= 0) & (cols < width)
    place = rows.clip(0, height - 1), cols.clip(0, width - 1)
    mask = inside & scene.mask[place] & ~scene.held_out[place]
    labels = np.where(mask, scene.labels[place], np.uint8(IGNORE))
    instances = (
        np.zeros(mask.shape, np.uint32) if scene.instances is None else np.where(mask, scene.instances[place], 0)
    )
    return _pixels(scene, ys, xs, view.step), mask, labels, instances.astype(np.uint32)


def _pixels(scene: LabelledImage, ys: NDArray[np.float64], xs: NDArray[np.float64], step: float) -> Floats:
    """Pixels at places (y, x) of the scene."""
    height, width = scene.labels.shape
    factor = max(1, int(step))
    top, left = (max(0, int(values.min()) - 2 * factor) for values in (ys, xs))
    bottom, right = (min(length, int(values.max()) + 2 * factor + 1) for values, length in ((ys, height), (xs, width)))
    if bottom <= top or right <= left:
        return np.zeros((len(scene.pixels), *ys.shape), np.float32)
    part = torch.from_numpy(scene.pixels[:, top:bottom, left:right].astype(np.float32))[None]
    if factor > 1:
        part = functional.avg_pool2d(part, factor, ceil_mode=True, count_include_pad=False)
    places = [
        2 * (values - start) / (factor * length) - 1
        for values, start, length in ((xs, left, part.shape[3]), (ys, top, part.shape[2]))
    ]
    grid = torch.from_numpy(np.stack(places, -1).astype(np.float32))[None]
    found: Floats = functional.grid_sample(part, grid, padding_mode="border", align_corners=False)[0].numpy()
    return found


def augment(sample: Sample, augmentation: Augmentation, rng: np.random.Generator, limit: float | None = None) -> Sample:
    """Turn, flip, blur and shade one window.

    Parameters
    ----------
    sample : Sample
        y == x when ``rotations`` are on.
    augmentation : Augmentation
        Which, and how strong.
    rng : numpy.random.Generator
        Where chance comes from.
    limit : float, optional
        Largest digital number of the sensor; results are cut to 0 and this.
    """
    turns = int(rng.integers(4)) if augmentation.rotations else 0
    flip = augmentation.flips and bool(rng.integers(2))
    pixels, mask, labels, instances = (_turn(item, turns, flip) for item in sample)
    shaded = shade(blurred(pixels, augmentation, rng), augmentation, rng)
    return shaded if limit is None else shaded.clip(0, limit), mask, labels, instances


def shade(pixels: Floats, augmentation: Augmentation, rng: np.random.Generator) -> Floats:
    """Vary light, air and sensor.

    Digital numbers become ``x * g * g_band + h_band + n``: ``log g ~ N(0, gain)`` is light and season,
    ``log g_band ~ N(0, band_gain)`` the colour of both, ``h_band ~ U(0, haze) * mean |x_band|`` what the air adds, and
    ``n ~ N(0, noise * mean |x_band|)`` the sensor. Before that, ``hue`` and ``saturation`` turn and stretch what lies
    off the grey axis, ``gamma`` bends the range between 0 and the largest number, ``contrast`` stretches the
    distance from the mean.
    """
    pixels = _colored(pixels, augmentation, rng)
    if augmentation.gamma:
        most = max(float(pixels.max(initial=0)), 1e-6)
        bent = most * (pixels.clip(0) / most) ** np.float32(math.exp(rng.normal(0, augmentation.gamma)))
        pixels = bent.astype(np.float32)
    if augmentation.contrast:
        mean = pixels.mean()
        stretched = mean + (pixels - mean) * np.float32(math.exp(rng.normal(0, augmentation.contrast)))
        pixels = stretched.astype(np.float32)
    shape = (pixels.shape[0], 1, 1)
    level = np.abs(pixels).mean(axis=(1, 2), keepdims=True)
    gain = np.exp(rng.normal(0, augmentation.gain) + rng.normal(0, augmentation.band_gain, shape))
    haze = rng.uniform(0, augmentation.haze, shape) * level if augmentation.haze else 0.0
    shaded = pixels * gain.astype(np.float32) + np.asarray(haze, np.float32)
    if augmentation.noise:
        grain = rng.standard_normal(pixels.shape, np.float32)
        grain *= np.float32(augmentation.noise) * level
        shaded += grain
    return shaded


def _colored(pixels: Floats, augmentation: Augmentation, rng: np.random.Generator) -> Floats:
    """Vary saturation of any bands, and hue of three."""
    if augmentation.saturation:
        grey = pixels.mean(axis=0, keepdims=True)
        pixels = grey + (pixels - grey) * np.float32(math.exp(rng.normal(0, augmentation.saturation)))
    if augmentation.hue and len(pixels) == 3:
        turn = _about_grey(math.radians(rng.uniform(-augmentation.hue, augmentation.hue)))
        pixels = np.einsum("ij,jyx->iyx", turn, pixels).astype(np.float32)
    return pixels


def _about_grey(angle: float) -> NDArray[np.float64]:
    """Turn about the axis (1, 1, 1) of three bands (Rodrigues 1840): grey stays grey."""
    cross = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / math.sqrt(3)
    turn: NDArray[np.float64] = np.eye(3) + math.sin(angle) * cross + (1 - math.cos(angle)) * cross @ cross
    return turn


def blurred(pixels: Floats, augmentation: Augmentation, rng: np.random.Generator) -> Floats:
    """Lose detail, as if the window had been resampled from coarser pixels."""
    if augmentation.blur == 1:
        return pixels
    factor = math.exp(rng.uniform(0, math.log(augmentation.blur)))
    if factor < LEAST_BLUR:
        return pixels
    sides = pixels.shape[1:]
    coarse = [max(1, round(side / factor)) for side in sides]
    reduced = functional.interpolate(torch.from_numpy(pixels)[None], coarse, mode="bilinear", antialias=True)
    found: Floats = functional.interpolate(reduced, sides, mode="bilinear")[0].numpy()
    return found


def _turn(item: NDArray[Any], turns: int, flip: bool) -> NDArray[Any]:
    """Turn the last two axes by quarter turns, then perhaps flip the last; contiguous."""
    turned = np.rot90(item, turns, axes=(-2, -1))
    return np.ascontiguousarray(np.flip(turned, axis=-1) if flip else turned)
