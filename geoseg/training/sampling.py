"""Windows drawn from scenes on the fly: where, how large, how turned.

It turns scenes into batches; what the network does with a batch is not known here. Chance begins anew with every batch,
from the recipe's seed and the batch's number: whoever draws a batch, and when, draws the same one.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from geoseg.errors import TrainingError
from geoseg.evaluation import IGNORE
from geoseg.training.augmentation import Sample, WindowView, augment, look
from geoseg.training.recipe_parts import Augmentation
from geoseg.training.scenes import LabelledImage

INDEX_LIMIT = 200_000
"""Pixels of one class that a scene's balanced draw chooses from."""


@dataclass(frozen=True)
class Batch:
    """Windows that are learnt from together.

    Attributes
    ----------
    pixels : NDArray
        float32, shape (n, band, y, x), digital numbers.
    mask : NDArray
        bool, shape (n, y, x), True = valid.
    labels : NDArray
        uint8, shape (n, y, x), as in `LabelledImage`.
    instances : NDArray
        uint32, shape (n, y, x), as in `LabelledImage`; all 0 where the scenes have none.
    """

    pixels: NDArray[np.float32]
    mask: NDArray[np.bool_]
    labels: NDArray[np.uint8]
    instances: NDArray[np.uint32]


@dataclass(frozen=True)
class Labelled:
    """Where a scene has labels of one class that may be learnt from.

    Attributes
    ----------
    scene : int
        Its number.
    positions : NDArray
        int64, flat positions of pixels; of more than `INDEX_LIMIT`, so many that are chosen by chance.
    count : int
        Pixels there are.
    """

    scene: int
    positions: NDArray[np.int64]
    count: int


@dataclass
class Sampler:
    """Draws windows from the training part of scenes.

    Some of them (``balance``) are centred, with jitter, on a pixel of a class that is drawn first, all classes being
    equally likely; the others around any labelled pixel. A scene is as likely as it has pixels to choose from, to the
    power of ``1 - scene_balance``. Held-out pixels are hidden: they are invalid and have no label.
    """

    scenes: tuple[LabelledImage, ...]
    window: int
    balance: float
    augmentation: Augmentation
    seed: int
    scene_balance: float = 0.0
    classes: dict[int, list[Labelled]] = field(init=False)
    """For each class, the scenes that show it."""

    def __post_init__(self) -> None:
        """Index the labelled pixels by class."""
        self.classes, rng = {}, np.random.default_rng(self.seed)
        for number, scene in enumerate(self.scenes):
            usable = np.where(scene.held_out | ~scene.mask, IGNORE, scene.labels).ravel()
            for value in np.unique(usable[usable != IGNORE]):
                found = np.flatnonzero(usable == value)
                count = found.size
                if count > INDEX_LIMIT:
                    found = np.sort(rng.choice(found, INDEX_LIMIT, replace=False))
                self.classes.setdefault(int(value), []).append(Labelled(number, found, count))
        if not self.classes:
            raise TrainingError(
                "no labelled pixel is left for training after the validation part is held out; "
                "label more of the images or make 'validation' smaller"
            )

    def batch(self, number: int, size: int) -> Batch:
        """Draw the ``size`` windows of the batch of a number, from 0 on."""
        rng = np.random.default_rng((self.seed, number))
        drawn = [self._draw(rng) for _ in range(size)]
        return Batch(*(np.stack(items) for items in zip(*drawn, strict=True)))

    def _draw(self, rng: np.random.Generator) -> Sample:
        number, y, x = self._centre(rng)
        scene, wanted = self.scenes[number], self.augmentation
        is_moved = wanted.angle or wanted.scale != (1.0, 1.0)
        drawn = self._moved(scene, y, x, rng) if is_moved else self._cut(scene, y, x, rng)
        return augment(drawn, wanted, rng, limit=255.0 if scene.pixels.dtype == np.uint8 else None)

    def _cut(self, scene: LabelledImage, y: int, x: int, rng: np.random.Generator) -> Sample:
        """A window of the scene as it is, shifted inwards where it would reach beyond."""
        half, (height, width) = self.window // 2, scene.labels.shape
        jitter = rng.integers(-half // 2, half // 2 + 1, size=2)
        y = int(np.clip(y + jitter[0] - half, 0, max(0, height - self.window)))
        x = int(np.clip(x + jitter[1] - half, 0, max(0, width - self.window)))
        place = slice(y, y + self.window), slice(x, x + self.window)
        mask = scene.mask[place] & ~scene.held_out[place]
        labels = np.where(mask, scene.labels[place], np.uint8(IGNORE))
        pixels = scene.pixels[:, *place].astype(np.float32)
        instances = np.zeros(mask.shape, np.uint32) if scene.instances is None else scene.instances[place]
        short = (0, self.window - mask.shape[0]), (0, self.window - mask.shape[1])
        return (
            np.pad(pixels, ((0, 0), *short)),
            np.pad(mask, short),
            np.pad(labels, short, constant_values=IGNORE),
            np.pad(instances, short),
        )

    def _moved(self, scene: LabelledImage, y: int, x: int, rng: np.random.Generator) -> Sample:
        """A window at any angle and scale around a pixel."""
        wanted = self.augmentation
        low, high = np.log(wanted.scale)
        scale = float(np.exp(rng.uniform(low, high)))
        angle = float(np.radians(rng.uniform(-wanted.angle, wanted.angle)))
        shift = rng.uniform(-self.window / 4, self.window / 4, size=2) / scale
        return look(scene, WindowView(y + 0.5 + shift[0], x + 0.5 + shift[1], 1 / scale, angle), self.window)

    def _centre(self, rng: np.random.Generator) -> tuple[int, int, int]:
        """Number of a scene, and a labelled pixel of it."""
        known = sorted(self.classes)
        if rng.random() < self.balance:
            known = [int(rng.choice(known))]
        entries = [entry for value in known for entry in self.classes[value]]
        chances = self._chances(entries)
        chosen = entries[int(rng.choice(len(entries), p=chances))]
        position = int(chosen.positions[rng.integers(chosen.positions.size)])
        y, x = divmod(position, self.scenes[chosen.scene].labels.shape[1])
        return chosen.scene, y, x

    def _chances(self, entries: list[Labelled]) -> NDArray[np.float64]:
        """How likely each entry is."""
        counts = np.array([entry.count for entry in entries], np.float64)
        numbers = np.array([entry.scene for entry in entries])
        chances = counts / np.bincount(numbers, counts)[numbers] ** self.scene_balance
        scaled: NDArray[np.float64] = chances / chances.sum()
        return scaled
