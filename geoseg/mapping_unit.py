"""The minimum mapping unit: what a face or an object of each class must have to stay.

It knows numbers of classes and of pixels; not what they are called, nor how large a pixel is on the ground.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class MappingUnit:
    """How large a face or an object has to be, by its class.

    Attributes
    ----------
    pixels : int
        Pixels, or the units of `PixelAreas`, for classes that are not among ``by_class``; 1 keeps all.
    by_class : tuple of (int, int)
        Labels and the same for each, sorted.
    """

    pixels: int = 1
    by_class: tuple[tuple[int, int], ...] = ()

    @property
    def keeps_all(self) -> bool:
        """Whether nothing is too small."""
        return max([self.pixels, *(pixels for _, pixels in self.by_class)]) <= 1

    def of(self, labels: NDArray[Any]) -> NDArray[np.int64]:
        """What a face of each of these labels must have, int64 of the same shape."""
        least = np.full(labels.shape, self.pixels, np.int64)
        for label, pixels in self.by_class:
            least[labels == label] = pixels
        return least

    def ungrouped(self, groups: Mapping[int, int]) -> MappingUnit:
        """The same for classes that are parts of others: for each, the class that it is a part of."""
        least = dict(self.by_class)
        parts = ((part, least[label]) for part, label in groups.items() if label in least)
        return MappingUnit(self.pixels, tuple(sorted(parts)))

    def to_arrays(self) -> dict[str, NDArray[np.int64]]:
        """Everything as plain arrays, each under a name."""
        return {
            "unit.pixels": np.array(self.pixels, np.int64),
            "unit.by_class": np.array(self.by_class, np.int64).reshape(-1, 2),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> MappingUnit:
        """Make a unit of what `to_arrays` gave; KeyError when something is missing."""
        by_class = ((int(label), int(pixels)) for label, pixels in arrays["unit.by_class"])
        return cls(int(arrays["unit.pixels"]), tuple(by_class))


KEEP_ALL = MappingUnit()
"""Nothing is too small."""
