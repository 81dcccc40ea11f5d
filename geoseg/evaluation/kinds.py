"""Whether a raster holds classes or numbers of objects: its names say so, or the values and shapes of a sample.

It knows rasters, not tasks. A class lies in many places, an object in one; so what is looked at is how many places a
value has. Where that says nothing, nothing is guessed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from skimage.measure import label

from geoseg.raster import Raster, read_labels, read_legend, sample_windows

SCATTERED = 2.0
"""Places of a value, on average, from which the values are classes."""

WHOLE = 1.25
"""Places of a value, on average, up to which many values are objects, some of which are cut."""

MANY = 16
"""Values from which those that have one place each are objects."""

MOST = 255
"""Classes, at most."""

LARGEST = 2**16
"""Classes have smaller values."""


@dataclass(frozen=True)
class Look:
    """What a raster seems to hold.

    Attributes
    ----------
    kind : str or None
        ``"classes"``, ``"objects"``, or None where a sample does not tell.
    is_sure : bool
        Whether it can be nothing else.
    values : frozenset of int
        Values that have names, else those of the sample, without 0.
    is_byte : bool
        Whether its numbers have one byte, as maps of classes have.
    """

    kind: Literal["classes", "objects"] | None
    is_sure: bool
    values: frozenset[int]
    is_byte: bool


def look_at(raster: Raster) -> Look:
    """Look at names and values of a raster of labels."""
    is_byte, names = raster.dtype.itemsize == 1, read_legend(raster).names
    if names:
        return Look("classes", True, frozenset(names), is_byte)
    values: set[int] = set()
    places = 0
    for window in sample_windows(raster.shape):
        labels, mask = read_labels(raster, window)
        known = np.where(mask & (labels > 0), labels, 0)
        values |= set(np.unique(known).tolist()) - {0}
        places += int(label(known, background=0, connectivity=1).max())
    kind, is_sure = _kind(values, places, is_byte)
    return Look(kind, is_sure, frozenset(values), is_byte)


def _kind(values: set[int], places: int, is_byte: bool) -> tuple[Literal["classes", "objects"] | None, bool]:
    """What values are that lie in so many places, and whether that is sure."""
    is_scattered = bool(values) and places >= SCATTERED * len(values)
    if len(values) > MOST or max(values, default=0) >= LARGEST:  # objects, or codes such as those of crops in Europe
        return (None, False) if is_scattered else ("objects", True)
    if is_scattered:
        return "classes", True
    if is_byte or places > WHOLE * len(values):
        return None, False
    return "objects", len(values) >= MANY
