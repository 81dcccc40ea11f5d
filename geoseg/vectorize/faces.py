"""Faces of one label array: which pixels belong together, their sums, and their polygons.

A face is a 4-connected region of one label. This module is the seam behind which another tracer may come: it knows
arrays only, nothing of blocks, coordinates on earth, or files.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import rasterio.features
from numpy.typing import NDArray

from geoseg.vectorize.connected import components
from geoseg.vectorize.rings import Integers, Rings, canonical

CERTAIN = 255
"""A confidence of 1.0."""

Labels = NDArray[np.uint8]


@dataclass(frozen=True)
class Faces:
    """Polygons with what was counted inside them, sorted by key.

    Attributes
    ----------
    label : int64, shape (face,)
        The label that all pixels of the face have.
    pixels : int64, shape (face,)
        Number of pixels.
    confidence_sum : int64, shape (face,)
        Sum of the confidence of its pixels, 255 = certain.
    key : int64, shape (face,)
        ``y * raster width + x`` of the face's first pixel; no two faces have the same.
    rings : Rings
        The polygons in pixel coordinates, in canonical form.
    """

    label: Integers
    pixels: Integers
    confidence_sum: Integers
    key: Integers
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
        return Faces(self.label[index], self.pixels[index], self.confidence_sum[index], self.key[index],
                     self.rings.take(index))  # fmt: skip

    @classmethod
    def empty(cls) -> Faces:
        """No faces."""
        none = np.empty(0, np.int64)
        return cls(none, none, none, none, Rings.empty())

    @classmethod
    def concatenate(cls, parts: Sequence[Faces]) -> Faces:
        """Put faces one after another."""
        parts = [cls.empty(), *parts]
        return cls(
            np.concatenate([part.label for part in parts]),
            np.concatenate([part.pixels for part in parts]),
            np.concatenate([part.confidence_sum for part in parts]),
            np.concatenate([part.key for part in parts]),
            Rings.concatenate([part.rings for part in parts]),
        )


@dataclass(frozen=True)
class NumberedFaces:
    """Pixels numbered by face.

    Attributes
    ----------
    number : int32, shape (y, x)
        The face of each pixel, in raster order of first pixels; -1 = nodata.
    first : int64, shape (face,)
        ``y * width + x`` of each face's first pixel.
    pixels, confidence_sum : int64, shape (face,)
        Counts and sums.
    """

    number: NDArray[np.int32]
    first: Integers
    pixels: Integers
    confidence_sum: Integers


def polygonize(labels: Labels, *, confidence: Labels | None = None, nodata: int = 255) -> Faces:
    """Turn labels into polygons, one for each 4-connected region of equal labels.

    Parameters
    ----------
    labels : uint8, shape (y, x)
        Classes.
    confidence : uint8, shape (y, x), optional
        How sure each pixel is, 255 = certain; without it every pixel is.
    nodata : int
        The label that is never a face.

    Returns
    -------
    Faces
        In raster order of their first pixels.
    """
    numbered = number_faces(labels, confidence, nodata)
    return outline(labels, numbered)


def number_faces(labels: Labels, confidence: Labels | None, nodata: int) -> NumberedFaces:
    """Find which pixels belong together.

    Runs of equal labels in a row are the nodes, runs that touch in neighbouring rows the links: a raster has far
    fewer runs than pixels. Two touching runs share a column where at least one of them starts, so the links are
    looked up at starts only.
    """
    is_start = np.ones(labels.shape, bool)
    is_start[:, 1:] = labels[:, 1:] != labels[:, :-1]
    starts = np.flatnonzero(is_start)
    run = np.cumsum(is_start.ravel(), dtype=np.int32).reshape(labels.shape) - 1
    touches = (labels[1:] == labels[:-1]) & (is_start[1:] | is_start[:-1])
    root = components(len(starts), run[:-1][touches], run[1:][touches])

    is_valid = labels.ravel()[starts] != nodata
    is_root = is_valid & (root == np.arange(len(starts)))
    face = np.where(is_valid, (np.cumsum(is_root) - 1)[root], -1).astype(np.int32)
    lengths = np.diff(starts, append=labels.size)
    sums = lengths * CERTAIN if confidence is None else _sums_of_runs(confidence, starts)
    return NumberedFaces(
        face[run],
        starts[is_root].astype(np.int64),
        _sums_of_faces(lengths, face, int(is_root.sum())),
        _sums_of_faces(sums, face, int(is_root.sum())),
    )


def outline(labels: Labels, numbered: NumberedFaces) -> Faces:
    """Trace the polygons of numbered pixels."""
    label = labels.ravel()[numbered.first].astype(np.int64)
    rings = canonical(_traced(numbered.number, len(label)))
    return Faces(label, numbered.pixels, numbered.confidence_sum, numbered.first, rings)


def _sums_of_runs(values: Labels, starts: Integers) -> Integers:
    return np.add.reduceat(values.ravel(), starts, dtype=np.int64) if len(starts) else np.empty(0, np.int64)


def _sums_of_faces(values: Integers, face: NDArray[np.int32], count: int) -> Integers:
    """Sum a value of each run by face; exact below 2 ** 53."""
    valid = face >= 0
    return np.bincount(face[valid], weights=values[valid], minlength=count).astype(np.int64)


def _traced(number: NDArray[np.int32], count: int) -> Rings:
    """Polygons of numbered pixels, in the order of the numbers."""
    if count == 0:
        return Rings.empty()
    shapes = rasterio.features.shapes(number, mask=number >= 0, connectivity=4)
    polygons: list[list[list[tuple[float, float]]]] = [[]] * count
    for polygon, value in shapes:
        polygons[int(value)] = polygon["coordinates"]
    rings = list(chain.from_iterable(polygons))
    xy = np.fromiter(chain.from_iterable(chain.from_iterable(rings)), np.float64)
    return Rings(
        xy.astype(np.int64).reshape(-1, 2),
        np.cumsum([0, *map(len, rings)], dtype=np.int64),
        np.cumsum([0, *map(len, polygons)], dtype=np.int64),
    )
