"""Segments: connected pixels of one label, followed from block to block.

Each block labels the pieces that it has of a label, and pieces of neighbouring blocks that touch are one segment. What
is kept are numbers of pieces, so memory grows with the pieces of a segment and not with its pixels. It knows blocks and
labels, not where they are kept.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from geoseg.probabilities import Labels

PIECES = 4
"""Blocks whose pieces are remembered."""

_CROSS = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]], bool)

Place = tuple[int, int]
Numbers = NDArray[np.int32]


@dataclass(frozen=True)
class Segment:
    """Connected pixels of one label.

    Attributes
    ----------
    label : int
        Theirs.
    pieces : dict
        Numbers of pieces by block.
    """

    label: int
    pieces: dict[Place, set[int]] = field(default_factory=dict)


class SegmentMap:
    """The segments of a map that is cut into blocks.

    Parameters
    ----------
    read : callable
        Gives the labels of a block, uint8 (y, x); None where there is none.
    connectivity : int
        4, or 8: pixels that touch at a corner are connected too.
    """

    def __init__(self, read: Callable[[Place], Labels | None], connectivity: int) -> None:
        self._structure = np.ones((3, 3), bool) if connectivity == 8 else _CROSS
        self._reach = int(connectivity == 8)
        self._steps = [(y, x) for y in (-1, 0, 1) for x in (-1, 0, 1) if 0 < abs(y) + abs(x) <= 1 + self._reach]
        self._pieces = lru_cache(maxsize=PIECES)(self._find_pieces)
        self._read = read

    def inside(self, segment: Segment, place: Place) -> NDArray[np.bool_]:
        """The pixels of a segment in a block that it has pieces in, bool (y, x)."""
        return np.isin(self._numbers(place, segment.label), list(segment.pieces[place]))

    def at(self, place: Place, row: int, col: int, label: int) -> Segment:
        """The segment of a label that a pixel of a block lies in; row and column are the block's own."""
        segment = Segment(label)
        number = int(self._numbers(place, label)[row, col])
        waiting = deque([(place, {number})])
        while waiting:
            here, numbers = waiting.popleft()
            new = numbers - segment.pieces.setdefault(here, set())
            if new:
                segment.pieces[here] |= new
                waiting.extend(self._touching(here, label, new))
        return segment

    def has(self, segment: Segment, place: Place, row: int, col: int) -> bool:
        """Say whether a pixel of a block lies in a segment."""
        return place in segment.pieces and int(self._numbers(place, segment.label)[row, col]) in segment.pieces[place]

    def _touching(self, place: Place, label: int, numbers: set[int]) -> Iterator[tuple[Place, set[int]]]:
        """Pieces of the blocks around that touch pieces of a block."""
        own = self._numbers(place, label)
        for down, across in self._steps:
            other = place[0] + down, place[1] + across
            edge = np.isin(own[_edge(down), _edge(across)], list(numbers)).ravel()
            if not edge.any():
                continue
            pieces = self._pieces(other, label)
            if pieces is None:
                continue
            if self._reach:  # corners count
                beyond = np.pad(edge, 1)
                edge = beyond[:-2] | edge | beyond[2:]
            found = set(np.unique(pieces[_edge(-down), _edge(-across)].ravel()[edge]).tolist()) - {0}
            if found:
                yield other, found

    def _numbers(self, place: Place, label: int) -> Numbers:
        pieces = self._pieces(place, label)
        if pieces is None:
            raise KeyError(place)
        return pieces

    def _find_pieces(self, place: Place, label: int) -> Numbers | None:
        """Number the pieces of a label in a block, int32 (y, x), 0 = none."""
        labels = self._read(place)
        if labels is None:
            return None
        from scipy import ndimage  # where segments are looked for: most runs have none

        numbers: Numbers = ndimage.label(labels == label, self._structure)[0]
        return numbers


def _edge(step: int) -> slice:
    """The rows, or columns, of a block that lie at its side in a direction."""
    return {-1: slice(0, 1), 0: slice(None), 1: slice(-1, None)}[step]
