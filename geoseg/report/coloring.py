"""Pixels to colours, and pictures to bytes that are no more than they may be.

It knows arrays and classes, not files.
"""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from geoseg.report.record import LegendClass
from geoseg.report.thinning import Pixels

Colors = NDArray[np.uint8]

STRETCH = (0.5, 99.0)
"""Percentiles of each band that become black and white."""

GAMMA = 0.7
"""Below 1 brightens what is dark: reflectances crowd there."""

LOWEST_QUALITY = 40
"""WebP quality below which a picture is made smaller instead."""

SMALLEST = 64
"""Px of a picture's longer side below which it is not made smaller."""


def stretched(pixels: Pixels) -> tuple[Colors, NDArray[np.bool_]]:
    """Stretch bands to what the eye sees, each by itself: that takes haze away.

    Parameters
    ----------
    pixels : float32 (band, y, x)
        Three bands or one; NaN where there is no data.

    Returns
    -------
    colors : uint8 (y, x, 3)
        0 where there is no data.
    mask : bool (y, x)
        True = data.
    """
    mask = ~np.asarray(np.isnan(pixels).any(axis=0))
    shown = np.zeros((*mask.shape, len(pixels)), np.uint8)
    for band, layer in enumerate(pixels):
        if mask.any():
            values = layer[mask]
            low, high = map(float, np.percentile(values, STRETCH))
            part = ((values - low) / max(high - low, 1e-9)).clip(0, 1)
            shown[mask, band] = np.rint(255 * part**GAMMA)
    colors: Colors = np.repeat(shown, 3, axis=2) if len(pixels) == 1 else shown
    return colors, mask


def palette_of(classes: Sequence[LegendClass], background: tuple[int, int, int]) -> Colors:
    """Colours by label, uint8 (256, 3); labels that are no class are background."""
    palette = np.tile(np.array(background, np.uint8), (256, 1))
    for item in classes:
        palette[item.value] = item.rgb
    return palette


def webp_within(colors: Colors, mask: NDArray[np.bool_], limit: int) -> bytes:
    """Encode a picture as WebP within so many bytes: first with less quality, then at half the size.

    Parameters
    ----------
    colors : uint8 (y, x, 3)
        The picture.
    mask : bool (y, x)
        False = transparent.
    limit : int
        Bytes.
    """
    alpha = [] if mask.all() else [np.where(mask, 255, 0).astype(np.uint8)]
    picture = Image.fromarray(np.dstack([colors, *alpha]))
    while True:
        for quality in range(86, LOWEST_QUALITY - 1, -15):
            data = io.BytesIO()
            picture.save(data, "WEBP", quality=quality, method=2)
            if data.tell() <= limit or max(picture.size) <= SMALLEST:
                return data.getvalue()
        picture = picture.resize((max(1, picture.width // 2), max(1, picture.height // 2)), Image.Resampling.BOX)
