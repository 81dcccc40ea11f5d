"""From stored blocks to result files: the label raster and the polygons, streamed.

Each function runs on a worker and reads only the run folder, so that both results are written at the same time
and memory stays flat. It knows nothing of how blocks came to be.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import geopandas as gpd

from geoseg.blending import Labels
from geoseg.grid import Window
from geoseg.models.spec import ClassSpec
from geoseg.planning import Plan
from geoseg.raster import write_cog
from geoseg.segmentation import NODATA
from geoseg.store import RunFolder
from geoseg.vector import check_format, write_features
from geoseg.vectorize import Trace, features, stitch

STRIPE = 2048
"""Rows of the label raster read at once, at most, px."""


def check_formats(names: list[str]) -> None:
    """Refuse polygon files whose format is not known, before anything runs.

    Raises
    ------
    VectorError
        Names the known formats.
    """
    for name in names:
        check_format(Path(name))


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
    raster = plan.raster
    write_cog(
        path,
        raster.shape,
        raster.transform,
        raster.crs,
        windows=_stripes(plan, folder),
        nodata=NODATA,
        colors={item.value: _rgb(item) for item in plan.spec.classes},
        categories={item.value: item.name for item in plan.spec.classes},
    )


def _stripes(plan: Plan, folder: RunFolder) -> Iterator[tuple[Window, Labels]]:
    """The labels in windows that are aligned to blocks, at most `STRIPE` rows high."""
    for row in range(plan.grid.rows.blocks):
        top, bottom = plan.grid.rows.block_core(row)
        for y in range(top, bottom, STRIPE):
            for col in range(plan.grid.cols.blocks):
                left, right = plan.grid.cols.block_core(col)
                window = Window(y, left, min(STRIPE, bottom - y), right - left)
                yield window, folder.read_labels(*window.slices())


def _rgb(item: ClassSpec) -> tuple[int, int, int]:
    red, green, blue = bytes.fromhex(item.color.lstrip("#"))
    return red, green, blue


def write_polygons(plan: Plan, folder: RunFolder, path: Path, layer: str) -> None:
    """Write the polygons of all blocks, united over their borders, in raster order.

    Parameters
    ----------
    plan : Plan
        The run.
    folder : RunFolder
        Holds its traces; a block that failed has none.
    path : Path
        The vector file; its ending chooses the format.
    layer : str
        Name of the layer.
    """
    write_features(path, _batches(plan, folder), layer=layer, crs=plan.raster.crs)


def _batches(plan: Plan, folder: RunFolder) -> Iterator[gpd.GeoDataFrame]:
    names = {item.value: item.name for item in plan.spec.classes}
    traced = [(block.row, block.col) for block in plan.blocks() if folder.trace_path(block.row, block.col).exists()]
    loaders = {place: partial(Trace.load, folder.trace_path(*place)) for place in traced}
    for faces in stitch(loaders, plan.raster.shape[1]):
        yield features(faces, plan.raster.transform, plan.raster.crs, names)
