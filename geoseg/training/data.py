"""Training data: scenes in memory, and windows drawn from them on the fly.

It turns recipe paths into arrays and arrays into batches; what a label means, and what the network does
with a batch, is not known here. Scenes are held in their file's data type: imagery with labels is small beside
the imagery that is mapped with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from geoseg.errors import TrainingError
from geoseg.evaluation import IGNORE
from geoseg.grid import Window
from geoseg.raster import open_raster
from geoseg.raster.bands import BandRequest
from geoseg.training.recipe import Augmentation, Image, Recipe

INDEX_LIMIT = 200_000
"""Pixels of one class that a scene's balanced draw chooses from."""


@dataclass(frozen=True)
class Scene:
    """One image with its labels.

    Attributes
    ----------
    pixels : NDArray
        The file's data type, shape (band, y, x).
    mask : NDArray
        bool, shape (y, x), True = valid.
    labels : NDArray
        uint8, shape (y, x), class indices, 255 = no label.
    layers : NDArray
        uint8, shape (y, x), number of the label layer that decided the pixel, 255 = none.
    held_out : NDArray
        bool, shape (y, x), True = for validation only.
    geobox : GeoBox
        Where the pixels lie.
    """

    pixels: NDArray[Any]
    mask: NDArray[np.bool_]
    labels: NDArray[np.uint8]
    layers: NDArray[np.uint8]
    held_out: NDArray[np.bool_]
    geobox: GeoBox


def read_image(
    recipe: Recipe, image: Image, bands: Sequence[BandRequest] = ()
) -> tuple[NDArray[Any], NDArray[np.bool_], GeoBox, tuple[str, ...]]:
    """Read one image whole, at the recipe's resolution.

    Parameters
    ----------
    recipe : Recipe
        Gives the folder of the files and the resolution.
    image : str or dict
        A file, or one file for each band: the first gives the grid, the others are resampled onto it.
    bands : sequence, optional
        Names or numbers of bands, or bands of a model; all of them when left out.

    Returns
    -------
    tuple
        Pixels (band, y, x) in the file's data type, mask bool (y, x), geobox, band names.
    """
    if isinstance(image, dict):
        files = {band: recipe.find(path) for band, path in image.items()}
        grid = open_raster(next(iter(files.values())), bands=[1], resolution=recipe.resolution).geobox
        raster = open_raster(files, bands=bands or None, geobox=grid)
    else:
        raster = open_raster(recipe.find(image), bands=bands or None, resolution=recipe.resolution)
    pixels, mask = raster.read(Window(0, 0, *raster.geobox.shape))
    return pixels, mask, raster.geobox, raster.bands


@dataclass
class Sampler:
    """Draws windows from the training part of scenes.

    Half of them (``balance``) are centred, with jitter, on a pixel of a class that is drawn first, all classes being
    equally likely; the others lie anywhere. Held-out pixels are hidden: they are invalid and have no label.
    """

    scenes: tuple[Scene, ...]
    window: int
    balance: float
    augmentation: Augmentation
    rng: np.random.Generator
    positions: dict[int, list[tuple[int, NDArray[np.int64]]]] = field(init=False)
    """For each class, scenes and flat positions of its training pixels."""

    def __post_init__(self) -> None:
        """Index the labelled pixels by class."""
        self.positions = {}
        for number, scene in enumerate(self.scenes):
            usable = np.where(scene.held_out | ~scene.mask, IGNORE, scene.labels).ravel()
            for value in np.unique(usable[usable != IGNORE]):
                found = np.flatnonzero(usable == value)
                if found.size > INDEX_LIMIT:
                    found = np.sort(self.rng.choice(found, INDEX_LIMIT, replace=False))
                self.positions.setdefault(int(value), []).append((number, found))
        if not self.positions:
            raise TrainingError(
                "no labelled pixel is left for training after the validation part is held out; "
                "label more of the images or make 'validation' smaller"
            )

    def batch(self, size: int) -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.uint8]]:
        """Draw ``size`` windows.

        Returns
        -------
        tuple
            Pixels float32 (n, band, y, x) in digital numbers, mask bool (n, y, x), labels uint8 (n, y, x).
        """
        drawn = [self._draw() for _ in range(size)]
        pixels, mask, labels = (np.stack(items) for items in zip(*drawn, strict=True))
        return pixels, mask, labels

    def _draw(self) -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.uint8]]:
        number, y, x = self._centre()
        scene, half = self.scenes[number], self.window // 2
        height, width = scene.labels.shape
        jitter = self.rng.integers(-half // 2, half // 2 + 1, size=2)
        y = int(np.clip(y + jitter[0] - half, 0, max(0, height - self.window)))
        x = int(np.clip(x + jitter[1] - half, 0, max(0, width - self.window)))
        rows, columns = slice(y, y + self.window), slice(x, x + self.window)
        mask = scene.mask[rows, columns] & ~scene.held_out[rows, columns]
        labels = np.where(mask, scene.labels[rows, columns], np.uint8(IGNORE))
        pixels = scene.pixels[:, rows, columns].astype(np.float32)
        short = (0, self.window - mask.shape[0]), (0, self.window - mask.shape[1])
        pixels = np.pad(pixels, ((0, 0), *short))
        mask, labels = np.pad(mask, short), np.pad(labels, short, constant_values=IGNORE)
        return augment(pixels, mask, labels, self.augmentation, self.rng)

    def _centre(self) -> tuple[int, int, int]:
        if self.rng.random() < self.balance:
            entries = self.positions[int(self.rng.choice(sorted(self.positions)))]
        else:
            entries = [entry for value in sorted(self.positions) for entry in self.positions[value]]
        sizes = np.array([found.size for _, found in entries], dtype=np.float64)
        number, found = entries[int(self.rng.choice(len(entries), p=sizes / sizes.sum()))]
        position = int(found[self.rng.integers(found.size)])
        y, x = divmod(position, self.scenes[number].labels.shape[1])
        return number, y, x


def augment(
    pixels: NDArray[np.float32],
    mask: NDArray[np.bool_],
    labels: NDArray[np.uint8],
    augmentation: Augmentation,
    rng: np.random.Generator,
) -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.uint8]]:
    """Turn, flip and shade one window.

    Digital numbers become ``x * g * g_band + h_band + n``: ``log g ~ N(0, gain)`` is light and season,
    ``log g_band ~ N(0, band_gain)`` the colour of both, ``h_band ~ U(0, haze) * mean |x_band|`` what the air adds, and
    ``n ~ N(0, noise * mean |x_band|)`` the sensor.

    Parameters
    ----------
    pixels : NDArray
        float32, shape (band, y, x), y == x when ``rotations`` are on.
    mask, labels : NDArray
        Shape (y, x).
    augmentation : Augmentation
        Which, and how strong.
    rng : numpy.random.Generator
        Where chance comes from.
    """
    turns = int(rng.integers(4)) if augmentation.rotations else 0
    flip = augmentation.flips and bool(rng.integers(2))
    pixels, mask, labels = _turn(pixels, turns, flip), _turn(mask, turns, flip), _turn(labels, turns, flip)
    shape = (pixels.shape[0], 1, 1)
    level = np.abs(pixels).mean(axis=(1, 2), keepdims=True)
    gain = np.exp(rng.normal(0, augmentation.gain) + rng.normal(0, augmentation.band_gain, shape))
    haze = rng.uniform(0, augmentation.haze, shape) * level if augmentation.haze else 0.0
    shaded = pixels * gain + haze
    if augmentation.noise:
        shaded = shaded + rng.normal(0, 1, pixels.shape) * augmentation.noise * level
    return shaded.astype(np.float32), mask, labels


def _turn(item: NDArray[Any], turns: int, flip: bool) -> NDArray[Any]:
    """Turn the last two axes by quarter turns, then perhaps flip the last; contiguous."""
    turned = np.rot90(item, turns, axes=(-2, -1))
    return np.ascontiguousarray(np.flip(turned, axis=-1) if flip else turned)
