"""Many polylines of pixel corners as ragged arrays.

It knows coordinates only; what a chain bounds is the business of whoever holds it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Coordinates = NDArray[np.int32]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Chains:
    """Polylines of pixel corners, one after another.

    Attributes
    ----------
    offsets : int64, shape (chain + 1,)
        Where each chain begins in ``x`` and ``y``, and the end.
    x, y : int32, shape (vertex,)
        Column and row of pixel corners, counted from the raster's upper left one. A closed chain repeats its first
        vertex.
    """

    offsets: Integers
    x: Coordinates
    y: Coordinates

    def __len__(self) -> int:
        """Count the chains."""
        return len(self.offsets) - 1

    def take(self, index: Integers) -> Chains:
        """Return some of the chains."""
        place, offsets = gather(self.offsets, index)
        return Chains(offsets, self.x[place], self.y[place])

    @classmethod
    def concatenate(cls, parts: list[Chains]) -> Chains:
        """Put chains one after another."""
        lengths = [np.diff(part.offsets) for part in parts]
        return cls(
            offsets_of(np.concatenate([np.empty(0, np.int64), *lengths])),
            np.concatenate([np.empty(0, np.int32), *(part.x for part in parts)]),
            np.concatenate([np.empty(0, np.int32), *(part.y for part in parts)]),
        )


def offsets_of(lengths: Integers) -> Integers:
    """Where runs of these lengths begin when they follow one another, and the end."""
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


def gather(starts: Integers, index: Integers) -> tuple[Integers, Integers]:
    """Positions of the members of some runs, and the offsets of these runs once they follow one another."""
    lengths = np.diff(starts)[index]
    begins = offsets_of(lengths)
    return np.arange(begins[-1]) + np.repeat(starts[index] - begins[:-1], lengths), begins
