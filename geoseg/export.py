"""From stored blocks to rasters of labels, instances, confidence and probabilities, streamed.

It runs on a worker and reads only the run folder, so that memory stays flat and polygons are written at the same time.
It knows nothing of how blocks came to be. Each kind of raster is a row of `PRODUCTS`.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoseg.errors import InputWarning
from geoseg.files import write_file
from geoseg.grid import Window
from geoseg.models.background import probable_classes
from geoseg.models.spec import ClassSpec, class_attributes
from geoseg.planning import Plan
from geoseg.probabilities import LEVELS, NO_INTEGER, NODATA, SCALE
from geoseg.raster import write_cog
from geoseg.raster.cog import Resampling
from geoseg.raster.zarr import shards_of, write_zarr
from geoseg.store import LabelStore, RunFolder
from geoseg.vector import styles

STRIPE = 2048
"""Rows of a raster read at once, at most, px."""

STRIPE_BYTES = 64 * 2**20
"""Bytes read at once, about."""

Read = Callable[[LabelStore, slice, slice], NDArray[Any]]
"""Gives rows and columns of a run: (y, x), or (band, y, x)."""


@dataclass(frozen=True)
class Product:
    """A raster that a run can write.

    Attributes
    ----------
    read : callable
        Reads it from the run folder.
    description : str
        Name of the variable, or of a single band.
    dtype : str
        Of its numbers.
    nodata : int
        The number of pixels without data.
    overview_resampling : str
        As of `geoseg.raster.write_cog`.
    scale : float
        What a number x means: ``scale * x``.
    bands : callable
        Names of the bands of a run; without any there is one band.
    """

    read: Read
    description: str
    dtype: str
    nodata: int
    overview_resampling: Resampling
    scale: float = 1.0
    bands: Callable[[Plan], tuple[str, ...]] = lambda _: ()

    def bytes_per_pixel(self, plan: Plan) -> int:
        """Bytes of a pixel of all bands."""
        return np.dtype(self.dtype).itemsize * max(1, len(self.bands(plan)))


def _band_names(plan: Plan) -> tuple[str, ...]:
    """Names of the model's classes: those of the results, where these are not made of several."""
    names = {item.value: item.name for item in plan.classes}
    shown = {item.value: plan.groups.get(item.value, item.value) for item in plan.spec.classes}
    alone = {value for value, count in Counter(shown.values()).items() if count == 1}
    return tuple(
        names[shown[item.value]] if shown[item.value] in alone else item.name for item in probable_classes(plan.spec)
    )


PRODUCTS: Mapping[str, Product] = {
    "labels": Product(LabelStore.read_labels, "labels", "uint8", NODATA, "mode"),
    "instances": Product(LabelStore.read_instances, "instances", "uint32", 0, "nearest"),
    "confidence": Product(LabelStore.read_confidence, "confidence", "uint8", 0, "average", 1 / LEVELS),
    "probabilities": Product(
        LabelStore.read_probabilities, "probabilities", "uint16", NO_INTEGER, "average", 1 / SCALE, _band_names
    ),
}
"""Rasters of a run by their names, which are those of their files without the ending."""


def write_raster(plan: Plan, folder: RunFolder, path: Path) -> None:
    """Write one of `PRODUCTS`: a Cloud Optimized GeoTIFF, or a Zarr store where the name ends so.

    Parameters
    ----------
    plan : Plan
        The run.
    folder : RunFolder
        Holds its blocks.
    path : Path
        The raster, named after what it holds.

    Warns
    -----
    InputWarning
        No pixel has a label, so there is nothing to see.
    """
    product, raster = PRODUCTS[path.stem], plan.raster
    place = path, raster.shape, raster.transform, raster.crs
    options: dict[str, Any] = {
        **{name: getattr(product, name) for name in ("description", "dtype", "nodata", "scale")},
        "bands": product.bands(plan),
    }

    is_empty = path.stem == "labels" and not _may_be_empty(plan)

    def read(window: Window) -> tuple[Window, NDArray[Any]]:
        nonlocal is_empty
        values = product.read(folder.blocks, *window.slices())
        is_empty = is_empty and bool((values == NODATA).all())
        return window, values

    if path.suffix == ".zarr":
        said = class_attributes(replace(plan.spec, classes=plan.classes)) if path.stem == "labels" else {}
        write_zarr(*place, windows=map(read, shards_of(raster.shape)), attributes=said, **options)
    else:
        if path.stem == "labels":
            options["colors"] = {item.value: _rgb(item) for item in plan.classes}
            options["categories"] = {item.value: item.name for item in plan.classes}
            _write_styles(path, plan)
        windows = map(read, _stripes(plan, product.bytes_per_pixel(plan)))
        write_cog(*place, windows=windows, overview_resampling=product.overview_resampling, **options)
    if is_empty and len(folder.journal("predict").places()) == plan.block_count:  # those that failed are told of
        what = "no valid pixel where it was mapped" if plan.spec.stuff else "no data where it was looked at"
        sentence = (
            f"no pixel of {path.name} has a class: the imagery has {what}; look at its nodata and masks, or choose "
            "another region."
        )
        warnings.warn(InputWarning(sentence), stacklevel=2)


def _may_be_empty(plan: Plan) -> bool:
    """Whether labels without a class say nothing of the imagery: there may be no object, where pixels are valid."""
    return not plan.spec.stuff and (plan.values is None or plan.values.pixels > 0)


def _write_styles(path: Path, plan: Plan) -> None:
    """Write colours beside the labels, unless somebody has saved their own there."""
    classes = [styles.StyledClass(item.value, item.name, item.color) for item in plan.classes]
    for ending, write in (".qml", styles.write_raster_qml), (".clr", styles.write_clr):
        if styles.is_own(path.with_suffix(ending)):
            write_file(path.with_suffix(ending), partial(write, classes=classes))


def _stripes(plan: Plan, pixel_bytes: int) -> Iterator[Window]:
    """Windows that are aligned to blocks, of at most `STRIPE` rows and about `STRIPE_BYTES`."""
    for row in range(plan.grid.rows.blocks):
        top, bottom = plan.grid.rows.block_core(row)
        for col in range(plan.grid.cols.blocks):
            left, right = plan.grid.cols.block_core(col)
            rows = max(1, min(STRIPE, STRIPE_BYTES // (pixel_bytes * (right - left))))
            for y in range(top, bottom, rows):
                yield Window(y, left, min(rows, bottom - y), right - left)


def _rgb(item: ClassSpec) -> tuple[int, int, int]:
    red, green, blue = bytes.fromhex(item.color.lstrip("#"))
    return red, green, blue
