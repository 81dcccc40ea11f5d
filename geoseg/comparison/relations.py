"""Objects of two maps: which of them are kept, split, merged, changed, gone or new, by what they share.

It knows areas of objects and of their pairs, as an evaluation counts them; where objects come from, and what they look
like, stands elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geoseg.evaluation.matching import pair_overlaps
from geoseg.evaluation.overlaps import Bools, Floats, Integers, Overlaps

STATES = "kept", "split", "merged", "changed", "gone", "new"
"""What becomes of objects, in the order in which it is told."""

KEPT, SPLIT, MERGED, CHANGED, GONE, NEW = range(len(STATES))

MOST = 0.5
"""Share of an object above which it lies inside another one."""

LEAST = 0.1
"""Share of an object from which another one has to do with it."""

_NONE = -1

States = NDArray[np.int8]


@dataclass(frozen=True, eq=False)
class Relations:
    """What became of objects, and what came of which.

    Attributes
    ----------
    first, second : NDArray
        int64, shape (row,): positions of the objects of the two maps, -1 = none.
    states : NDArray
        int8, shape (row,): positions in `STATES`.
    pairs : NDArray
        int64, shape (row,): position of the pair in the overlaps, -1 = none.
    of_first, of_second : NDArray
        int8, shape (object,): what became of each object of the first map, and how each of the second came to be.
    """

    first: Integers
    second: Integers
    states: States
    pairs: Integers
    of_first: States
    of_second: States


def relate(overlaps: Overlaps, iou: float) -> Relations:
    """Find out what became of each object.

    With shares of known areas, and a tenth as what counts:

    - **split**: one object of the first map with two or more of the second, each by more than half inside it, each with
      a tenth of it at least;
    - **merged**: the reverse;
    - **kept**: of the others, pairs with an intersection over union of ``iou`` at least, each object in one pair, the
      best pairs first;
    - **gone**, **new**: an object without any other that shares a tenth of it at least;
    - **changed**: everything else, beside the one that it shares most with.

    Parameters
    ----------
    overlaps : Overlaps
        Of the objects.
    iou : float
        Above 0.

    Returns
    -------
    Relations
        A row for each pair, and for each object that is gone or new.
    """
    first, second = overlaps.first, overlaps.second
    share_first, share_second = shares(overlaps)
    split = _several(first, (share_second > MOST) & (share_first >= LEAST))
    merged = _several(second, (share_first > MOST) & (share_second >= LEAST))
    of_pair = np.full(len(first), _NONE, np.int8)
    of_first = np.full(len(overlaps.trues), GONE, np.int8)
    of_second = np.full(len(overlaps.found), NEW, np.int8)
    for state, chosen in ((CHANGED, split & merged), (SPLIT, split & ~merged), (MERGED, merged & ~split)):
        of_pair[chosen], of_first[first[chosen]], of_second[second[chosen]] = state, state, state
    kept = _paired(overlaps, iou)
    kept = kept[(of_first[first[kept]] == GONE) & (of_second[second[kept]] == NEW)]
    of_pair[kept], of_first[first[kept]], of_second[second[kept]] = KEPT, KEPT, KEPT
    for owner, share, states, alone in ((first, share_first, of_first, GONE), (second, share_second, of_second, NEW)):
        best = _largest(owner, overlaps.shared)
        best = best[(states[owner[best]] == alone) & (share[best] >= LEAST)]
        of_pair[best], states[owner[best]] = CHANGED, CHANGED
    return _rows(overlaps, of_pair, of_first, of_second)


def shares(overlaps: Overlaps) -> tuple[Floats, Floats]:
    """What each pair shares, as parts of its two objects, 0 to 1."""
    known = overlaps.found_areas - overlaps.hidden
    return overlaps.shared / overlaps.true_areas[overlaps.first], overlaps.shared / known[overlaps.second]


def _several(owner: Integers, chosen: Bools) -> Bools:
    """Those of chosen pairs whose owner has two or more."""
    counts = np.bincount(owner[chosen], minlength=int(owner.max(initial=-1)) + 1)
    result: Bools = chosen & (counts[owner] > 1)
    return result


def _paired(overlaps: Overlaps, iou: float) -> Integers:
    """Positions of pairs one to one, the best first."""
    one, other, _ = pair_overlaps(overlaps, iou, np.ones(len(overlaps.found)))
    size = len(overlaps.found)
    return np.searchsorted(overlaps.first * size + overlaps.second, one * size + other)


def _largest(owner: Integers, shared: Floats) -> Integers:
    """Position of the pair that each owner shares most in; of several the first."""
    order = np.lexsort((-shared, owner))
    return order[np.flatnonzero(np.diff(owner[order], prepend=-1))]


def _rows(overlaps: Overlaps, of_pair: States, of_first: States, of_second: States) -> Relations:
    """Pairs that say something, then what is gone, then what is new; objects without a known pixel are left out."""
    pairs = np.flatnonzero(of_pair != _NONE)
    gone = np.flatnonzero(of_first == GONE)
    new = np.flatnonzero((of_second == NEW) & (overlaps.found_areas > overlaps.hidden))
    alone = [np.full(len(some), _NONE) for some in (gone, new)]
    return Relations(
        np.concatenate([overlaps.first[pairs], gone, alone[1]]),
        np.concatenate([overlaps.second[pairs], alone[0], new]),
        np.concatenate([of_pair[pairs], np.full(len(gone), GONE), np.full(len(new), NEW)]).astype(np.int8),
        np.concatenate([pairs, *alone]),
        of_first,
        of_second,
    )
