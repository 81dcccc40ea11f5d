"""What the property tests draw: tilings that can be laid out, rasters of awkward sizes, label maps."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from geoseg.grid import TileGrid, Tiling

Labels = NDArray[np.uint8]
Kind = Callable[[np.random.Generator, tuple[int, int]], Labels]
"""Makes a map of a shape."""


@st.composite
def tilings(draw: st.DrawFn, most: int = 24) -> Tiling:
    """Tilings of small tiles: ramp 0, halo 0 and every down-sampling factor among them."""
    multiple = draw(st.sampled_from([1, 1, 2, 4]))
    halo, ramp = draw(st.integers(0, 5)), draw(st.integers(0, 7))
    if (2 * halo + ramp) % multiple:
        ramp += multiple - (2 * halo + ramp) % multiple
    least = -(-max(1, ramp) // multiple)
    stride = multiple * draw(st.integers(least, max(least, most // multiple)))
    return Tiling(stride + 2 * halo + ramp, halo, ramp, multiple)


@st.composite
def grids(draw: st.DrawFn, longest: int = 90) -> TileGrid:
    """Grids over rasters from one pixel on, smaller and larger than a tile."""
    shape = (draw(st.integers(1, longest)), draw(st.integers(1, longest)))
    return TileGrid(shape, draw(tilings()), (draw(st.integers(1, 4)), draw(st.integers(1, 4))))


@st.composite
def pixels(draw: st.DrawFn, shape: tuple[int, int], bands: int = 2) -> NDArray[np.uint8]:
    """Noise, uint8 (band, y, x)."""
    seed = draw(st.integers(0, 2**32 - 1))
    return np.random.default_rng(seed).integers(0, 256, (bands, *shape), dtype=np.uint8)


def _noise(rng: np.random.Generator, shape: tuple[int, int]) -> Labels:
    return rng.integers(0, rng.integers(1, 5), shape).astype(np.uint8)


def _stripes(rng: np.random.Generator, shape: tuple[int, int]) -> Labels:
    y, x = np.indices(shape)
    return ((y * rng.integers(0, 2) + x * rng.integers(0, 2)) // rng.integers(1, 4) % 3).astype(np.uint8)


def _checkerboard(rng: np.random.Generator, shape: tuple[int, int]) -> Labels:
    y, x = np.indices(shape) // rng.integers(1, 4)
    return ((x + y) % 2).astype(np.uint8)


def _spiral(_: np.random.Generator, shape: tuple[int, int]) -> Labels:
    labels = np.zeros(shape, np.uint8)
    y, x, direction = 0, 0, 0
    steps = [(0, 1), (1, 0), (0, -1), (-1, 0)]
    labels[0, 0] = 1
    for _step in range(labels.size):
        dy, dx = steps[direction]
        ahead, beyond = (y + dy, x + dx), (y + 2 * dy, x + 2 * dx)
        inside = 0 <= ahead[0] < shape[0] and 0 <= ahead[1] < shape[1]
        touches = 0 <= beyond[0] < shape[0] and 0 <= beyond[1] < shape[1] and labels[beyond] == 1
        if not inside or labels[ahead] == 1 or touches:
            direction = (direction + 1) % 4
            continue
        y, x = ahead
        labels[y, x] = 1
    return labels


def _blobs(rng: np.random.Generator, shape: tuple[int, int]) -> Labels:
    size = int(rng.integers(2, 6))
    coarse = rng.integers(0, 4, (shape[0] // size + 2, shape[1] // size + 2)).astype(np.uint8)
    return np.kron(coarse, np.ones((size, size), np.uint8))[1 : shape[0] + 1, 1 : shape[1] + 1]


def nested(rng: np.random.Generator, shape: tuple[int, int]) -> Labels:
    """Islands in lakes in islands, all over the map."""
    labels = np.full(shape, 3, np.uint8)
    for _ in range(int(rng.integers(1, 4))):
        top, left = (int(rng.integers(-2, size // 2 + 1)) for size in shape)
        height, width = (int(rng.integers(size // 2, size + 4)) for size in shape)
        for depth in range(min(height, width) // 2 + 1):
            inner = np.s_[max(top + depth, 0) : top + height - depth, max(left + depth, 0) : left + width - depth]
            if rng.random() < 0.7:
                labels[inner] = rng.choice([0, 1, 255, 255])
    return labels


def _one_class(_: np.random.Generator, shape: tuple[int, int]) -> Labels:
    return np.full(shape, 3, np.uint8)


KINDS = (_noise, _stripes, _checkerboard, _spiral, _blobs, nested, _one_class)


@st.composite
def label_maps(draw: st.DrawFn, longest: int = 24, kinds: Sequence[Kind] = KINDS) -> Labels:
    """Maps of every kind that is hard on a tracer, with and without holes of nodata (255)."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = (draw(st.integers(1, longest)), draw(st.integers(1, longest)))
    labels = draw(st.sampled_from(kinds))(rng, shape)
    labels[rng.random(shape) < draw(st.sampled_from([0, 0, 0.1, 0.5, 1]))] = 255
    return labels


@st.composite
def cuts(draw: st.DrawFn, length: int) -> list[int]:
    """Where blocks begin along an axis, and its end."""
    inner = draw(st.sets(st.integers(1, max(1, length - 1)), max_size=8))
    return sorted({0, length} | {cut for cut in inner if cut < length})
