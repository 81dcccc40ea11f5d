"""A factory of small rasters on disk for tests: it writes with rasterio alone and knows nothing of geoseg."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.enums import ColorInterp, Resampling
from rasterio.errors import NotGeoreferencedWarning

TEN_METRES = Affine(10.0, 0.0, 440_000.0, 0.0, -10.0, 4_200_000.0)
"""Ten-metre pixels in EPSG:32618, north up."""


def write_raster(
    path: str | Path,
    pixels: NDArray[Any],
    *,
    transform: Affine | None = TEN_METRES,
    crs: Any = "EPSG:32618",
    nodata: float | None = None,
    mask: NDArray[np.bool_] | None = None,
    sidecar: bool = False,
    descriptions: Sequence[str | None] | None = None,
    colorinterp: Sequence[str] | None = None,
    overviews: Sequence[int] = (),
    driver: str = "GTiff",
    **creation: Any,
) -> Path:
    """Write pixels as a raster and return its path.

    Parameters
    ----------
    path : path
        Where; its folder must exist.
    pixels : ndarray, shape (band, y, x) or (y, x)
        The values, in the type the file gets.
    transform, crs
        The placement; None leaves it out.
    nodata : float, optional
        The declared nodata value.
    mask : ndarray of bool, shape (y, x), optional
        True = valid: written as the file's own mask, or beside it as ``.msk`` when ``sidecar``.
    descriptions : sequence of str or None, optional
        The bands' names.
    colorinterp : sequence of str, optional
        The bands' colour interpretations, such as ``["red", "green", "blue", "alpha"]``.
    overviews : sequence of int, optional
        Factors of the overviews to build (nearest).
    driver, **creation
        The format and its creation options, such as ``tiled=True``, ``blockxsize=64``, ``compress="deflate"``.
    """
    path = Path(path)
    layers = pixels[np.newaxis] if pixels.ndim == 2 else pixels
    count, height, width = layers.shape
    if colorinterp is not None and driver == "GTiff":
        rgb = list(colorinterp[:3]) == ["red", "green", "blue"]
        creation = {"photometric": "RGB" if rgb else "MINISBLACK", "alpha": "NO"} | creation
    profile: dict[str, Any] = {
        "driver": driver, "count": count, "height": height, "width": width, "dtype": layers.dtype.name,
        "nodata": nodata, "crs": crs, "transform": transform,
    }  # fmt: skip
    with warnings.catch_warnings(), rasterio.Env(GDAL_TIFF_INTERNAL_MASK=not sidecar):
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(path, "w", **profile, **creation) as dataset:
            if colorinterp is not None:
                dataset.colorinterp = [ColorInterp[name] for name in colorinterp]
            dataset.write(layers)
            for index, description in enumerate(descriptions or (), start=1):
                if description is not None:
                    dataset.set_band_description(index, description)
            if mask is not None:
                dataset.write_mask(mask)
        if overviews:
            with rasterio.open(path, "r+") as dataset:
                dataset.build_overviews(list(overviews), Resampling.nearest)
    return path


def noise(count: int, height: int, width: int, dtype: str = "uint8", seed: int = 0) -> NDArray[Any]:
    """Return reproducible noise, shape (band, y, x), from 1 to 120: it fits every type and is never 0."""
    return np.random.default_rng(seed).integers(1, 121, (count, height, width)).astype(dtype)
