"""Scenes: images in memory with their labels, and how one is read.

It turns recipe paths into arrays; what a label means is not known here. Scenes are held in their file's data type:
imagery with labels is small beside the imagery that is mapped with it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from geoseg.errors import RasterError
from geoseg.grid import Window
from geoseg.imagery.checking import check_values
from geoseg.models.spec import Band, ModelSpec
from geoseg.raster import Raster, open_raster
from geoseg.raster.bands import BandRequest
from geoseg.raster.calibration import Calibration
from geoseg.raster.placing import PLAIN_PIXELS, UPRIGHT
from geoseg.training.recipe import Recipe
from geoseg.training.recipe_parts import Image

BACKGROUND = 253
"""Label of a pixel that is known to lie in no object."""


@dataclass(frozen=True)
class LabelledImage:
    """One image with its labels.

    Attributes
    ----------
    name : str
        What it is called in tables: the name of its first file.
    pixels : NDArray
        The file's data type, shape (band, y, x).
    mask : NDArray
        bool, shape (y, x), True = valid.
    labels : NDArray
        uint8, shape (y, x), class indices, 253 = no object at all, 255 = no label.
    layers : NDArray
        uint8, shape (y, x), number of the label layer that decided the pixel, 255 = none.
    held_out : NDArray
        bool, shape (y, x), True = for validation only.
    geobox : GeoBox
        Where the pixels lie.
    instances : NDArray, optional
        uint32, shape (y, x), numbers of objects, 0 = none.
    """

    name: str
    pixels: NDArray[Any]
    mask: NDArray[np.bool_]
    labels: NDArray[np.uint8]
    layers: NDArray[np.uint8]
    held_out: NDArray[np.bool_]
    geobox: GeoBox
    instances: NDArray[np.uint32] | None = None


def read_image(
    recipe: Recipe, image: Image, bands: Sequence[BandRequest] = (), *, spec: ModelSpec | None = None
) -> tuple[NDArray[Any], NDArray[np.bool_], GeoBox, tuple[str, ...]]:
    """Read one image whole, at the recipe's resolution.

    Parameters
    ----------
    recipe : Recipe
        Gives the folder of the files and the resolution; images that are not placed on the ground are taken to have it.
    image : str or dict
        A file, or one file for each band: the first gives the grid, the others are resampled onto it.
    bands : sequence, optional
        Names or numbers of bands, or bands of a model; all of them when left out.
    spec : ModelSpec, optional
        The model that is to see the pixels: they are read in its units, and refused where they cannot be meant for it.

    Returns
    -------
    tuple
        Pixels (band, y, x) in the file's data type, mask bool (y, x), geobox, band names.
    """
    if isinstance(image, dict):
        files = {band: recipe.find(path) for band, path in image.items()}
        grid = _open(next(iter(files.values())), recipe, [1]).geobox
        raster = open_raster(
            files,
            bands=bands or None,
            geobox=grid,
            require_crs=grid.crs is not None,
            calibration=_calibration(recipe, spec),
        )
    else:
        raster = _open(recipe.find(image), recipe, bands, spec)
    if spec is not None:
        seen = replace(spec, bands=spec.bands or tuple(map(Band, raster.bands)))
        try:
            check_values(raster, seen, is_given=recipe.scale is not None or recipe.offset is not None)
        except RasterError as error:  # a recipe has keys, and no options
            raise RasterError(re.sub(r"`--scale ([^`]*)`", r"`scale: \1`", str(error))) from None
    pixels, mask = raster.read(Window(0, 0, *raster.geobox.shape))
    return pixels, mask, raster.geobox, raster.bands


def _open(path: Path | str, recipe: Recipe, bands: Sequence[BandRequest], spec: ModelSpec | None = None) -> Raster:
    """Open a file at the recipe's resolution, or as it is where it is not placed on the ground."""
    calibration = _calibration(recipe, spec)
    raster = open_raster(path, bands=bands or None, require_crs=False, calibration=calibration)
    if recipe.resolution is None or raster.geobox.crs is None:
        return raster
    return open_raster(path, bands=bands or None, resolution=recipe.resolution, calibration=calibration)


def _calibration(recipe: Recipe, spec: ModelSpec | None) -> Calibration:
    return Calibration(recipe.scale, recipe.offset, recipe.nodata, () if spec is None else spec.units)


def placed(geobox: GeoBox) -> GeoBox:
    """The grid of an image; of one without a CRS in plain pixels, in which polygons of it and maps of it lie."""
    if geobox.crs is not None:
        return geobox
    return GeoBox(geobox.shape, UPRIGHT if geobox.transform.is_identity else geobox.transform, PLAIN_PIXELS)


def content_of(scenes: Sequence[LabelledImage]) -> str:
    """Digest of what a network is trained on: pixels, labels, objects, and what is held out of them."""
    total = sha256()
    for scene in scenes:
        for array in (scene.pixels, scene.mask, scene.labels, scene.held_out, scene.instances):
            if array is not None:
                total.update(f"{array.shape} {array.dtype.str}".encode())
                total.update(np.ascontiguousarray(array).data)
    return total.hexdigest()


def image_name(image: Image) -> str:
    """What an image is called: the name of its (first) file, without its ending."""
    return Path(next(iter(image.values())) if isinstance(image, dict) else image).stem
