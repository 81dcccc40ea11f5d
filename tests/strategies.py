"""What the property tests draw: tilings that can be laid out, rasters of awkward sizes, label maps."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from geoseg.grid import TileGrid, Tiling


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
