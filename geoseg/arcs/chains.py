"""Many polylines of pixel corners as ragged arrays.

It knows coordinates only; what a chain bounds is the business of whoever holds it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Coordinates = NDArray[np.int32]
Integers = NDArray[np.int64]
Floats = NDArray[np.float64]
Corners = NDArray[np.uint16]

NO_CORNERS = np.empty((0, 3), np.uint16)
NONE_SPARE = np.empty(0, np.bool_)


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
    corners : uint16, shape (vertex, 3)
        How corners are rounded, as `smoothing` says: from which part of the edge before to which part of the edge
        after, in 1 / 1024, and by how many chords; 0 where a vertex stays. Shape (0, 3) where all do.
    spare : bool, shape (vertex,)
        Vertices that go, and take the place of rounded corners until then, if the chain may be simplified. Shape (0,)
        where none is.
    """

    offsets: Integers
    x: Coordinates
    y: Coordinates
    corners: Corners = field(default_factory=NO_CORNERS.copy)
    spare: NDArray[np.bool_] = field(default_factory=NONE_SPARE.copy)

    def __len__(self) -> int:
        """Count the chains."""
        return len(self.offsets) - 1

    def take(self, index: Integers) -> Chains:
        """Return some of the chains."""
        place, offsets = gather(self.offsets, index)
        return self._at(offsets, place)

    def keep(self, kept: NDArray[np.bool_]) -> Chains:
        """Return all chains with some of their vertices."""
        return self._at(np.append(0, np.cumsum(kept))[self.offsets], kept)

    def _at(self, offsets: Integers, vertex: Integers | NDArray[np.bool_]) -> Chains:
        corners = self.corners[vertex] if len(self.corners) else self.corners
        spare = self.spare[vertex] if len(self.spare) else self.spare
        return Chains(offsets, self.x[vertex], self.y[vertex], corners, spare)

    @classmethod
    def concatenate(cls, parts: list[Chains]) -> Chains:
        """Put chains one after another."""
        lengths = [np.diff(part.offsets) for part in parts]
        corners, spare = [NO_CORNERS], [NONE_SPARE]
        if any(len(part.corners) for part in parts):
            corners = [part.corners if len(part.corners) else np.zeros((len(part.x), 3), np.uint16) for part in parts]
        if any(len(part.spare) for part in parts):
            spare = [part.spare if len(part.spare) else np.zeros(len(part.x), np.bool_) for part in parts]
        return cls(
            offsets_of(np.concatenate([np.empty(0, np.int64), *lengths])),
            np.concatenate([np.empty(0, np.int32), *(part.x for part in parts)]),
            np.concatenate([np.empty(0, np.int32), *(part.y for part in parts)]),
            np.concatenate(corners),
            np.concatenate(spare),
        )


def offsets_of(lengths: Integers) -> Integers:
    """Where runs of these lengths begin when they follow one another, and the end."""
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


def gather(starts: Integers, index: Integers) -> tuple[Integers, Integers]:
    """Positions of the members of some runs, and the offsets of these runs once they follow one another."""
    lengths = np.diff(starts)[index]
    begins = offsets_of(lengths)
    return np.arange(begins[-1]) + np.repeat(starts[index] - begins[:-1], lengths), begins
