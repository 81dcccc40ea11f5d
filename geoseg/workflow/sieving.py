"""Labels with a minimum mapping unit, as a raster: to the pixel what polygons with it show."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Unpack

import numpy as np
from distributed import Client
from numpy.typing import NDArray

from geoseg.errors import OutputError, RasterError, WorkflowError
from geoseg.files import local_path, refuse_read, refuse_to_replace
from geoseg.grid import Window
from geoseg.held import value_of
from geoseg.monitor.watching import Progress, shown
from geoseg.options import Polygonizing, SieveOptions, read_options
from geoseg.outlines import OutlinePlan
from geoseg.raster import Raster, check_labels, common_nodata, open_raster, read_legend, write_cog
from geoseg.raster.calibration import Calibration
from geoseg.raster.facts import LAST_EXACT
from geoseg.raster.given import ImageryLike, named
from geoseg.raster.options import configured
from geoseg.raster.sending import sendable
from geoseg.signatures import SieveArguments
from geoseg.store import RunFolder
from geoseg.tree import Place
from geoseg.workflow.outputs import refuse_folders
from geoseg.workflow.polygons import Outlining, kept_while_needed, plan_outline, run_outline
from geoseg.workflow.settings import plain_settings

ENDINGS = ".tif", ".tiff"

SPARE = 256
"""Numbers of which one is chosen for pixels without a label, the largest of the type."""


@configured()
def sieve(
    input: ImageryLike,  # noqa: A002
    output: str | os.PathLike[str],
    *,
    progress: Progress = None,
    client: Client | None = None,
    **settings: Unpack[SieveArguments],
) -> Path:
    """Give a classified raster a minimum mapping unit: smaller faces join the neighbour with the longest shared border.

    The result is that of `geoseg.polygonize` with the same ``min_area``, pixel by pixel, whatever the blocks are.

    Parameters
    ----------
    input : path, DatasetReader, DataArray, or list
        A raster of whole numbers in one band, or several that lie on one grid.
    output : path
        A GeoTIFF; it is replaced only with ``overwrite``. Its nodata is that of the input; where that declares none
        that the type holds, or several, and pixels are masked, the largest number that no label has.
    progress : callable or bool, optional
        As in `geoseg.run`.
    client : distributed.Client, optional
        Workers that are already there.
    **settings
        Options of a sieve (docs/options.md), such as ``min_area=1000``.

    Returns
    -------
    Path
        The raster: a Cloud Optimized GeoTIFF with the names, colours and nodata of the input.

    Raises
    ------
    BlockError
        Some blocks failed after every retry.
    ExistingOutputError
        The output is there already, or is read.
    GeosegError
        Something that was given cannot be used.
    """
    wanted = read_options(SieveOptions, plain_settings({**settings}), "sieve")
    path = local_path(output, "output").absolute()
    given, calibration = value_of(plain_settings({"input": input})["input"], "input"), Calibration(nodata=wanted.nodata)
    raster = open_raster(given, resampling="nearest", crs=wanted.crs, calibration=calibration)
    _check_place(path, wanted, raster)
    check_labels(raster, f"'{named(given)}'")
    shared = wanted.model_dump(exclude_unset=True, exclude={"overwrite"})
    outlining = Polygonizing(**shared, input=str(named(given)), output=str(path))
    folder = RunFolder(path.with_name(f".{path.name}.geoseg"))
    arrays = sendable(raster, folder.path / "arrays")
    with folder.locked(), kept_while_needed(folder), arrays as sent, shown(progress) as callback:
        plan, style, resumed = plan_outline(outlining, raster, sent, folder, classes=())
        if not plan.is_sifted:
            areas = wanted.min_area.values() if isinstance(wanted.min_area, dict) else [wanted.min_area]
            raise WorkflowError(f"min_area is {max(areas):g} m2, no more than a pixel; give a larger one")
        write = partial(
            write_sieved, path=path, dtype=raster.dtype, nodata=common_nodata(raster), legend=_legend(raster)
        )
        run_outline(Outlining(outlining, plan, path, write, style), callback, client, resumed=resumed)
    return path


def _check_place(path: Path, wanted: SieveOptions, raster: Raster) -> None:
    """Refuse a place that cannot be written, or that somebody's file is in."""
    if path.suffix.lower() not in ENDINGS:
        raise OutputError(f"'{path}' is no GeoTIFF; give a name that ends in .tif")
    if not path.parent.is_dir():
        raise OutputError(f"the folder {path.parent} does not exist; create it, or choose another output.")
    refuse_folders(path)
    refuse_read(path, wanted.region, *raster.files)
    if not wanted.overwrite:
        refuse_to_replace(path)


def _legend(raster: Raster) -> dict[str, Mapping[int, Any]]:
    """Names and colours for `write_cog`."""
    legend = read_legend(raster)
    colors = {"colors": legend.colors} if legend.colors and raster.dtype == "uint8" else {}
    return {**colors, "categories": legend.names}


def write_sieved(
    plan: OutlinePlan, path: Path, dtype: np.dtype[Any], nodata: int | None, legend: Mapping[str, Any]
) -> int:
    """Write the sieved labels of all blocks; return how many there are.

    Parameters
    ----------
    plan : OutlinePlan
        Whose blocks are sieved.
    path : Path
        The raster.
    dtype : dtype
        Of the input; floats, as QGIS and R write classes, become integers that hold them.
    nodata : int, optional
        As the input declares it.
    legend : dict
        Names and colours, as of `write_cog`.

    Raises
    ------
    RasterError
        Some pixels have no label, and there is no number that they could get.
    """
    blocks = list(plan.tree.blocks())
    target, filling = _target(plan, blocks, dtype, nodata)

    def read(block: Place) -> tuple[Window, NDArray[Any]]:
        window = plan.window(block)
        labels = plan.folder.read_labels(block, window.shape)
        if filling is not None:
            labels = np.where(labels == plan.nodata, filling, labels)
        return window, labels.astype(target)

    write_cog(
        path, plan.raster_shape, plan.transform, plan.crs, map(read, blocks),
        nodata=filling, dtype=target, description="labels", overview_resampling="mode", **legend,
    )  # fmt: skip
    return len(blocks)


def _target(plan: OutlinePlan, blocks: list[Place], dtype: np.dtype[Any], nodata: int | None) -> tuple[str, int | None]:
    """The type of the output, and its nodata: the input's where they serve."""
    is_whole, is_masked, least, most = dtype.kind in "iu", False, 0, 0
    lowest, highest = _declarable(dtype) if is_whole else (0, 0)
    if is_whole and nodata is not None and lowest <= nodata <= highest:
        return str(dtype), nodata
    last = set[int]()
    for block in blocks:
        labels = np.unique(plan.folder.read_labels(block, plan.window(block).shape))
        is_masked |= plan.nodata in labels
        labels = labels[labels != plan.nodata]
        least, most = min(least, int(labels.min(initial=0))), max(most, int(labels.max(initial=0)))
        last.update(labels[-SPARE:].tolist())
    wide = "int32" if np.iinfo("int32").min <= least and most < np.iinfo("int32").max else "int64"
    target = str(dtype) if is_whole else wide
    lowest, highest = _declarable(np.dtype(target))
    if nodata is not None and lowest <= nodata <= highest:
        return target, nodata
    if not is_masked:
        return target, None
    free = next((value for value in range(highest, highest - SPARE, -1) if value not in last), None)
    if free is None:
        raise RasterError(f"some pixels have no label, and no number of {target} is left for them; give --nodata")
    return target, free


def _declarable(dtype: np.dtype[Any]) -> tuple[int, int]:
    """The least and the largest nodata value that a file of a type can declare.

    Rasterio passes it on as a float64, and GDAL reads the digits before the point of a large one: -2^63 becomes -9.
    """
    limits = np.iinfo(dtype)
    return max(int(limits.min), -LAST_EXACT), min(int(limits.max), LAST_EXACT)
