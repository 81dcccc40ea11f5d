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

BINARY = ({0}, {1}, {255}, {0, 1}, {0, 255})
"""Values of whole numbers that a mask may have."""

SLACK = 1e-3
"""How far above 1 rounding may take a score."""

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
    shape : (int, int) or None
        Rows and columns of the tile, px, where these are known.
    """

    windows: tuple[Window, ...]
    masks: tuple[Mask, ...]
    classes: Integers
    scores: ScoreArray
    prompts: Integers
    shape: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        """Refuse what does not belong together."""
        lengths = {len(self.windows), len(self.masks), len(self.classes), len(self.scores), len(self.prompts)}
        if len(lengths) > 1 or any(mask.shape != window.shape for mask, window in zip(self.masks, self.windows)):  # noqa: B905 - looked at before
            raise ModelError(
                f"detections of {sorted(lengths)} objects do not belong together; give each object one mask of its "
                "window's shape, one class, one score and one prompt."
            )

        if any(mask.dtype != np.bool_ for mask in self.masks):
            raise ModelError("masks of detections have to be bool; make them with geoseg.models.Detections.of")

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
            Shape (y, x) of the tile, or (1, y, x) as torchvision has them, looked at one at a time. Integers are taken
            where they are 0 and 1, or 0 and 255.
        classes, scores, prompts
            One an object; no prompts unless given. Classes are whole numbers, scores 0 to 1.

        Raises
        ------
        ModelError
            Masks are soft, or of several sizes, or not as many as classes and scores, or these cannot be used.
        """
        windows, kept, crops, shapes = list[Window](), list[int](), list[Mask](), list[tuple[int, ...]]()
        for number, item in enumerate(masks):
            mask = _as_mask(item)
            shapes.append(mask.shape)
            window = bounding_window(mask)
            if window.area:
                windows.append(window)
                crops.append(np.ascontiguousarray(mask[window.slices()]))
                kept.append(number)
        found = np.asarray(classes), np.asarray(scores, np.float32)
        asked = np.full(len(shapes), UNPROMPTED) if prompts is None else np.asarray(prompts)
        _check_objects(shapes, *found, asked)
        return cls(
            tuple(windows),
            tuple(crops),
            found[0].astype(np.int64)[kept],
            found[1][kept],
            asked.astype(np.int64)[kept],
            (shapes[0][0], shapes[0][1]) if shapes else None,
        )

    @classmethod
    def none(cls) -> Detections:
        """No objects at all."""
        return cls.of([], [], [])


def _as_mask(mask: Any) -> Mask:
    """A mask as bool (y, x)."""
    array: NDArray[Any] = np.asarray(mask)
    array = array[0] if array.ndim == 3 and len(array) == 1 else array
    if array.ndim != 2:
        raise ModelError(f"a mask of an object has shape {np.shape(mask)}; give each object one of shape (y, x)")
    if array.dtype == np.bool_:
        return np.asarray(array, np.bool_)
    if array.dtype.kind not in "iu" or {*np.unique(array).tolist()} not in BINARY:
        raise ModelError(
            f"a mask of an object has values from {array.min():.3g} to {array.max():.3g} ({array.dtype}) where True is "
            "the object; compare it with a number first, such as masks > 0.5"
        )
    return np.asarray(array != 0, np.bool_)


def _check_objects(
    shapes: Sequence[tuple[int, ...]], classes: NDArray[Any], scores: NDArray[Any], prompts: NDArray[Any]
) -> None:
    """Refuse masks, classes and scores that do not go together."""
    if any(item.shape != (len(shapes),) for item in (classes, scores, prompts)):
        raise ModelError(
            f"{len(shapes)} masks have classes of shape {classes.shape}, scores of shape {scores.shape} and prompts of "
            f"shape {prompts.shape}; give each object one of each"
        )
    if len(set(shapes)) > 1:
        raise ModelError(f"masks have the shapes {sorted(set(shapes))}; give all of them that of the tile, (y, x)")
    if not np.array_equal(classes, np.rint(classes)):
        raise ModelError(
            f"objects have classes such as {classes[classes != np.rint(classes)][0]}; give positions in the entry's "
            "classes, which are whole numbers"
        )
    outside = (scores < 0) | (scores > 1 + SLACK)
    if outside.any():
        raise ModelError(f"objects have scores such as {scores[outside][0]:.3g}; give each one from 0 to 1")


def bounding_window(mask: Mask) -> Window:
    """The smallest window that holds every True of a mask (y, x); empty when there is none."""
    rows, cols = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    if not rows.size:
        return Window(0, 0, 0, 0)
    top, left = int(rows[0]), int(cols[0])
    return Window(top, left, int(rows[-1]) + 1 - top, int(cols[-1]) + 1 - left)
