"""From stored blocks to rasters of labels and instances, streamed.

It runs on a worker and reads only the run folder, so that memory stays flat and polygons are written at the same time.
It knows nothing of how blocks came to be.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from geoseg.grid import Window
from geoseg.models.spec import NODATA, ClassSpec
from geoseg.planning import Plan
from geoseg.raster import write_cog
from geoseg.store import RunFolder

Read = Callable[[slice, slice], NDArray[Any]]
"""Rows and columns to what is there."""

STRIPE = 2048
"""Rows of the label raster read at once, at most, px."""


def write_labels(plan: Plan, folder: RunFolder, path: Path) -> None:
    """Write the labels as a Cloud Optimized GeoTIFF with colours, class names and overviews.

    Parameters
    ----------
    plan : Plan
        The run.
    folder : RunFolder
        Holds its blocks.
    path : Path
        The GeoTIFF.
    """
    _write(
        plan,
        path,
        folder.read_labels,
        nodata=NODATA,
        colors={item.value: _rgb(item) for item in plan.spec.classes},
        categories={item.value: item.name for item in plan.spec.classes},
    )


def write_instances(plan: Plan, folder: RunFolder, path: Path) -> None:
    """Write instances as a Cloud Optimized GeoTIFF, uint32, 0 = none; arguments as in `write_labels`."""
    instances: dict[str, Any] = {"dtype": "uint32", "description": "instances", "overview_resampling": "nearest"}
    _write(plan, path, folder.read_instances, nodata=0, **instances)


def _write(plan: Plan, path: Path, read: Read, **options: Any) -> None:
    """Write what is read on the raster's grid."""
    raster = plan.raster
    write_cog(path, raster.shape, raster.transform, raster.crs, windows=_stripes(plan, read), **options)


def _stripes(plan: Plan, read: Read) -> Iterator[tuple[Window, NDArray[Any]]]:
    """What is read, in windows that are aligned to blocks, at most `STRIPE` rows high."""
    for row in range(plan.grid.rows.blocks):
        top, bottom = plan.grid.rows.block_core(row)
        for y in range(top, bottom, STRIPE):
            for col in range(plan.grid.cols.blocks):
                left, right = plan.grid.cols.block_core(col)
                window = Window(y, left, min(STRIPE, bottom - y), right - left)
                yield window, read(*window.slices())


def _rgb(item: ClassSpec) -> tuple[int, int, int]:
    red, green, blue = bytes.fromhex(item.color.lstrip("#"))
    return red, green, blue
