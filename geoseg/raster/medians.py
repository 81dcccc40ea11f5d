"""The median over several images of one place: per pixel and band, of what is valid there.

Arrays in, arrays out, in compiled loops; it knows no files. A pixel's median depends on that pixel alone, so it is the
same, bit for bit, in every window.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

_FEW = 32  # values up to which sorting by insertion is faster


def medians(pixels: NDArray[Any], masks: NDArray[np.bool_]) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Take the median of each pixel and band over images.

    Of an even number of values it is the mean of the two in the middle; integers are rounded, halves to the even one.

    Parameters
    ----------
    pixels : ndarray, shape (image, band, y, x)
        The images.
    masks : ndarray of bool, shape (image, y, x)
        True = valid, in all bands.

    Returns
    -------
    pixels : ndarray, shape (band, y, x), the same dtype
        0 where no image is valid.
    mask : ndarray of bool, shape (y, x)
        True where some image is valid.
    """
    count, bands, height, width = pixels.shape
    result = np.zeros((bands, height * width), pixels.dtype)
    _fill(pixels.reshape(count, bands, -1), masks.reshape(count, -1), result, pixels.dtype.kind in "iu")
    return result.reshape(bands, height, width), np.asarray(masks.any(axis=0))


@njit(cache=True, nogil=True)
def _fill(pixels: NDArray[Any], masks: NDArray[np.bool_], result: NDArray[Any], is_whole: bool) -> None:
    """Sort the valid values of each pixel, and take the middle."""
    images, bands, _ = pixels.shape
    values = np.empty(images, pixels.dtype)
    for place in range(result.shape[1]):
        for band in range(bands):
            count = 0
            for image in range(images):
                if masks[image, place]:
                    values[count] = pixels[image, band, place]
                    count += 1
            if count == 0:
                break
            _sort(values, count)
            upper = values[count // 2]
            if count % 2:
                result[band, place] = upper
                continue
            mean = values[count // 2 - 1] * 0.5 + upper * 0.5
            result[band, place] = np.rint(mean) if is_whole else mean


@njit(cache=True, nogil=True)
def _sort(values: NDArray[Any], count: int) -> None:
    """Sort the first values in place."""
    if count > _FEW:
        values[:count] = np.sort(values[:count])
        return
    for position in range(1, count):
        value = values[position]
        before = position - 1
        while before >= 0 and values[before] > value:
            values[before + 1] = values[before]
            before -= 1
        values[before + 1] = value
