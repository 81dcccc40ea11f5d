"""Faces: polygons of pixel corners with what was counted inside them.

It knows numbers and rings; not what a label means, nor where the raster lies on earth.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geoseg.arcs.chains import Integers
from geoseg.arcs.rings import Rings

CERTAIN = 255
"""A confidence of 1.0."""


@dataclass(frozen=True)
class Faces:
    """Polygons with what was counted inside them, sorted by group and key.

    Attributes
    ----------
    label : int64, shape (face,)
        Class.
    pixels : int64, shape (face,)
        Number of pixels.
    confidence_sum : int64, shape (face,)
        Sum of the pixels' confidence, 255 = certain.
    key : int64, shape (face,)
        ``y * width + x`` of the first pixel in the raster: the same for every layout of blocks.
    group : int64, shape (face,)
        The smallest key of the faces that are one feature; the face's own where corners do not count as contact.
    rings : Rings
        The polygons, in pixel corners.
    """

    label: Integers
    pixels: Integers
    confidence_sum: Integers
    key: Integers
    group: Integers
    rings: Rings

    def __len__(self) -> int:
        """Count the faces."""
        return len(self.key)

    @property
    def geometry(self) -> NDArray[np.object_]:
        """Shapely polygons in pixel coordinates (x = column, y = row of pixel corners)."""
        return self.rings.to_polygons()

    def take(self, index: Integers) -> Faces:
        """Return some of the faces."""
        return Faces(
            self.label[index],
            self.pixels[index],
            self.confidence_sum[index],
            self.key[index],
            self.group[index],
            self.rings.take(index),
        )

    @classmethod
    def empty(cls) -> Faces:
        """No faces."""
        none = np.empty(0, np.int64)
        return cls(none, none, none, none, none, Rings.empty())

    @classmethod
    def concatenate(cls, parts: Sequence[Faces]) -> Faces:
        """Put faces one after another, and sort them."""
        parts = [cls.empty(), *parts]
        faces = cls(
            np.concatenate([part.label for part in parts]),
            np.concatenate([part.pixels for part in parts]),
            np.concatenate([part.confidence_sum for part in parts]),
            np.concatenate([part.key for part in parts]),
            np.concatenate([part.group for part in parts]),
            Rings.concatenate([part.rings for part in parts]),
        )
        return faces.take(np.lexsort((faces.key, faces.group)))
