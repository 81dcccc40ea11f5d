"""What marks objects in one tile: points, boxes, masks and words.

Plain data between the reader of a layer of prompts and promptable models; it knows pixels of a tile.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from geoseg.errors import ModelError

Box = tuple[float, float, float, float]
"""Left, top, right, bottom, px from the tile's upper left corner."""


@dataclass(frozen=True, eq=False)
class Prompt:
    """What marks one object.

    Attributes
    ----------
    id : int
        The same in every tile, 0 or more: what two tiles find for it is one object; -1 for what a text stands for.
    points : float32 array
        Shape (point, 2): x, y, px from the tile's upper left corner, so a pixel's centre lies at a half.
    positive : bool array
        Shape (point,): True = on the object, False = beside it.
    box : Box or None
        Around the object, cut to the tile.
    mask : bool array or None
        Shape (y, x) of the tile: roughly the object.
    """

    id: int
    points: NDArray[np.float32] = field(default_factory=lambda: np.empty((0, 2), np.float32))
    positive: NDArray[np.bool_] = field(default_factory=lambda: np.empty(0, np.bool_))
    box: Box | None = None
    mask: NDArray[np.bool_] | None = None

    @classmethod
    def at(cls, id: int, x: float, y: float) -> Prompt:  # noqa: A002 - the word of the attribute
        """Mark the object at one point, px from the tile's upper left corner."""
        return cls(id, np.array([[x, y]], np.float32), np.ones(1, np.bool_))


@dataclass(frozen=True, eq=False)
class Prompts:
    """What is asked of one tile; nothing at all asks for everything.

    Attributes
    ----------
    objects : tuple of Prompt
        One for each object that is wanted.
    text : str or None
        What every object is to be, in words.
    """

    objects: tuple[Prompt, ...] = ()
    text: str | None = None


def refuse_prompts(name: str, prompts: Sequence[Prompts]) -> None:
    """Refuse prompts for a model of that name, which finds everything.

    Raises
    ------
    ModelError
        A prompt asks for something.
    """
    if any(item.objects or item.text for item in prompts):
        raise ModelError(
            f"model '{name}' finds every object of its classes and takes no prompts; leave them out, or choose a model "
            "of the SAM family."
        )
