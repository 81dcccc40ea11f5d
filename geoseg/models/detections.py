"""Objects that a model found in one tile: what instance models return, whatever their family.

A mask is kept within its own rectangle, because a tile may hold hundreds of small objects. It knows arrays and windows,
nothing of networks or of how objects of several tiles become one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoseg.errors import ModelError
from geoseg.grid import Window

UNPROMPTED = -1
"""The prompt of an unprompted object."""

Mask = NDArray[np.bool_]
Integers = NDArray[np.int64]
ScoreArray = NDArray[np.float32]


@dataclass(frozen=True)
class Detections:
    """Objects of one tile, in any order; masks may overlap.

    Attributes
    ----------
    windows : tuple of Window
        Smallest rectangle of each mask, px of the tile.
    masks : tuple of bool array
        Shape (y, x) of the window, True = object; none is empty.
    classes : int64 array
        Shape (object,): positions in the spec's classes.
    scores : float32 array
        Shape (object,), 0 to 1.
    prompts : int64 array
        Shape (object,): `geoseg.models.prompts.Prompt.id` of the prompt that an object answers, -1 = none.
    """

    windows: tuple[Window, ...]
    masks: tuple[Mask, ...]
    classes: Integers
    scores: ScoreArray
    prompts: Integers

    def __post_init__(self) -> None:
        """Refuse what does not belong together."""
        lengths = {len(self.windows), len(self.masks), len(self.classes), len(self.scores), len(self.prompts)}
        if len(lengths) > 1 or any(mask.shape != window.shape for mask, window in zip(self.masks, self.windows)):  # noqa: B905 - looked at before
            raise ModelError(
                f"detections of {sorted(lengths)} objects do not belong together; give each object one mask of its "
                "window's shape, one class, one score and one prompt."
            )

    def __len__(self) -> int:
        return len(self.masks)

    @property
    def boxes(self) -> Integers:
        """Left, top, right, bottom of each mask, px, int64 (object, 4); right and bottom are exclusive."""
        corners = [(window.x, window.y, window.right, window.bottom) for window in self.windows]
        return np.array(corners, np.int64).reshape(-1, 4)

    @classmethod
    def of(
        cls,
        masks: Iterable[Mask],
        classes: Sequence[int] | NDArray[Any],
        scores: Sequence[float] | NDArray[Any],
        prompts: Sequence[int] | NDArray[Any] | None = None,
    ) -> Detections:
        """Make detections of masks of the whole tile; empty ones are left out.

        Parameters
        ----------
        masks : iterable of bool array
            Shape (y, x) of the tile, looked at one at a time.
        classes, scores, prompts
            One an object; no prompts unless given.
        """
        windows, kept, crops = [], [], []
        for number, mask in enumerate(masks):
            window = bounding_window(mask)
            if window.area:
                windows.append(window)
                crops.append(np.ascontiguousarray(mask[window.slices()]))
                kept.append(number)
        asked = np.full(len(classes), UNPROMPTED) if prompts is None else np.asarray(prompts)
        return cls(
            tuple(windows),
            tuple(crops),
            np.asarray(classes, np.int64)[kept],
            np.asarray(scores, np.float32)[kept],
            asked.astype(np.int64)[kept],
        )

    @classmethod
    def none(cls) -> Detections:
        """No objects at all."""
        return cls.of([], [], [])


def bounding_window(mask: Mask) -> Window:
    """The smallest window that holds every True of a mask (y, x); empty when there is none."""
    rows, cols = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    if not rows.size:
        return Window(0, 0, 0, 0)
    top, left = int(rows[0]), int(cols[0])
    return Window(top, left, int(rows[-1]) + 1 - top, int(cols[-1]) + 1 - left)
